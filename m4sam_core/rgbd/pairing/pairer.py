# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Which depth goes with which rgb.

What the pairer promises, whatever arrives:

- no pair is further apart than `tolerance_s` (frames reusing an older depth are marked `held`);
- every rgb item ends in exactly one pair or one counted drop; queues are bounded;
- stamps jumping back (a bag that loops, a simulator reset) cost a few frames, never the stream;
- a pair is given out as soon as no later depth could be nearer.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from m4sam_core.errors import ConfigError
from m4sam_core.rgbd.pairing.stamps import JUMP_AHEAD_S, StampedStream, auto_tolerance_s

R = TypeVar("R")
D = TypeVar("D")

MissingDepth = Literal["hold", "rgb_only", "drop"]

# Before the first depth ever, rgb waits this long for the depth camera to wake up.
FIRST_DEPTH_WAIT_S = 2.0
# Depth silent for longer while rgb goes on is gone: no frame waits for it any more, until it returns.
DEPTH_GONE_S = 1.0


@dataclass(frozen=True)
class Pair(Generic[R, D]):
    """One rgb item and what goes with it.

    Attributes:
        rgb: the rgb item.
        rgb_stamp: its stamp, seconds.
        depth: the depth item; None when there was none and the policy is to go on without.
        depth_stamp: its stamp, seconds, with the offset applied; None without depth.
        held: the depth is reused from a neighbouring frame and may be further away than the tolerance.
    """

    rgb: R
    rgb_stamp: float
    depth: D | None = None
    depth_stamp: float | None = None
    held: bool = False

    @property
    def skew_s(self) -> float | None:
        """Depth stamp minus rgb stamp, seconds; None without depth."""
        return None if self.depth_stamp is None else self.depth_stamp - self.rgb_stamp


class NearestStampPairer(Generic[R, D]):
    """Nearest-stamp pairing of rgb with depth, one depth per rgb, in rgb order.

    Args:
        tolerance_s: largest stamp difference of a pair, seconds; None adapts, see `auto_tolerance_s`.
        capacity: items kept of each stream while they wait.
        depth_offset_s: added to every depth stamp, for a camera whose depth is stamped early or late.
        missing_depth: what becomes of an rgb frame without a partner: "hold" pairs it with the nearest depth within
            `max_hold_s` (and goes on without depth beyond that), "rgb_only" goes on without depth, "drop" drops it.
        depth_wait_s: how far, in stamps, the rgb stream may run ahead of a frame that waits for its depth.
        max_hold_s: oldest depth that "hold" reuses, seconds.

    Attributes:
        drops: rgb frames that came to nothing, by cause: no_depth, before_first_depth, late, time_jump,
            cleared, bad_stamp.
        counts: rgb, depth, pairs, held, rgb_only, time_jumps, depth_late, depth_unused, depth_bad_stamp.
        skews_s: skew of the last pairs (held ones excluded), seconds.
        nearest_miss_s: distance of the nearest depth of the last unpaired rgb frame, seconds; None before any.

    Raises:
        ConfigError: an argument out of range.
    """

    def __init__(
        self,
        *,
        tolerance_s: float | None = None,
        capacity: int = 10,
        depth_offset_s: float = 0.0,
        missing_depth: MissingDepth = "hold",
        depth_wait_s: float = 0.2,
        max_hold_s: float = 0.5,
    ) -> None:
        if tolerance_s is not None and not tolerance_s > 0:
            raise ConfigError(f"tolerance_s: expected a positive number or None, got {tolerance_s}")
        if capacity < 1:
            raise ConfigError(f"capacity: expected at least 1, got {capacity}")
        if missing_depth not in ("hold", "rgb_only", "drop"):
            raise ConfigError(f"missing_depth: expected hold, rgb_only or drop, got {missing_depth!r}")
        self._fixed_tolerance_s = tolerance_s
        self._capacity = capacity
        self._depth_offset_s = depth_offset_s
        self._missing_depth = missing_depth
        self._depth_wait_s = depth_wait_s
        self._max_hold_s = max_hold_s
        self._first_rgb_stamp: float | None = None
        self._rgb_queue: deque[tuple[float, R]] = deque()
        self._depth_queue: deque[tuple[float, D]] = deque()
        self._last_depth: tuple[float, D] | None = None
        self._depth_absent = False
        self.rgb_stream = StampedStream()
        self.depth_stream = StampedStream()
        self.drops: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()
        self.skews_s: deque[float] = deque(maxlen=100)
        self.nearest_miss_s: float | None = None

    @property
    def tolerance_s(self) -> float:
        """The stamp difference allowed just now, seconds."""
        if self._fixed_tolerance_s is not None:
            return self._fixed_tolerance_s
        return auto_tolerance_s(self.rgb_stream, self.depth_stream)

    @property
    def waiting(self) -> int:
        """Rgb frames that wait for their depth."""
        return len(self._rgb_queue)

    def add_rgb(self, stamp: float, item: R) -> list[Pair[R, D]]:
        """Take an rgb item stamped in seconds; returns the pairs that it completes, oldest first."""
        self.counts["rgb"] += 1
        if not math.isfinite(stamp):
            self.drops["bad_stamp"] += 1
            return []
        kind = self.rgb_stream.observe(stamp)
        if kind == "late":
            self.drops["late"] += 1
            return []
        if kind == "jump":
            self._restart(stamp)
        if self._first_rgb_stamp is None:
            self._first_rgb_stamp = stamp
        self._rgb_queue.append((stamp, item))
        self._depth_absent = self._depth_absent or self._depth_stays_away()  # until depth returns
        pairs = self._settle()
        while len(self._rgb_queue) > self._capacity:
            if self.depth_stream.newest is None:
                self._rgb_queue.popleft()
                self.drops["before_first_depth"] += 1
            else:
                pairs.extend(self._without_partner())
        return pairs

    def add_depth(self, stamp: float, item: D) -> list[Pair[R, D]]:
        """Take a depth item stamped in seconds; returns the pairs that it completes, oldest first."""
        self.counts["depth"] += 1
        stamp += self._depth_offset_s
        if not math.isfinite(stamp):
            self.counts["depth_bad_stamp"] += 1
            return []
        kind = self.depth_stream.observe(stamp)
        if kind == "late":
            self.counts["depth_late"] += 1
            return []
        if kind == "jump":
            self._restart_depth(stamp)
        self._depth_absent = self._depth_stays_away()
        self._depth_queue.append((stamp, item))
        pairs = self._settle()
        while len(self._depth_queue) > self._capacity:
            self._last_depth = self._depth_queue.popleft()
            self.counts["depth_unused"] += 1
        return pairs

    def flush(self) -> list[Pair[R, D]]:
        """End of the streams: give out every rgb frame that still waits, with its nearest depth or without."""
        return self._settle(at_end=True)

    def clear(self) -> None:
        """Forget waiting frames (drop `cleared`) and both time lines; counters stay."""
        self.drops["cleared"] += len(self._rgb_queue)
        self._rgb_queue.clear()
        self._depth_queue.clear()
        self._last_depth = None
        self._first_rgb_stamp = None
        self._depth_absent = False
        self.rgb_stream = StampedStream()
        self.depth_stream = StampedStream()

    # ------------------------------------------------------------------------------------ internals

    def _restart(self, stamp: float) -> None:
        """Rgb time jumped to `stamp`: what waited is from the old time line; so is depth far from the new one."""
        self.counts["time_jumps"] += 1
        self.drops["time_jump"] += len(self._rgb_queue)
        self._rgb_queue.clear()
        self._first_rgb_stamp = stamp
        self._depth_queue = deque(item for item in self._depth_queue if abs(item[0] - stamp) <= JUMP_AHEAD_S)
        self._forget_last_depth(stamp)

    def _restart_depth(self, stamp: float) -> None:
        """Depth time jumped; rgb keeps waiting, for it may have jumped first."""
        self.counts["time_jumps"] += 1
        self._depth_queue.clear()
        self._forget_last_depth(stamp)

    def _forget_last_depth(self, stamp: float) -> None:
        """Where it is too far from the new time line to be held."""
        if self._last_depth is not None and abs(self._last_depth[0] - stamp) > self._max_hold_s:
            self._last_depth = None

    def _settle(self, at_end: bool = False) -> list[Pair[R, D]]:
        """Give out, in order, every rgb frame whose fate is decided; at the end of the streams that is every one."""
        pairs: list[Pair[R, D]] = []
        while self._rgb_queue:
            stamp, _ = self._rgb_queue[0]
            nearest = _nearest(self._depth_queue, stamp)
            if nearest is not None and abs(nearest[0] - stamp) <= self.tolerance_s:
                if not (at_end or self._nothing_nearer_can_come(stamp, nearest[0])):
                    break
                pairs.append(self._take(nearest))
            elif at_end or self._partner_is_lost(stamp):
                pairs.extend(self._without_partner())
            else:
                break
        return pairs

    def _nothing_nearer_can_come(self, stamp: float, nearest: float) -> bool:
        if nearest >= stamp or self._depth_queue[-1][0] >= stamp or self._waited_too_long(stamp):
            return True
        period = self.depth_stream.period_s
        # The next depth comes about one period after the nearest one, so it is further away than half a period.
        return stamp - nearest <= (period if period is not None else 2 * self.tolerance_s) / 2

    def _partner_is_lost(self, stamp: float) -> bool:
        newest = self._depth_queue[-1][0] if self._depth_queue else None
        passed = newest is not None and self.tolerance_s < newest - stamp <= JUMP_AHEAD_S
        return passed or self._depth_absent or self._falls_between_depths(stamp) or self._waited_too_long(stamp)

    def _falls_between_depths(self, stamp: float) -> bool:
        """Whether depth is the slower stream and its next frame will come too late, by a margin for jitter.

        Without this, every second frame of 30 Hz rgb with 15 Hz depth would wait for a depth that is not its own.
        """
        newest, period = self.depth_stream.newest, self.depth_stream.period_s
        if newest is None or period is None:
            return False
        return newest + self.tolerance_s < stamp < newest + period - 1.5 * self.tolerance_s

    def _waited_too_long(self, stamp: float) -> bool:
        newest_rgb, newest_depth = self.rgb_stream.newest, self.depth_stream.newest
        if newest_rgb is None or newest_depth is None:
            return self._depth_absent
        return self._depth_absent or newest_rgb - stamp > self._depth_wait_s

    def _depth_stays_away(self) -> bool:
        """Whether depth has been silent for so long that no rgb should wait for it, given the newest of both."""
        newest_rgb, newest_depth = self.rgb_stream.newest, self.depth_stream.newest
        if newest_rgb is None or self._first_rgb_stamp is None:
            return False
        if newest_depth is None:  # a camera's depth often starts after its rgb
            return newest_rgb - self._first_rgb_stamp > max(FIRST_DEPTH_WAIT_S, self._depth_wait_s)
        return newest_rgb - newest_depth > max(DEPTH_GONE_S, 2 * self._depth_wait_s)

    def _take(self, depth: tuple[float, D]) -> Pair[R, D]:
        """Pair the oldest waiting rgb with `depth`; depth up to it can serve no later rgb frame better."""
        stamp, rgb = self._rgb_queue.popleft()
        while self._depth_queue[0] is not depth:
            self._depth_queue.popleft()
            self.counts["depth_unused"] += 1
        self._depth_queue.popleft()
        self._last_depth = depth
        self.counts["pairs"] += 1
        self.skews_s.append(depth[0] - stamp)
        return Pair(rgb, stamp, depth[1], depth[0])

    def _without_partner(self) -> list[Pair[R, D]]:
        """The oldest waiting rgb has no partner: apply the policy."""
        stamp, rgb = self._rgb_queue.popleft()
        past = [] if self._last_depth is None else [self._last_depth]
        nearest = _nearest([*past, *self._depth_queue], stamp)
        if nearest is not None:
            self.nearest_miss_s = abs(nearest[0] - stamp)
        if self._missing_depth == "drop":
            self.drops["no_depth"] += 1
            return []
        if self._missing_depth == "hold" and nearest is not None and abs(nearest[0] - stamp) <= self._max_hold_s:
            self.counts["held"] += 1
            return [Pair(rgb, stamp, nearest[1], nearest[0], held=True)]
        self.counts["rgb_only"] += 1
        return [Pair(rgb, stamp)]


def _nearest(items: Iterable[tuple[float, D]], stamp: float) -> tuple[float, D] | None:
    return min(items, key=lambda item: abs(item[0] - stamp), default=None)
