"""The main loop every executable shares: SIGINT and SIGTERM end it with exit code 0 and without a traceback."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions

from m4sam_core.errors import M4SamError

if TYPE_CHECKING:
    from rclpy.node import Node

SPIN_TIMEOUT_S = 0.1
_LARGE_IMAGE_BYTES = 16 << 20
EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2


def run_node(factory: Callable[[], Node], args: Sequence[str] | None = None, leave_after_s: float | None = None) -> int:
    """Run one node until a signal comes or the node says that it is done.

    A node ends by itself by giving its attribute ``exit_code`` an int (None or absent: go on). Everything a node
    must finish (threads, files) belongs in its ``destroy_node``, which is called exactly once. A thread that is still
    busy afterwards, say inferring, does not delay the exit: the process leaves without joining it.

    Args:
        factory: makes the node; called after ``rclpy.init``. A `M4SamError` from it is printed, without a traceback.
        args: command line with ROS arguments; None takes ``sys.argv``.
        leave_after_s: leave this long after a signal whatever the node is busy with, e.g. loading a model, and without
            taking the interpreter apart; None waits, as a node that finishes files must. Seconds.

    Returns:
        The process exit code: 0 after a signal or a clean end, 1 after an exception in a callback, 2 when the node
        could not be made as asked.
    """
    if leave_after_s is not None:
        _leave_in_time(leave_after_s)
    keep_freed_memory()
    before = set(threading.enumerate())
    with _stop_signals() as stop:
        rclpy.init(args=None if args is None else list(args), signal_handler_options=SignalHandlerOptions.NO)
        try:
            code = _make_and_spin(factory, stop)
        finally:
            rclpy.try_shutdown()
    # Taking a model apart again can cost a loaded machine a second; the operating system does it at once.
    if leave_after_s is not None or any(thread not in before for thread in threading.enumerate()):
        _leave(code)
    return code


def keep_freed_memory() -> None:
    """Have the allocator keep an image's memory for the next image.

    glibc returns large blocks to the kernel at once, and touching new ones takes longer than copying an image; it
    stops doing so for sizes up to the largest block freed so far (mallopt(3), M_MMAP_THRESHOLD). Elsewhere this does
    nothing.
    """
    bytearray(_LARGE_IMAGE_BYTES)


@contextlib.contextmanager
def _stop_signals() -> Iterator[threading.Event]:
    """SIGINT and SIGTERM set the event; afterwards both are ignored, so a late one cannot break the exit."""
    stop = threading.Event()

    def on_signal(_number: int, _frame: Any) -> None:
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    try:
        yield stop
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)


def _make_and_spin(factory: Callable[[], Node], stop: threading.Event) -> int:
    try:
        node = factory()
    except M4SamError as error:
        sys.stderr.write(f"error: {error}\n")
        return EXIT_USAGE
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    code = EXIT_OK
    try:
        while rclpy.ok() and not stop.is_set():
            executor.spin_once(timeout_sec=SPIN_TIMEOUT_S)
            ended = getattr(node, "exit_code", None)
            if ended is not None:
                code = int(ended)
                break
    except ExternalShutdownException:
        code = EXIT_OK
    except Exception:  # noqa: BLE001 - a failing callback must end the process, with its traceback
        traceback.print_exc()
        code = EXIT_FAILED
    finally:
        # destroy_node first: files are finished while the context is still valid.
        with contextlib.suppress(ExternalShutdownException):
            executor.remove_node(node)
            node.destroy_node()
            executor.shutdown(timeout_sec=0)
    return code


def _leave_in_time(seconds: float) -> None:
    """A thread that ends the process some time after a signal.

    Python runs signal handlers only between the main thread's bytecodes; the wake-up pipe is written at once.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)

    def wait_and_leave() -> None:
        os.read(reader, 1)
        time.sleep(seconds)
        _leave(EXIT_OK)

    threading.Thread(target=wait_and_leave, name="leave in time", daemon=True).start()


def _leave(code: int) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
