"""The process runner of the demo: real children, no ROS."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from m4sam_ros.processes import ManagedProcess, ProcessError, executable, running

QUICK = ((signal.SIGINT, 0.3), (signal.SIGTERM, 0.3), (signal.SIGKILL, 2.0))
STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGINT, signal.SIG_IGN); signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(child.pid, flush=True)
time.sleep(600)
"""


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


def test_executable_falls_back_to_the_module():
    assert executable("no-such-script", "m4sam_ros.node") == [sys.executable, "-m", "m4sam_ros.node"]
