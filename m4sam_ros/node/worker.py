# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""One thread that infers, behind a mailbox of one frame: the newest frame wins, and nobody waits."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any


class Worker:
    """Hands frames to `handle` in a thread of its own, always the newest one there is.

    Args:
        handle: called with each frame.
        on_error: called with what `handle` raised; the thread goes on.
    """

    def __init__(self, handle: Callable[[Any], None], on_error: Callable[[Exception], None]) -> None:
        self._handle = handle
        self._on_error = on_error
        self._wake = threading.Condition()
        self._frame: Any = None
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="inference", daemon=True)
        self._thread.start()

    def post(self, frame: Any) -> bool:
        """Put a frame into the mailbox; returns whether it displaced one that nobody had looked at."""
        with self._wake:
            displaced = self._frame is not None
            self._frame = frame
            self._wake.notify()
        return displaced

    def withdraw(self) -> list[Any]:
        """Take back the frame in the mailbox; none when it is empty."""
        with self._wake:
            frame, self._frame = self._frame, None
        return [] if frame is None else [frame]

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
                self._wake.wait_for(lambda: self._stopping or self._frame is not None)
                if self._stopping:
                    return
                frame, self._frame = self._frame, None
            try:
                self._handle(frame)
            except Exception as error:  # noqa: BLE001 - whatever a model raises, the stream goes on; on_error reports it
                self._on_error(error)
            # The next frame may be long in coming; do not keep this one's images alive.
            del frame
