# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""A thread behind a small mailbox: one infers, one publishes what is heavier than a mask, one clears depth maps."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any


class Worker:
    """Hands items to `handle` in a thread of its own, oldest first.

    Args:
        handle: called with each item.
        on_error: called with what `handle` raised; the thread goes on.
        name: of the thread.
        room: items that may wait. With one, `post` makes the newest win.
        must_stay: tells the items that are not displaced by newer ones; none without.
    """

    def __init__(
        self,
        handle: Callable[[Any], None],
        on_error: Callable[[Exception], None],
        name: str = "inference",
        room: int = 1,
        must_stay: Callable[[Any], bool] = lambda _item: False,
    ) -> None:
        self._handle = handle
        self._on_error = on_error
        self._changed = threading.Condition()
        self._room = room
        self._must_stay = must_stay
        self._waiting: deque[Any] = deque()
        self._busy = False
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def pending(self) -> int:
        """Items in the mailbox and in `handle`."""
        with self._changed:
            return len(self._waiting) + self._busy

    def post(self, item: Any) -> Any:
        """Put an item into a mailbox that may be full.

        Returns:
            what found no room: the oldest one there that need not stay, or this one when all must; None otherwise.
        """
        with self._changed:
            if self._stopping:
                return None
            displaced = None
            if len(self._waiting) == self._room:
                index = next((index for index, kept in enumerate(self._waiting) if not self._must_stay(kept)), None)
                if index is None:
                    return item
                displaced = self._waiting[index]
                del self._waiting[index]
            self._waiting.append(item)
            self._changed.notify_all()
        return displaced

    def withdraw(self) -> list[Any]:
        """Take back what is in the mailbox, oldest first."""
        with self._changed:
            items = [*self._waiting]
            self._waiting.clear()
        return items

    def stop(self, timeout_s: float, *, drain: bool = False) -> bool:
        """End the thread after the item in work; returns whether it ended in time.

        Args:
            timeout_s: how long to wait for it. Seconds.
            drain: first handle what is in the mailbox; else it is forgotten.
        """
        with self._changed:
            self._stopping = True
            if not drain:
                self._waiting.clear()
            self._changed.notify_all()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._stopping or self._waiting)
                if not self._waiting:
                    return
                item = self._waiting.popleft()
                self._busy = True
            try:
                self._handle(item)
            except Exception as error:  # noqa: BLE001 - whatever a model raises, the stream goes on; on_error reports it
                self._on_error(error)
            finally:
                self._busy = False
            # The next item may be long in coming; do not keep this one's images alive.
            del item
