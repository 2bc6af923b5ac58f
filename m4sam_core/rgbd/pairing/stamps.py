# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""What the stamps of a stream say, whoever pairs it: its newest, its period, its jumps, and how near is near."""

from __future__ import annotations

from collections import deque
from statistics import median
from typing import Literal

INITIAL_TOLERANCE_S = 1 / 30
TOLERANCE_BOUNDS_S = (0.002, 0.1)
# A stamp this much older than its stream's newest starts the time line anew; less is a late message, or one of a driver
# that stamps unsteadily. A real jump by less costs the frames until the old time is reached again.
JUMP_BACK_S = 0.5
# A stream silent for longer starts anew too; stamps further apart than this say nothing about each other.
JUMP_AHEAD_S = 2.0


class StampedStream:
    """Newest stamp, frame period and jumps of one stream."""

    def __init__(self) -> None:
        self.newest: float | None = None
        self._intervals: deque[float] = deque(maxlen=15)

    @property
    def period_s(self) -> float | None:
        """Median interval of the last frames, seconds; None before the second frame."""
        return median(self._intervals) if self._intervals else None

    def observe(self, stamp: float) -> Literal["next", "late", "jump"]:
        """Take note of a new stamp and say what it means for the stream."""
        if self.newest is None:
            self.newest = stamp
            return "next"
        step = stamp - self.newest
        if -JUMP_BACK_S <= step <= 0:
            return "late"
        self.newest = stamp
        if step < 0 or step > JUMP_AHEAD_S:
            return "jump"
        self._intervals.append(step)
        return "next"


def auto_tolerance_s(rgb: StampedStream, depth: StampedStream) -> float:
    """Half the frame period of the faster stream, within `TOLERANCE_BOUNDS_S`.

    Half a period is enough for every frame of the slower stream to find its nearest, and too little for a depth map
    to be nearest to two rgb frames.
    """
    periods = [period for period in (rgb.period_s, depth.period_s) if period is not None]
    if not periods:
        return INITIAL_TOLERANCE_S
    low, high = TOLERANCE_BOUNDS_S
    return min(max(min(periods) / 2, low), high)
