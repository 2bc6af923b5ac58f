# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""The main loop every executable shares: a signal ends it with exit code 0, no traceback, and no trace in the graph."""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NoReturn

import rclpy
from rclpy.exceptions import NameValidationException, ParameterException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.task import Future

from m4sam_core.errors import ConfigError, M4SamError
from m4sam_core.host.memory import keep_freed_memory
from m4sam_ros.environment import EXIT_USAGE, SIGNALS, start_ros

if TYPE_CHECKING:
    from types import FrameType

    from rclpy.executors import Executor
    from rclpy.node import Node

_POLL_S = 0.1
# Any limit will do but none: where glibc is old, as wheels are built for, the EventsExecutor takes the end of time, to
# which it waits without a limit, for the past, and runs nothing (docs/decisions/0024-events-executor.md).
_SPIN_S = 3600.0
_FORCED_LEAVE_S = 0.5
EXIT_OK = 0
EXIT_FAILED = 1


def run_node(factory: Callable[[], Node], args: Sequence[str] | None = None, leave_after_s: float | None = None) -> int:
    """Run one node until a signal comes or the node says that it is done.

    A node ends by itself by giving its attribute ``exit_code`` an int (None or absent: go on), and asks for another
    executor with its attribute ``executor_name`` (absent: "single"). Everything a node
    must finish (threads, files) belongs in its ``destroy_node``, which is called exactly once. A thread that is still
    busy afterwards, say inferring, does not delay the exit: the process leaves without joining it.

    Args:
        factory: makes the node; called after ``rclpy.init``. What the user can mend is printed in one line.
        args: command line with ROS arguments; None takes ``sys.argv``.
        leave_after_s: leave this long after a signal whatever the node is busy with, e.g. loading a model, and without
            taking the interpreter apart; None waits, as a node that finishes files must. Seconds.

    Returns:
        The process exit code: 0 after a signal or a clean end, 1 after an exception in a callback, 2 when the node
        could not be made as asked.
    """
    return run_nodes([factory], args, leave_after_s)


def run_nodes(
    factories: Sequence[Callable[[], Node]], args: Sequence[str] | None = None, leave_after_s: float | None = None
) -> int:
    """`run_node` for several nodes in one process, each with an executor in a thread of its own.

    A callback that waits stops its own node only. A node whose callback raises is taken out of the graph, and the
    others go on; the exit code is 1 then.
    """
    keep_freed_memory()
    before = set(threading.enumerate())
    gc.freeze()  # what is imported stays; the collection that ends the process need not look at it
    ending = _Ending(leave_after_s)
    try:
        code = _make_and_spin(factories, args, ending)
        ending.nodes = []
        _leave_graph()
    finally:
        ending.close()
    # Taking a model apart again can cost a loaded machine a second; the operating system does it at once.
    if leave_after_s is not None or any(thread not in before for thread in threading.enumerate()):
        _leave(code)
    return code


def _make_and_spin(factories: Sequence[Callable[[], Node]], args: Sequence[str] | None, ending: _Ending) -> int:
    try:
        start_ros(args)
        for factory in factories:
            ending.nodes.append(factory())
        executors = [make_executor(getattr(node, "executor_name", "single")) for node in ending.nodes]
    except (M4SamError, ParameterException, NameValidationException) as error:
        sys.stderr.write(f"error: {' '.join(str(error).split())}\n")
        return EXIT_USAGE
    codes: list[int] = []

    def spin(node: Node, executor: Executor) -> None:
        codes.append(_spin(node, executor, ending))

    first, *others = zip(ending.nodes, executors, strict=True)
    threads = [threading.Thread(target=spin, args=pair, name="spin", daemon=True) for pair in others]
    for thread in threads:
        thread.start()
    spin(*first)
    for thread in threads:
        thread.join()
    return max(codes)


def _spin(node: Node, executor: Executor, ending: _Ending) -> int:
    """Run a node's callbacks until the process ends or one of them raises, and take it down; returns the exit code."""
    executor.add_node(node)
    code = EXIT_OK
    try:
        while not ending.future.done():
            executor.spin_until_future_complete(ending.future, _SPIN_S)
        code = int(getattr(node, "exit_code", None) or EXIT_OK)
    except ExternalShutdownException:
        code = EXIT_OK
    except Exception:  # noqa: BLE001 - a failing callback must end its node, with its traceback
        traceback.print_exc()
        code = EXIT_FAILED
    finally:
        # destroy_node first: files are finished while the context is still valid.
        with contextlib.suppress(ExternalShutdownException):
            executor.remove_node(node)
            node.destroy_node()
            executor.shutdown(timeout_sec=0)
    # What destroy_node could not finish counts, too.
    return code or int(getattr(node, "exit_code", None) or EXIT_OK)


def make_executor(name: str) -> Executor:
    """The executor called "single" or "events".

    Raises:
        ConfigError: this rclpy has no EventsExecutor.
    """
    if name == "single":
        return SingleThreadedExecutor()
    try:
        from rclpy.experimental import EventsExecutor
    except ImportError:
        raise ConfigError(
            "executor: expected single, got events; the rclpy of this ROS 2 release has no EventsExecutor, Kilted's has"
        ) from None
    executor: Executor = EventsExecutor()
    return executor


class _Ending:
    """Completes `future` when a signal has come or the node says that it is done.

    Python runs signal handlers only between the main thread's bytecodes, which may wait in DDS or load a model; the
    wake-up pipe is written at once, and a thread reads it.

    Args:
        leave_after_s: see `run_node`.

    Attributes:
        nodes: whose `exit_code` is looked at, as soon as they are made.
    """

    def __init__(self, leave_after_s: float | None) -> None:
        self.future: Future[None] = Future()
        self.nodes: list[Node] = []
        self._leave_after_s = leave_after_s
        self._closed = threading.Event()
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        # nohup has SIGHUP ignored, and means it.
        self._numbers = [number for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
        for number in self._numbers:
            signal.signal(number, _noted)
        self._thread = threading.Thread(target=self._watch, name="ending", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """From now on signals are ignored, so that a late one cannot break the exit."""
        for number in self._numbers:
            signal.signal(number, signal.SIG_IGN)
        signal.set_wakeup_fd(-1)
        self._closed.set()
        self._thread.join()
        os.close(self._reader)
        os.close(self._writer)

    def _watch(self) -> None:
        signalled = False
        while not self._closed.is_set() and not signalled and not self._done():
            signalled = bool(select.select([self._reader], [], [], _POLL_S)[0])
        self.future.set_result(None)
        if not signalled or self._leave_after_s is None or self._closed.wait(self._leave_after_s):
            return
        leaving = threading.Thread(target=_destroy_and_leave_graph, args=([*self.nodes],), daemon=True)
        leaving.start()
        leaving.join(_FORCED_LEAVE_S)
        _leave(EXIT_OK)

    def _done(self) -> bool:
        return any(getattr(node, "exit_code", None) is not None for node in self.nodes)


def _noted(_number: int, _frame: FrameType | None) -> None:
    """The wake-up pipe has it."""


def _destroy_and_leave_graph(nodes: Sequence[Node]) -> None:
    """From a thread of its own, while the main one is stuck; whatever goes wrong, the process ends next."""
    for node in nodes:
        with contextlib.suppress(Exception):
            node.destroy_node()
    with contextlib.suppress(Exception):
        _leave_graph()


def _leave_graph() -> None:
    """Take the DDS participant out of the graph, which os._exit would leave there as a ghost for its lease.

    It goes with its context, and the context with the last object that knows it.
    """
    context = rclpy.utilities.get_default_context()
    rclpy.try_shutdown()
    gc.collect()
    with contextlib.suppress(Exception):  # there was none
        context.destroy()


def _leave(code: int) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
