# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""The process runner of the demo: real children, no ROS."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from m4sam_core.host.processes import Interruption, ManagedProcess, ProcessError, executable, running

REPO = Path(__file__).resolve().parents[3]
QUICK = ((signal.SIGINT, 0.3), (signal.SIGTERM, 0.3), (signal.SIGKILL, 2.0))
STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGINT, signal.SIG_IGN); signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(child.pid, flush=True)
time.sleep(600)
"""


PARENT = """
import os, sys, time
from pathlib import Path
from m4sam_core.host.processes import running
folder, child = Path(sys.argv[1]), sys.argv[2]
try:
    with running(os.environ, folder) as group:
        for name in ("one", "two"):
            group.start(name, [sys.executable, "-c", child])
        if sys.argv[3:] == ["leave"]:
            os._exit(7)
        time.sleep(600)
except KeyboardInterrupt:
    sys.exit(130)
"""
# Takes a while to follow, as one that finishes a video does.
SLOW_TO_END = """
import signal, sys, time
def end(number, frame):
    print("asked", flush=True)
    time.sleep(1.0)
    sys.exit(0)
signal.signal(signal.SIGINT, end); signal.signal(signal.SIGTERM, end)
import os
print(os.getpid(), flush=True)
time.sleep(600)
"""


@pytest.fixture
def start_parent(tmp_path):
    """Starts a process that runs a group of two; gives it and the pids of the two."""
    started = []

    def start(child: str, *arguments: str) -> tuple[subprocess.Popen[bytes], list[int]]:
        command = [sys.executable, "-c", PARENT, str(tmp_path), child, *arguments]
        started.append(subprocess.Popen(command, cwd=REPO, start_new_session=True))
        logs = [tmp_path / f"{name}.log" for name in ("one", "two")]
        if not arguments:
            wait_for(lambda: all(log.is_file() and log.read_text().endswith("\n") for log in logs))
        return started[-1], [int(log.read_text().split()[0]) for log in logs if log.is_file() and log.read_text()]

    yield start
    for parent in started:
        parent.kill()
        parent.wait()


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def wait_for(condition, timeout_s: float = 10.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "condition did not come true"
        time.sleep(0.01)


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def running_in(folder: Path) -> list[int]:
    """Processes that write to a log in this folder."""
    found = []
    for link in Path("/proc").glob("[0-9]*/fd/1"):
        try:
            if str(folder) in os.readlink(link):
                found.append(int(link.parts[2]))
        except OSError:
            continue
    return found


def test_clean_end_keeps_exit_code_and_log(tmp_path):
    child = ManagedProcess("child", python("print('hello'); raise SystemExit(3)"), os.environ, tmp_path / "child.log")
    assert child.wait(10) == 3
    assert child.log_tail() == "hello"
    assert child.stop() == 3


def test_stubborn_child_and_its_grandchild_are_gone_after_stop(tmp_path):
    child = ManagedProcess("child", python(STUBBORN), os.environ, tmp_path / "child.log")
    wait_for(lambda: child.log_tail().strip().isdigit())
    grandchild = int(child.log_tail())
    assert child.stop(QUICK) == -signal.SIGKILL
    wait_for(lambda: not is_running(grandchild))


def test_missing_program_is_a_typed_error(tmp_path):
    with pytest.raises(ProcessError, match="cannot start /nonexistent"):
        ManagedProcess("child", ["/nonexistent"], os.environ, tmp_path / "child.log")


def test_early_death_is_reported_with_the_last_words(tmp_path):
    with (
        running(os.environ, tmp_path) as group,
        pytest.raises(ProcessError, match=r"(?s)child ended early with exit code 1.*the reason"),
    ):
        group.start("child", python("raise SystemExit('the reason')"))
        group.wait_until(lambda: False, "never", timeout_s=20)


def test_timeout_names_what_was_waited_for(tmp_path):
    with running(os.environ, tmp_path) as group, pytest.raises(ProcessError, match="first mask: expected within 0 s"):
        group.start("child", python("import time; time.sleep(600)"))
        group.wait_until(lambda: False, "first mask", timeout_s=0.2)


def test_an_exception_in_the_block_stops_every_child(tmp_path):
    with pytest.raises(KeyboardInterrupt), running(os.environ, tmp_path) as group:
        children = [group.start(f"child{i}", python("import time; time.sleep(600)")) for i in range(2)]
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
    assert all(child.exit_code is not None for child in children)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_group(start_parent, number):
    parent, children = start_parent(SLOW_TO_END)
    parent.send_signal(number)
    assert parent.wait(20) == 130
    assert not any(is_running(child) for child in children)


def test_signals_that_come_while_it_ends_change_nothing(start_parent, tmp_path):
    parent, children = start_parent(SLOW_TO_END)
    parent.send_signal(signal.SIGTERM)
    wait_for(lambda: "asked" in (tmp_path / "one.log").read_text())
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        parent.send_signal(number)
    assert parent.wait(20) == 130
    assert not any(is_running(child) for child in children)


def test_children_end_when_their_parent_is_killed(start_parent):
    parent, children = start_parent(SLOW_TO_END)
    parent.kill()
    parent.wait()
    wait_for(lambda: not any(is_running(child) for child in children))


def test_children_end_when_their_parent_leaves_without_a_word(start_parent, tmp_path):
    code = "import time; print('here', flush=True); time.sleep(600)"
    parent, _ = start_parent(code, "leave")
    assert parent.wait(20) == 7
    wait_for(lambda: not running_in(tmp_path))


def test_a_signal_during_a_start_waits_for_the_child_to_be_known():
    interruption = Interruption()
    with pytest.raises(KeyboardInterrupt), interruption.held():
        interruption(signal.SIGTERM, None)
        interruption(signal.SIGTERM, None)
        registered = True
    assert registered
    interruption(signal.SIGTERM, None)


def test_executable_falls_back_to_the_module():
    assert executable("no-such-script", "m4sam_ros.node") == [sys.executable, "-m", "m4sam_ros.node"]
