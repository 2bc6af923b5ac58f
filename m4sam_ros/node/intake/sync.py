# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Pairing rgb and depth messages: one interface, two backends.

`nearest` is our own pairer (m4sam_core/rgbd/pairing/) and works everywhere. `message_filters` uses ROS's
ApproximateTimeSynchronizer where it is installed, fenced in: its callback only appends to a list (it runs inside the
synchroniser's lock and would leave it locked if it raised), it is rebuilt when time jumps (full queues would starve it
for ever), and the slop follows the adaptive tolerance (a wide one pairs frames far apart).
"""

from __future__ import annotations

from collections import Counter, deque
from types import SimpleNamespace
from typing import Any, Protocol

from m4sam_core.errors import ConfigError
from m4sam_core.rgbd.pairing import NearestStampPairer, Pair
from m4sam_core.rgbd.pairing.stamps import StampedStream, auto_tolerance_s
from m4sam_ros.settings import SyncConfig


class Synchronizer(Protocol):
    """What the node knows of a backend; the members are described in `NearestStampPairer`."""

    drops: Counter[str]
    counts: Counter[str]
    skews_s: deque[float]
    nearest_miss_s: float | None
    rgb_stream: StampedStream
    depth_stream: StampedStream

    @property
    def tolerance_s(self) -> float:
        """The stamp difference allowed just now, seconds."""
        ...

    @property
    def waiting(self) -> int:
        """Rgb frames that wait for their depth."""
        ...

    def add_rgb(self, stamp: float, item: Any) -> list[Pair[Any, Any]]:
        """Take an rgb message; returns the pairs it completes, oldest first."""
        ...

    def add_depth(self, stamp: float, item: Any) -> list[Pair[Any, Any]]:
        """Take a depth message; returns the pairs it completes, oldest first."""
        ...

    def clear(self) -> None:
        """Forget what waits, as drop `cleared`."""
        ...


def make_synchronizer(cfg: SyncConfig) -> Synchronizer:
    """The backend that the configuration asks for.

    Raises:
        ConfigError: message_filters is asked for and not installed.
    """
    if cfg.backend == "message_filters":
        return MessageFiltersPairer(cfg)
    return NearestStampPairer(
        tolerance_s=cfg.tolerance_s or None,
        capacity=cfg.queue_size,
        depth_offset_s=cfg.depth_stamp_offset_s,
        missing_depth=cfg.missing_depth,
        depth_wait_s=cfg.depth_wait_s,
        max_hold_s=cfg.max_hold_s,
    )


class MessageFiltersPairer:
    """ApproximateTimeSynchronizer behind the `Synchronizer` interface.

    Raises:
        ConfigError: message_filters is not installed.
    """

    def __init__(self, cfg: SyncConfig) -> None:
        try:
            import message_filters
        except ImportError:
            raise ConfigError(
                "sync.backend: expected message_filters to be installed, got no such package; "
                "install ros-$ROS_DISTRO-message-filters or use sync.backend:=nearest"
            ) from None
        self._filters = message_filters
        self._cfg = cfg
        self.drops: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()
        self.skews_s: deque[float] = deque(maxlen=100)
        self.nearest_miss_s: float | None = None
        self._waiting: deque[tuple[float, Any]] = deque()
        self._last_depth: tuple[float, Any] | None = None
        self.clear()

    @property
    def tolerance_s(self) -> float:
        """The stamp difference allowed just now, seconds."""
        return self._cfg.tolerance_s or auto_tolerance_s(self.rgb_stream, self.depth_stream)

    @property
    def waiting(self) -> int:
        """Rgb frames that wait for their depth."""
        return len(self._waiting)

    def add_rgb(self, stamp: float, item: Any) -> list[Pair[Any, Any]]:
        """See `Synchronizer`."""
        self.counts["rgb"] += 1
        kind = self.rgb_stream.observe(stamp)
        if kind == "late":
            self.drops["late"] += 1
            return []
        if kind == "jump":
            self._restart()
        self._waiting.append((stamp, item))
        self._feed(0, stamp, item)
        return self._collect()

    def add_depth(self, stamp: float, item: Any) -> list[Pair[Any, Any]]:
        """See `Synchronizer`."""
        self.counts["depth"] += 1
        stamp += self._cfg.depth_stamp_offset_s
        kind = self.depth_stream.observe(stamp)
        if kind == "late":
            self.counts["depth_late"] += 1
            return []
        if kind == "jump":
            self._restart()
        self._last_depth = (stamp, item)
        self._feed(1, stamp, item)
        return self._collect()

    def clear(self) -> None:
        """See `Synchronizer`."""
        self.drops["cleared"] += len(self._waiting)
        self._waiting.clear()
        self.rgb_stream = StampedStream()
        self.depth_stream = StampedStream()
        self._last_depth = None
        self._rebuild()

    def _restart(self) -> None:
        self.counts["time_jumps"] += 1
        self.drops["time_jump"] += len(self._waiting)
        self._waiting.clear()
        self._last_depth = None
        self._rebuild()

    def _rebuild(self) -> None:
        self._matched: list[tuple[Any, Any]] = []
        self._slop_s = self.tolerance_s
        self._inputs = (self._filters.SimpleFilter(), self._filters.SimpleFilter())
        # It compares with <, so that a slop of exactly the tolerance would refuse pairs we promise.
        self._synchronizer = self._filters.ApproximateTimeSynchronizer(
            list(self._inputs), self._cfg.queue_size, self._slop_s + 1e-6
        )
        self._synchronizer.registerCallback(lambda rgb, depth: self._matched.append((rgb, depth)))

    def _feed(self, index: int, stamp: float, item: Any) -> None:
        from builtin_interfaces.msg import Time

        if abs(self.tolerance_s - self._slop_s) > 0.2 * self._slop_s:
            self._rebuild()
        seconds = int(stamp // 1)
        header = SimpleNamespace(stamp=Time(sec=seconds, nanosec=min(int((stamp - seconds) * 1e9), 999_999_999)))
        self._inputs[index].signalMessage(SimpleNamespace(header=header, seconds=stamp, item=item))

    def _collect(self) -> list[Pair[Any, Any]]:
        """New matches in rgb order; frames that they overtook, or that waited too long, have no partner."""
        pairs: list[Pair[Any, Any]] = []
        matched, self._matched = self._matched, []
        for rgb, depth in matched:
            while self._waiting and self._waiting[0][0] < rgb.seconds:
                pairs += self._without_partner()
            if self._waiting and self._waiting[0][0] == rgb.seconds:
                self._waiting.popleft()
                self.counts["pairs"] += 1
                self.skews_s.append(depth.seconds - rgb.seconds)
                pairs.append(Pair(rgb.item, rgb.seconds, depth.item, depth.seconds))
        newest = self.rgb_stream.newest
        while self._waiting and newest is not None and newest - self._waiting[0][0] > self._cfg.depth_wait_s:
            pairs += self._without_partner()
        while len(self._waiting) > self._cfg.queue_size:
            pairs += self._without_partner()
        return pairs

    def _without_partner(self) -> list[Pair[Any, Any]]:
        stamp, rgb = self._waiting.popleft()
        distance = None if self._last_depth is None else abs(self._last_depth[0] - stamp)
        if distance is not None:
            self.nearest_miss_s = distance
        if self._cfg.missing_depth == "drop":
            self.drops["no_depth"] += 1
            return []
        hold = self._cfg.missing_depth == "hold" and distance is not None and distance <= self._cfg.max_hold_s
        self.counts["held" if hold else "rgb_only"] += 1
        if hold and self._last_depth is not None:
            return [Pair(rgb, stamp, self._last_depth[1], self._last_depth[0], held=True)]
        return [Pair(rgb, stamp)]
