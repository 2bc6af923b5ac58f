# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""The one way to run processes: started, read, measured and stopped; nothing is left behind, whatever goes wrong."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from m4sam_core.errors import M4SamError

# Each process gets a signal and this long to follow it before the next, harder one.
STOP_SIGNALS: tuple[tuple[signal.Signals, float], ...] = (
    (signal.SIGINT, 5.0),
    (signal.SIGTERM, 3.0),
    (signal.SIGKILL, 2.0),
)
POLL_S = 0.05
# SIGHUP comes when the terminal is closed.
ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# Runs between fork and the command; prctl(1, ...) is PR_SET_PDEATHSIG, which stays in force across exec. A function
# called in the fork itself (preexec_fn) may deadlock where the parent has threads.
_TIE = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, int(signal.SIGTERM))
if os.getppid() != int(sys.argv[1]):
    sys.exit("its parent is gone already")
try:
    os.execvp(sys.argv[2], sys.argv[2:])
except OSError as error:
    sys.exit(f"{sys.argv[2]}: {error}")
"""


class ProcessError(M4SamError):
    """A process could not be started, died, or took too long."""


class ManagedProcess:
    """One child in a session of its own; it ends with this process, also by SIGKILL.

    The session keeps the terminal's Ctrl-C from reaching the child before the parent, which then stops its children in
    order; signals go to the whole process group, so children of the child go too.

    Args:
        name: for messages.
        command: program and arguments.
        env: its environment.
        log_path: file for what it prints; None: where this process prints.

    Raises:
        ProcessError: there is no such program.
    """

    def __init__(self, name: str, command: Sequence[str], env: Mapping[str, str], log_path: Path | None) -> None:
        self.name = name
        self._log_path = log_path
        if shutil.which(command[0], path=env.get("PATH", os.defpath)) is None:
            raise ProcessError(f"{name}: cannot start {command[0]}: no such program")
        with contextlib.ExitStack() as files:
            log = files.enter_context(log_path.open("wb")) if log_path is not None else None
            self._popen = subprocess.Popen(
                tied(command),
                env=dict(env),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT if log is not None else None,
                start_new_session=True,
            )

    @property
    def exit_code(self) -> int | None:
        """Exit code (negative: killed by that signal), None while it runs."""
        return self._popen.poll()

    @property
    def output(self) -> str:
        """Everything it has printed into its log."""
        return "" if self._log_path is None else self._log_path.read_text(encoding="utf-8", errors="replace")

    def log_tail(self, lines: int = 15) -> str:
        """The end of what the process has printed."""
        return "\n".join(self.output.splitlines()[-lines:])

    def cpu_s(self) -> float:
        """Processor time it has used, seconds, all threads."""
        fields = Path(f"/proc/{self._popen.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def rss_bytes(self) -> int:
        """Resident memory."""
        return int(Path(f"/proc/{self._popen.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def threads(self) -> int:
        """How many threads it has."""
        return len(list(Path(f"/proc/{self._popen.pid}/task").iterdir()))

    def shared_memory(self) -> set[Path]:
        """The files of shared memory it has mapped, its own and others'."""
        lines = Path(f"/proc/{self._popen.pid}/maps").read_text(encoding="utf-8", errors="replace").splitlines()
        paths = {line.split(maxsplit=5)[5] for line in lines if line.count("/dev/shm/") == 1}
        return {Path(path) for path in paths if not path.endswith(" (deleted)")}

    def check_alive(self) -> None:
        """Complain when the process has ended.

        Raises:
            ProcessError: it has; the text carries the end of its log.
        """
        if self.exit_code is not None:
            raise ProcessError(self._with_last_words(f"ended early with exit code {self.exit_code}"))

    def check_succeeded(self) -> None:
        """Complain when the process has ended with anything but 0.

        Raises:
            ProcessError: it has; the text carries the end of its log.
        """
        if self.exit_code:
            raise ProcessError(self._with_last_words(f"failed with exit code {self.exit_code}"))

    def wait(self, timeout_s: float) -> int:
        """Wait for the process to end by itself.

        Raises:
            ProcessError: it still runs after `timeout_s` seconds.
        """
        try:
            return self._popen.wait(timeout_s)
        except subprocess.TimeoutExpired:
            text = f"expected to end within {timeout_s:.0f} s, still runs"
            raise ProcessError(self._with_last_words(text)) from None

    def wait_for(self, text: str, timeout_s: float) -> None:
        """Wait until it has printed `text`.

        Raises:
            ProcessError: it ended, or took longer than `timeout_s` seconds.
        """
        deadline = time.monotonic() + timeout_s
        while text not in self.output:
            self.check_alive()
            if time.monotonic() > deadline:
                raise ProcessError(self._with_last_words(f"expected {text!r} within {timeout_s:g} s, did not come"))
            time.sleep(POLL_S)

    def result(self, timeout_s: float) -> dict[str, Any]:
        """Wait for its end; the last JSON object it printed on a line.

        Raises:
            ProcessError: it failed, took longer than `timeout_s` seconds, or printed no JSON.
        """
        self.wait(timeout_s)
        self.check_succeeded()
        lines = [line for line in self.output.splitlines() if line.startswith("{")]
        if not lines:
            raise ProcessError(self._with_last_words("expected a line of JSON, printed none"))
        return dict(json.loads(lines[-1]))

    def stop(self, signals: Sequence[tuple[signal.Signals, float]] = STOP_SIGNALS) -> int:
        """Send each signal to the process group until the process ends; returns the exit code.

        Args:
            signals: (signal, seconds to wait for the end), from polite to hard.
        """
        for number, patience_s in signals:
            if self.exit_code is not None:
                break
            self.send(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._popen.wait(patience_s)
        self.send(signal.SIGKILL)  # grandchildren that outlived their parent
        return self._popen.wait()

    def send(self, number: signal.Signals) -> None:
        """Signal the process group, if there still is one."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._popen.pid, number)

    def _with_last_words(self, text: str) -> str:
        return f"{self.name} {text}; its last words:\n{self.log_tail()}"


class Interruption:
    """A signal handler that raises KeyboardInterrupt once, and never between a child's start and its registration.

    Attributes:
        over: set it to ignore what comes from now on.
    """

    def __init__(self) -> None:
        self.over = False
        self._held = self._waiting = False

    def __call__(self, _number: int, _frame: object) -> None:
        """Take a signal."""
        if self._held:
            self._waiting = True
        elif not self.over:
            self.over = True
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """A signal that comes in the block takes effect after it."""
        self._held = True
        try:
            yield
        finally:
            self._held = False
            if self._waiting and not self.over:
                self.over = True
                raise KeyboardInterrupt


class ProcessGroup:
    """Children that live and die together; see `running`."""

    def __init__(self, env: Mapping[str, str], log_dir: Path, interruption: Interruption) -> None:
        self.env = dict(env)
        self.log_dir = log_dir
        self._interruption = interruption
        self._children: list[ManagedProcess] = []

    def start(self, name: str, command: Sequence[str]) -> ManagedProcess:
        """Start a child; its output goes to `<log_dir>/<name>.log`, numbered where the name is taken."""
        taken = sum(child.name == name for child in self._children)
        log_path = self.log_dir / f"{name}{taken + 1 if taken else ''}.log"
        with self._interruption.held():
            child = ManagedProcess(name, command, self.env, log_path)
            self._children.append(child)
        return child

    def wait_until(self, condition: Callable[[], bool], what: str, timeout_s: float) -> None:
        """Poll until `condition()`; every child must stay alive meanwhile.

        Raises:
            ProcessError: the time is over, or a child ended.
        """
        deadline = time.monotonic() + timeout_s
        while not condition():
            for child in self._children:
                child.check_alive()
            if time.monotonic() > deadline:
                tails = "\n".join(f"--- {child.name}\n{child.log_tail()}" for child in self._children)
                raise ProcessError(f"{what}: expected within {timeout_s:.0f} s, did not happen\n{tails}")
            time.sleep(POLL_S)

    def stop(self) -> None:
        """Stop every child; all are asked at once, and waited for in turn, the last started first."""
        for child in reversed(self._children):
            if child.exit_code is None:
                child.send(signal.SIGINT)
        for child in reversed(self._children):
            child.stop()


@contextlib.contextmanager
def running(env: Mapping[str, str], log_dir: Path) -> Iterator[ProcessGroup]:
    """A group of processes that ends with the block: normally, by an exception, by Ctrl-C, SIGTERM or SIGHUP.

    The first signal raises KeyboardInterrupt in the block; while the children are being stopped, signals are ignored.
    """
    log_dir.mkdir(parents=True, exist_ok=True)
    interruption = Interruption()
    group = ProcessGroup(env, log_dir, interruption)
    # nohup has SIGHUP ignored, and means it.
    numbers = [n for n in ENDING_SIGNALS if n != signal.SIGHUP or signal.getsignal(n) != signal.SIG_IGN]
    previous = {number: signal.signal(number, interruption) for number in numbers}
    try:
        yield group
    finally:
        try:
            interruption.over = True
        finally:
            group.stop()
            for number, handler in previous.items():
                signal.signal(number, handler)


def executable(name: str, module: str) -> list[str]:
    """The installed console script `name` beside this interpreter, or `python -m module` in a plain checkout."""
    script = shutil.which(name, path=str(Path(sys.executable).parent))
    return [script] if script else [sys.executable, "-m", module]


def tied(command: Sequence[str]) -> list[str]:
    """The command, made to get SIGTERM when the thread that starts it ends, also by SIGKILL.

    The command keeps the process id. Linux only; elsewhere the command is returned as it is.
    """
    if sys.platform != "linux":
        return list(command)
    return [sys.executable, "-I", "-S", "-c", _TIE, str(os.getpid()), *command]
