# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Every executable leaves the graph when it is told to, whatever it is busy with, and says what it cannot start on."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.ros

REPO = Path(__file__).resolve().parents[2]
GHOST_S = 2.0
"""A participant that was not taken out stays for its lease of 20 s."""


def gone_from_graph(bench, name: str) -> float:
    """Seconds until no node is called so."""
    started = time.monotonic()
    bench.until(lambda: bench.misses(name), f"{name} to be gone", 25)
    return time.monotonic() - started


def shared_segments() -> set[str]:
    """Fast DDS segments of 32 MB and more on this machine."""
    found = set()
    for path in Path("/dev/shm").glob("fastdds_*"):
        try:
            found |= {path.name} if path.stat().st_size > 30e6 else set()
        except FileNotFoundError:
            continue
    return found


def segments_of(pid: int) -> set[str]:
    """Those that a process has open or mapped."""
    return set(re.findall(r"/dev/shm/(fastdds_\w+)", Path(f"/proc/{pid}/maps").read_text())) & shared_segments()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_node_that_is_told_to_stop_leaves_nothing_behind(bench, number):
    assert not bench.sees("m4sam")
    before = shared_segments()
    node = bench.start()
    bench.until(lambda: "active:" in node.log and bench.sees("m4sam"), "the node")
    segments = segments_of(node.popen.pid) - before
    assert segments
    code, seconds = node.stop(number)
    assert (code, seconds < 2.0) == (0, True), node.log
    assert gone_from_graph(bench, "m4sam") < GHOST_S
    assert not segments & shared_segments()


def test_a_node_that_is_killed_is_a_ghost(bench):
    node = bench.start()
    bench.until(lambda: bench.sees("m4sam"), "the node")
    node.stop(signal.SIGKILL)
    bench.spin(GHOST_S)
    assert not bench.misses("m4sam")


@pytest.mark.parametrize("fault", ["computing", "sleepy", "loading"])
def test_a_busy_node_leaves_nothing_behind(bench, fault):
    node = bench.start(fault=fault)
    if fault == "loading":
        bench.until(lambda: "loading" in node.log, "the loading to begin")
    else:
        bench.camera().shoot(5.0)
        bench.until(lambda: "inferring" in node.log, "the inference to begin")
    bench.until(lambda: bench.sees("m4sam"), "the node in the graph")
    code, seconds = node.stop(signal.SIGINT)
    assert (code, seconds < 2.0) == (0, True), node.log
    assert gone_from_graph(bench, "m4sam") < GHOST_S


@pytest.mark.parametrize(("name", "module", "setting"), [("play", "player", "source"), ("record", "recorder", "out")])
def test_player_and_recorder_leave_nothing_behind(bench, tmp_path, name, module, setting):
    import cv2
    import numpy as np

    for folder, dtype in (("rgb", np.uint8), ("depth", np.uint16)):
        (tmp_path / folder).mkdir()
        for index in range(3):
            cv2.imwrite(str(tmp_path / folder / f"{index}.png"), np.full((48, 64), 99, dtype))
    process = bench.execute(f"m4sam_ros.{module}", f"{setting}:={tmp_path}")
    bench.until(lambda: bench.sees(name), name)
    code, _ = process.stop(signal.SIGHUP)
    assert code == 0, process.log
    assert gone_from_graph(bench, name) < GHOST_S


@pytest.mark.parametrize(
    ("environment", "arguments", "names"),
    [
        ({}, ["--log-level", "nonsense"], "log level.*one of debug, info"),
        ({}, ["--params-file", "/no/such.yaml"], r"/no/such\.yaml.*mend the parameter file"),
        ({}, ["-p", "threshold:=[0.1"], r"threshold:=\[0\.1"),
        ({}, ["-r", "__ns:=/a-b"], "__ns:=/a-b.*letters, digits"),
        ({}, ["-p", "use_sim_time:=1"], "use_sim_time"),
        ({}, ["-p", "threshold:=7.0"], r"threshold: expected \(0, 1\)"),
        ({"ROS_DOMAIN_ID": "abc"}, [], "ROS_DOMAIN_ID: expected 0 to 232, got 'abc'"),
        ({"ROS_DOMAIN_ID": "-3"}, [], "ROS_DOMAIN_ID"),
        ({"ROS_DOMAIN_ID": "999"}, [], "ROS_DOMAIN_ID"),
        ({"HOME": None}, [], "HOME: expected .* ROS_LOG_DIR"),
        ({"HOME": "/dev/null"}, [], "set ROS_LOG_DIR"),
        ({"ROS_SECURITY_ENABLE": "true"}, [], "ROS_SECURITY_KEYSTORE: expected a folder"),
        ({"RMW_IMPLEMENTATION": "rmw_of_another_world"}, [], "RMW_IMPLEMENTATION: expected one of rmw_fastrtps_cpp"),
    ],
)
def test_what_a_node_cannot_start_on_is_one_line(ros_env, environment, arguments, names):
    env = {**ros_env, **environment}
    env = {name: value for name, value in env.items() if value is not None}
    command = [sys.executable, "-m", "m4sam_ros.node", "--ros-args", "-p", "model:=identity", *arguments]
    done = subprocess.run(command, cwd=REPO, env=env, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert re.search(names, line)
