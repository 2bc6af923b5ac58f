# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Executable `play`: publishes a clip folder or a rosbag as a live RGB-D camera, faults included if asked."""

from __future__ import annotations

import heapq
import itertools
import json
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rclpy.duration import Duration
from rclpy.node import Node
from rosgraph_msgs.msg import Clock as ClockMsg

from m4sam_core.errors import InputError
from m4sam_core.host.files import write_text
from m4sam_core.host.outputs import cannot_write
from m4sam_ros import names
from m4sam_ros.parameters import declare_fixed
from m4sam_ros.player.settings import FaultConfig, PlayConfig
from m4sam_ros.player.source import DEPTH, INFO, RGB, Item, ros_header
from m4sam_ros.player.sources import open_source
from m4sam_ros.qos import BEST_EFFORT, RELIABLE, listeners, volatile
from m4sam_ros.runner import EXIT_FAILED, EXIT_OK, run_node

TOPICS = {RGB: names.RGB, DEPTH: names.DEPTH, INFO: names.CAMERA_INFO}
CLOCK_PERIOD_NS = 10_000_000
POLL_S = 0.02
ACKNOWLEDGE_TIMEOUT_S = 2.0


@dataclass(order=True)
class _Due:
    """A message and when it is due, nanoseconds of the steady clock."""

    due_ns: int
    order: int
    item: Item
    stamp_ns: int


class Faults:
    """Decides what happens to each image; the same seed makes the same decisions."""

    def __init__(self, cfg: FaultConfig) -> None:
        self._cfg = cfg
        self._random = random.Random(cfg.seed)
        self._depth_count = itertools.count()

    def drops(self, channel: str) -> bool:
        """Whether this image is left out."""
        if channel == INFO:
            return False
        lost = self._random.random() < (self._cfg.drop_rgb if channel == RGB else self._cfg.drop_depth)
        skipped = channel == DEPTH and next(self._depth_count) % self._cfg.depth_every != 0
        return lost or skipped

    def delay_ns(self, channel: str) -> int:
        """How late it is sent."""
        if channel == INFO:
            return 0
        delay_s = self._random.uniform(0, self._cfg.jitter_s)
        return round((delay_s + (self._cfg.depth_delay_s if channel == DEPTH else 0.0)) * 1e9)

    def stamp_shift_ns(self, channel: str) -> int:
        """What is added to its stamp."""
        if channel == INFO:
            return 0
        shift_s = self._random.uniform(-self._cfg.stamp_jitter_s, self._cfg.stamp_jitter_s)
        return round((shift_s + (self._cfg.depth_stamp_offset_s if channel == DEPTH else 0.0)) * 1e9)


class Player(Node):
    """Publishes in a thread of its own, so that timing does not depend on the executor.

    Raises:
        ConfigError: a parameter is not allowed.
        InputError: the source cannot be used.
    """

    def __init__(self) -> None:
        super().__init__("play", namespace=names.NAMESPACE)
        self.exit_code: int | None = None
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._cfg = declare_fixed(self, PlayConfig)
        self._source = open_source(self._cfg)
        for note in self._source.notes:
            self.get_logger().warning(f"{self._cfg.source}: {note}")
        self._faults = Faults(self._cfg.faults)
        self._counts: Counter[str] = Counter()
        self._loops = 0
        reliability = RELIABLE if self._cfg.reliability == "reliable" else BEST_EFFORT
        profile = volatile(self._cfg.qos_depth, reliability)
        self._outlets = {
            channel: self.create_publisher(kind, self.resolve_topic_name(TOPICS[channel]) + suffix, profile)
            for channel, (kind, suffix) in self._source.kinds().items()
        }
        self._sim_clock = self.create_publisher(ClockMsg, "/clock", volatile(1)) if self._cfg.clock else None
        self._sim_zero_ns = 0  # simulated minus steady time, at rate 1
        self._next_tick_ns = 0
        self._started_ns = 0
        self._thread = threading.Thread(target=self._run, name="play", daemon=True)
        self._thread.start()

    def destroy_node(self) -> None:
        """Stop publishing, then leave the graph."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=2 * ACKNOWLEDGE_TIMEOUT_S)
        super().destroy_node()

    # ------------------------------------------------------------------------------- player's thread

    def _run(self) -> None:
        code = EXIT_FAILED
        try:
            self._source.preload()
            self._wait_for_subscribers()
            self._started_ns = time.monotonic_ns()
            self.get_logger().info(f"first frame of {self._cfg.source}")
            self._play()
            self._wait_until_received()
            code = EXIT_OK
        except Exception as error:  # noqa: BLE001 - a thread's last line: the process must end and say why
            self.get_logger().error(f"stopped: {type(error).__name__}: {error}")
        try:
            self._report()
        except OSError as error:
            self.get_logger().error(f"summary: {cannot_write(Path(self._cfg.summary), error)}")
            code = EXIT_FAILED
        self.exit_code = code

    def _wait_for_subscribers(self) -> None:
        wanted = {RGB: self._cfg.wait_for_subscribers, DEPTH: min(1, self._cfg.wait_for_subscribers)}
        deadline = time.monotonic() + self._cfg.wait_timeout_s
        while any(self._listeners(channel) < count for channel, count in wanted.items()):
            if time.monotonic() > deadline:
                topics = {channel: self._outlets[channel].topic_name for channel in wanted}
                found = ", ".join(f"{n} on {topics[c]}, got {self._listeners(c)}" for c, n in wanted.items())
                limit = f"{self._cfg.wait_timeout_s:g} s"
                self.get_logger().warning(f"subscribers: expected {found} within {limit}; starting all the same")
                break
            if self._stop.wait(POLL_S):
                return
        # A subscriber learns of the match a moment after the publisher does.
        self._stop.wait(self._cfg.start_delay_s)

    def _listeners(self, channel: str) -> int:
        """Nodes that this publisher is matched with."""
        publisher = self._outlets[channel]
        return min(publisher.get_subscription_count(), listeners(self, publisher.topic_name))

    def _play(self) -> None:
        """Every pass over the source; delayed messages wait in a heap."""
        order = itertools.count()
        waiting: list[_Due] = []
        newest_due: dict[str, int] = {}
        steady_zero, wall_zero = time.monotonic_ns(), time.time_ns()
        for loop in itertools.count():
            if self._stop.is_set() or 0 < self._cfg.loops <= loop:
                break
            pass_ns = round(loop * self._source.period_ns / self._cfg.rate)
            first_stamp_ns: int | None = None
            for item in self._source.items():
                nominal_ns = steady_zero + pass_ns + round(item.offset_ns / self._cfg.rate)
                self._publish_due(waiting, nominal_ns)
                if self._stop.is_set():
                    return
                first_stamp_ns = item.stamp_ns if first_stamp_ns is None else first_stamp_ns
                stamp_ns = self._stamp(item, wall_zero, pass_ns, first_stamp_ns)
                if item.offset_ns == 0:
                    self._sim_zero_ns = stamp_ns - nominal_ns
                if self._faults.drops(item.channel):
                    self._counts[f"{item.channel}_dropped"] += 1
                    continue
                due_ns = max(nominal_ns + self._faults.delay_ns(item.channel), newest_due.get(item.channel, 0))
                newest_due[item.channel] = due_ns
                stamp_ns += self._faults.stamp_shift_ns(item.channel)
                heapq.heappush(waiting, _Due(due_ns, next(order), item, max(0, stamp_ns)))
            self._publish_due(waiting, steady_zero + pass_ns + round(self._source.period_ns / self._cfg.rate))
            self._loops += 1
        self._publish_due(waiting, max(newest_due.values(), default=0) + 1)

    def _stamp(self, item: Item, wall_zero: int, pass_ns: int, first_stamp_ns: int) -> int:
        if self._cfg.stamps == "recorded":
            return item.stamp_ns
        into_pass_ns = round((item.stamp_ns - first_stamp_ns) / self._cfg.rate)
        return wall_zero + into_pass_ns + (pass_ns if self._cfg.stamps == "live" else 0)

    def _publish_due(self, waiting: list[_Due], before_ns: int) -> None:
        """Publish, each at its time, what is due before `before_ns`."""
        while waiting and waiting[0].due_ns < before_ns and not self._stop.is_set():
            due = heapq.heappop(waiting)
            try:
                message = self._source.message(due.item, due.stamp_ns)
            except InputError as error:
                self._counts[f"{due.item.channel}_unreadable"] += 1
                self.get_logger().warning(f"left out: {error}")
                continue
            self._wait_until(due.due_ns)
            if not self._stop.is_set():
                self._outlets[due.item.channel].publish(message)
                self._counts[f"{due.item.channel}_published"] += 1

    def _wait_until(self, due_ns: int) -> None:
        while (left_ns := due_ns - time.monotonic_ns()) > 0 and not self._stop.is_set():
            if self._sim_clock is None:
                self._stop.wait(left_ns * 1e-9)
            else:
                self._tick()
                self._stop.wait(min(left_ns, CLOCK_PERIOD_NS) * 1e-9)
        if self._sim_clock is not None:
            self._tick()

    def _tick(self) -> None:
        """Publish /clock when its period is over or the clock has jumped back."""
        now_ns = time.monotonic_ns() + self._sim_zero_ns
        if self._sim_clock is None or self._next_tick_ns - CLOCK_PERIOD_NS <= now_ns < self._next_tick_ns:
            return
        self._next_tick_ns = now_ns + CLOCK_PERIOD_NS
        self._sim_clock.publish(ClockMsg(clock=ros_header(now_ns, "").stamp))

    def _wait_until_received(self) -> None:
        for publisher in self._outlets.values():
            if self._cfg.reliability == "reliable" and not self._stop.is_set():
                publisher.wait_for_all_acked(Duration(seconds=ACKNOWLEDGE_TIMEOUT_S))

    def _report(self) -> None:
        """One JSON line on standard output, the last one, and the file asked for."""
        seconds = (time.monotonic_ns() - self._started_ns) * 1e-9 if self._started_ns else 0.0
        channels = (RGB, DEPTH)
        summary: dict[str, Any] = {f"{c}_{what}": self._counts[f"{c}_{what}"] for c in channels for what in _COUNTED}
        summary |= {"loops": self._loops, "seconds": round(seconds, 3), "source": self._cfg.source}
        line = json.dumps(summary)
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
        if self._cfg.summary:
            write_text(Path(self._cfg.summary), line + "\n")


_COUNTED = ("published", "dropped", "unreadable")


def main(args: Sequence[str] | None = None) -> int:
    """Console entry point `play`."""
    return run_node(Player, args)
