# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""One frame on demand: what `~/capture` waits for."""

from __future__ import annotations

import threading
from typing import Any

from m4sam_core.objects import SceneObject, SceneObjects


class Capture:
    """A request that the worker's thread answers.

    Args:
        asked_at: see below.

    Attributes:
        asked_at: when; frames that came before do not count. Monotonic seconds.
        text: the answer.
        lost: its frame could not be published; the next one is to be taken.
    """

    def __init__(self, asked_at: float) -> None:
        self.asked_at = asked_at
        self.text = ""
        self.lost = False
        self._answered = threading.Event()

    def answer(self, stamp: Any, found: SceneObjects | None) -> None:
        """The frame has been published."""
        objects = () if found is None else found.objects
        note = f" ({found.note})" if found is not None and found.note and objects else ""
        listed = ", ".join(_place(item) for item in objects)
        many = f"{len(objects)} object(s){': ' if listed else ''}{listed}{note}"
        self.text = f"stamp {stamp.sec}.{stamp.nanosec:09}: {many}"
        self._answered.set()

    def wait(self, timeout_s: float) -> bool:
        """Whether it is answered, after waiting for it."""
        return self._answered.wait(timeout_s)


def _place(item: SceneObject) -> str:
    where = "without position" if item.distance_m is None else f"at {item.distance_m:.3f} m"
    return f"id {item.id} {where}{' (main)' if item.is_main else ''}"
