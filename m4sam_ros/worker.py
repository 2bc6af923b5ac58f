"""One thread that infers, behind a mailbox of one frame: the newest frame wins, and nobody waits."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any


class Worker:
    """Runs frames and commands in order of arrival, commands first, in one thread.

    Args:
        handle: called with each frame.
        on_error: called with what `handle` or a command raised; the thread goes on.
    """

    def __init__(self, handle: Callable[[Any], None], on_error: Callable[[Exception], None]) -> None:
        self._handle = handle
        self._on_error = on_error
        self._wake = threading.Condition()
        self._frame: Any = None
        self._commands: deque[Callable[[], None]] = deque()
        self._stopping = False
        self._busy = False
        self._thread = threading.Thread(target=self._run, name="inference", daemon=True)
        self._thread.start()

    @property
    def busy(self) -> bool:
        """Whether a frame or command is being worked on just now."""
        return self._busy

    def post(self, frame: Any) -> bool:
        """Put a frame into the mailbox; returns whether it displaced one that nobody had looked at."""
        with self._wake:
            displaced = self._frame is not None
            self._frame = frame
            self._wake.notify()
        return displaced

    def do(self, command: Callable[[], None]) -> None:
        """Run `command` in the thread, before the next frame."""
        with self._wake:
            self._commands.append(command)
            self._wake.notify()

    def discard(self) -> bool:
        """Empty the mailbox; returns whether there was a frame in it."""
        with self._wake:
            had_frame = self._frame is not None
            self._frame = None
        return had_frame

    def stop(self, timeout_s: float) -> bool:
        """Let the current frame finish and end the thread; returns whether it ended in time."""
        with self._wake:
            self._stopping = True
            self._frame = None
            self._wake.notify()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            with self._wake:
                self._busy = False
                self._wake.wait_for(lambda: self._stopping or self._commands or self._frame is not None)
                if self._stopping and not self._commands:
                    return
                command = self._commands.popleft() if self._commands else None
                frame = None
                if command is None:
                    frame, self._frame = self._frame, None
                self._busy = True
            try:
                if command is not None:
                    command()
                else:
                    self._handle(frame)
            except Exception as error:  # noqa: BLE001 - whatever a model raises, the stream goes on; on_error reports it
                self._on_error(error)
