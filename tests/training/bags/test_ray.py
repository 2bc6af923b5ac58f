# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""A Ray cluster gives the same files as one process, also when a worker is killed half-way."""

from __future__ import annotations

import hashlib
import os
import signal
import threading
import time

import pytest

from m4sam_core.rgbd.bags.find import find_bags
from m4sam_training.bags.convert import ConvertConfig
from m4sam_training.bags.export import export_videos
from m4sam_training.bags.jobs import convert_bags
from m4sam_training.data.generate import generate_dataset
from m4sam_training.data.scan import scan_split

pytestmark = pytest.mark.slow
CFG = ConvertConfig(split="train", cut="none")


@pytest.fixture(scope="module")
def bags(tmp_path_factory):
    pytest.importorskip("ray")
    root = tmp_path_factory.mktemp("ray")
    generate_dataset(root / "D", "m4sam", videos=6, frames=24, height=240, width=320)
    export_videos(scan_split(root / "D", "m4sam", "train"), root / "bags", "mcap", progress=lambda _: None)
    reports = list(convert_bags(find_bags([root / "bags"]), root / "single", CFG))
    assert [report.error for report in reports] == [None] * 6
    return root


def digests(folder):
    files = [path for path in folder.rglob("*") if path.is_file() and ".bags" not in path.parts]
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def run(bags, out):
    return sorted(convert_bags(find_bags([bags / "bags"]), out, CFG, "ray", workers=2), key=lambda r: r.name)


def test_two_workers_equal_one_process_file_by_file(bags, tmp_path):
    reports = run(bags, tmp_path / "out")
    assert [(report.name, report.error) for report in reports] == [(f"train_{n}", None) for n in range(1, 7)]
    assert digests(tmp_path / "out") == digests(bags / "single")


def working_pids(out):
    """Processes that hold a file below `out` open or are named by Ray as running a conversion."""
    found = []
    for entry in os.listdir("/proc"):
        try:
            with open(f"/proc/{entry}/cmdline", "rb") as file:
                command = file.read()
        except (OSError, ValueError):
            continue
        if command.startswith(b"ray::_attempt"):
            found.append(int(entry))
    return found


def test_a_killed_worker_costs_a_retry_and_no_file(bags, tmp_path):
    out = tmp_path / "out"
    killed = []

    def kill_one():
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and not killed:
            if list(out.glob(".bags/*.partial/train/*/rgb/*.png")):  # half-way through a bag
                for pid in working_pids(out):
                    os.kill(pid, signal.SIGKILL)
                    killed.append(pid)
                    return
            time.sleep(0.01)

    thread = threading.Thread(target=kill_one)
    thread.start()
    reports = run(bags, out)
    thread.join()
    assert killed
    assert [report.error for report in reports] == [None] * 6
    assert digests(out) == digests(bags / "single")
    assert not list(out.glob(".bags/*.partial"))
    again = run(bags, out)
    assert all(report.resumed for report in again)


def test_a_bag_that_cannot_be_read_is_reported_and_the_others_go_on(bags, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "noise.mcap").write_bytes(os.urandom(3000))
    (tmp_path / "in" / "good").symlink_to(bags / "bags" / "train_1")
    found = find_bags([tmp_path / "in"])
    reports = {report.name: report for report in convert_bags(found, tmp_path / "out", CFG, "ray", workers=2)}
    assert "nothing of it could be saved" in reports["noise"].error
    assert reports["good"].error is None
