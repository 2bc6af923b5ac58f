# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""What a recording counts and measures."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from m4sam_ros.recorder.recording import Recording

#: A stamp further than this from the arrival is no reading of the same clock, so there is no latency to speak of.
MAX_LATENCY_MS = 600_000.0


class Figures:
    """Counts and times of one recording."""

    def __init__(self) -> None:
        self.frames_in = 0
        self.frames_out = 0
        self.drops: Counter[str] = Counter()
        self.node_drops: dict[str, int] = {}
        self.write_error = ""
        self._first_stamp_ns: int | None = None
        self._first_arrival_s = self._last_arrival_s = 0.0
        self._latencies_ms: list[float] = []

    def mask_arrived(self, arrival_s: float, latency_ms: float) -> None:
        """Note one mask; `arrival_s` of the monotonic clock."""
        if self.frames_out == 0:
            self._first_arrival_s = arrival_s
        self._last_arrival_s = arrival_s
        self.frames_out += 1
        self._latencies_ms.append(latency_ms)

    def since_first_s(self, stamp: int) -> float:
        """Seconds from the first recorded stamp."""
        if self._first_stamp_ns is None:
            self._first_stamp_ns = stamp
        return (stamp - self._first_stamp_ns) * 1e-9

    def summary(self, recording: Recording) -> dict[str, Any]:
        """What summary.json holds; latency is null when stamps and arrivals are on different clocks."""
        span_s = self._last_arrival_s - self._first_arrival_s
        return {
            "frames_in": self.frames_in,
            "frames_out": self.frames_out,
            "frames_written": recording.frames,
            "masks_without_rgb": recording.without_rgb,
            "masks_replaced": recording.replaced,
            "rate_hz": round((self.frames_out - 1) / span_s, 2) if span_s > 0 else None,
            "latency_ms": {"p50": self._percentile(50), "p95": self._percentile(95)},
            "drops": self._drops(),
        }

    def _percentile(self, percent: int) -> float | None:
        values = np.asarray(self._latencies_ms)
        if not values.size or np.abs(values).max() > MAX_LATENCY_MS:
            return None
        return round(float(np.percentile(values, percent)), 2)

    def _drops(self) -> dict[str, int]:
        """Causes told by the node's diagnostics, and the recorder's own."""
        drops = {**self.drops, **self.node_drops}
        return {cause: count for cause, count in sorted(drops.items()) if count}
