# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""What the node counts and measures; written by all of its threads."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter, deque
from pathlib import Path

import numpy as np

_RATE_WINDOW_S = 5.0
_LATENCIES_KEPT = 300
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Metrics:
    """Counters, rates and latencies of one node.

    Attributes:
        drops: frames that came to nothing in the node, by cause: disabled, busy (a newer frame displaced it), too_old,
            bad_rgb, model_error, inactive.
        counts: rgb, depth, bad_rgb, bad_depth, depth_unusable, masks, resets, model_errors, output_errors,
            outputs_behind (frames of which only the mask went out, for the outputs of a newer one were due).
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._times: dict[str, deque[float]] = {}
        self._latencies_ms: deque[float] = deque(maxlen=_LATENCIES_KEPT)
        self._model_ms: deque[float] = deque(maxlen=_LATENCIES_KEPT)
        self._outputs_ms: deque[float] = deque(maxlen=_LATENCIES_KEPT)
        self._last_errors: dict[str, str] = {}
        self._last_logged: dict[str, float] = {}
        self.drops: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()

    def count(self, what: str) -> None:
        """One more of `what`, now."""
        now = time.monotonic()
        with self._lock:
            self.counts[what] += 1
            times = self._times.setdefault(what, deque(maxlen=1000))
            times.append(now)

    def drop(self, cause: str, frames: int = 1) -> None:
        """More frames dropped."""
        if frames:
            with self._lock:
                self.drops[cause] += frames

    def absorb(self, drops: Counter[str]) -> None:
        """Add the drops of a pairing that ends."""
        with self._lock:
            self.drops.update(drops)

    def problem(self, kind: str, text: str, every_s: float = 5.0) -> str | None:
        """Count a problem and remember its text; returns what to log now, None while it is throttled."""
        now = time.monotonic()
        with self._lock:
            self.counts[kind] += 1
            self._last_errors[kind] = text
            if now - self._last_logged.get(kind, -every_s) < every_s:
                return None
            self._last_logged[kind] = now
            total = self.counts[kind]
        return text if total == 1 else f"{text} ({total} so far)"

    def last_error(self, kind: str) -> str:
        """The text of the last problem of a kind, "" before any."""
        with self._lock:
            return self._last_errors.get(kind, "")

    def processed(self, latency_ms: float, model_ms: float) -> None:
        """A mask went out.

        Args:
            latency_ms: from the arrival of its rgb message.
            model_ms: of which in the model.
        """
        with self._lock:
            self._latencies_ms.append(latency_ms)
            self._model_ms.append(model_ms)
        self.count("masks")

    def published(self, outputs_ms: float) -> None:
        """The rest of a frame went out, that long after its mask."""
        with self._lock:
            self._outputs_ms.append(outputs_ms)

    def rate_hz(self, what: str) -> float:
        """Events per second over the last few seconds."""
        now = time.monotonic()
        with self._lock:
            times = [at for at in self._times.get(what, ()) if now - at <= _RATE_WINDOW_S]
        if len(times) < 2:
            return 0.0
        return (len(times) - 1) / max(now - times[0], 1e-6)

    def latency_ms(self, percentile: float) -> float:
        """Percentile of arrival-to-mask times; NaN before the first."""
        return self._percentile(self._latencies_ms, percentile)

    def model_ms(self, percentile: float) -> float:
        """Percentile of the model's times; NaN before the first."""
        return self._percentile(self._model_ms, percentile)

    def outputs_ms(self, percentile: float) -> float:
        """Percentile of the times from a frame's mask to the last of its outputs; NaN before the first."""
        return self._percentile(self._outputs_ms, percentile)

    def totals(self) -> tuple[Counter[str], Counter[str]]:
        """Copies of `counts` and `drops`."""
        with self._lock:
            return Counter(self.counts), Counter(self.drops)

    def _percentile(self, values: deque[float], percentile: float) -> float:
        with self._lock:
            copied = list(values)
        return float(np.percentile(copied, percentile)) if copied else float("nan")


def resident_bytes() -> int:
    """Resident memory of this process."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * _PAGE_BYTES
