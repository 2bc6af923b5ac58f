# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""A machine that lacks what DDS needs, live: shared memory that is full or small, a domain that is crowded."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from m4sam_core.host import dds
from m4sam_ros.report import newest_first
from tests.ros.kit import report_of
from tests.ros.rig.bench import Bench
from tests.ros.rig.process import REPO, TIMEOUT_S, NodeProcess

pytestmark = pytest.mark.ros

CAMERA_PROCESS = str(Path(__file__).parent / "camera_process.py")
_MOUNT = 'mount -t tmpfs -o size="$1" tmpfs /dev/shm && shift && exec "$@"'


def with_shared_memory(size, *command):
    """A command that has a /dev/shm of its own, of that size."""
    for how in ("-m", "-Urm"):
        words = ["unshare", how, "sh", "-c", _MOUNT, "sh", size]
        if subprocess.run([*words, "true"], capture_output=True, check=False).returncode == 0:
            return [*words, *command]
    pytest.skip("this user may not mount; tests/core/host/test_dds.py has the rest")


def test_a_full_shared_memory_is_one_line_instead_of_a_bus_error(ros_env):
    command = with_shared_memory("4k", sys.executable, "-m", "m4sam_ros.node", "--ros-args", "-p", "model:=identity")
    done = subprocess.run(command, cwd=REPO, env=ros_env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: /dev/shm: expected some room, got none, and loading ROS ends in a bus error; remove")
    doctor = with_shared_memory("4k", sys.executable, "-m", "m4sam_core.cli.main", "doctor", "--json")
    done = subprocess.run(doctor, cwd=REPO, env=ros_env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1, done.stderr
    assert "bus error" in done.stdout


def test_a_small_shared_memory_is_told_and_masks_come_all_the_same(ros_env, tmp_path):
    """With camera and listener in the same small memory: Fast DDS does not reach into another one on one machine."""
    parts = [f'"$0" {CAMERA_PROCESS} &', '"$0" -m m4sam_ros.bench.probes monitor &', 'exec "$0" -m m4sam_ros.node']
    script = " ".join([*parts, "--ros-args -p model:=identity -p max_frame_age_s:=0.0"])
    graph = NodeProcess(with_shared_memory("4m", "sh", "-c", script, sys.executable), ros_env, tmp_path / "small.log")
    said = "/dev/shm: expected 36.2 MB for DDS, got "
    try:
        until, report = time.monotonic() + TIMEOUT_S, {}
        while int(report.get("masks_out", 0)) <= 5 and time.monotonic() < until:
            time.sleep(0.1)
            report = next((line["values"] for line in newest_first(graph.log, "values")), {})
        assert int(report["masks_out"]) > 5, graph.log
        assert f"warning: {said}" in graph.log
        assert report["environment"].startswith(said)
    finally:
        graph.send(signal.SIGKILL)
        graph.popen.wait(TIMEOUT_S)


@contextlib.contextmanager
def places_taken(domain, places):
    """As that many processes would hold them."""
    with contextlib.ExitStack() as held:
        for place in places:
            for offset in (10, 11):
                port = held.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
                with contextlib.suppress(OSError):  # somebody is there
                    port.bind(("0.0.0.0", 7400 + 250 * domain + offset + 2 * place))
        yield


def test_processes_beyond_the_first_hundred_are_told_and_those_before_meet(bench, ros_env, values, tmp_path):
    domain = int(ros_env["ROS_DOMAIN_ID"])
    with places_taken(domain, range(40)):  # Fast DDS by itself calls at 32
        late = Bench(ros_env, tmp_path)
        try:
            node = late.start("watchdog_period_s:=0.5")
            masks, camera = late.masks(), late.camera()
            late.step(camera, masks, 1.0)
            assert max(dds.participants(domain)) >= 41
            assert "warning: ROS_DOMAIN_ID" not in node.log
        finally:
            late.close()
    with places_taken(domain, range(100)):
        lonely = bench.start("watchdog_period_s:=0.5")
        said = f"processes of this machine are in domain {domain} already, and those beyond the first 100 do not find"
        bench.until(
            lambda: "no mask: no publisher on /saliency/rgb/image; ROS_DOMAIN_ID: " in lonely.log, "the watchdog"
        )
        assert lonely.log.count("warning: ROS_DOMAIN_ID: ") == 1
        assert said in report_of(bench, values)["environment"]


def test_a_signal_before_the_node_is_made_ends_it_quietly(ros_env, tmp_path):
    for number in (signal.SIGINT, signal.SIGTERM):
        command = [sys.executable, "-m", "m4sam_ros.node", "--ros-args", "-p", "model:=identity"]
        node = NodeProcess(command, ros_env, tmp_path / "early.log")
        maps = Path(f"/proc/{node.popen.pid}/maps")
        until = time.monotonic() + 30
        while "_rclpy_pybind11" not in maps.read_text() and time.monotonic() < until:
            time.sleep(0.002)
        code, _ = node.stop(number)
        assert (code, node.log) == (0, "")
