# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""What the tests of a running graph share: the node's words, and patience."""

from __future__ import annotations

import contextlib
import itertools
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from m4sam_ros.bench.node import has_events_executor

PACE_S = 0.008
"""Between two published frames: faster than any camera, and slow enough for a loaded test machine."""
needs_events = pytest.mark.skipif(not has_events_executor(), reason="this rclpy has no EventsExecutor")


def seconds(msg) -> float:
    return msg.header.stamp.sec + msg.header.stamp.nanosec * 1e-9


def quiet(bench, messages, silence_s=0.5):
    """Spin until nothing new arrives."""
    count, since = -1, time.monotonic()
    while time.monotonic() - since < silence_s:
        if len(messages) != count:
            count, since = len(messages), time.monotonic()
        bench.spin(0.02)


def report_of(bench, values):
    from diagnostic_msgs.msg import DiagnosticArray

    reports = bench.listen(DiagnosticArray, "/diagnostics")
    bench.until(lambda: reports, "a report")
    return values(reports[-1].status[0])


def accounted(report) -> bool:
    """Whether every frame of a report is a mask, a counted drop, or under way."""
    drops = sum(int(value) for name, value in report.items() if name.startswith("drops."))
    return int(report["rgb_in"]) == int(report["masks_out"]) + drops + int(report["frames_waiting"])


def streaming(bench, *parameters, **size):
    """A node that has given five masks: node, masks, camera."""
    node = bench.start(*parameters)
    masks, camera = bench.masks(), bench.camera(**size)
    for index in range(5):
        bench.step(camera, masks, 1 + index / 15)
    return node, masks, camera


def without_depth(bench, node, camera, first_s, step_s, spin_s):
    """Its depth goes; returns what shoots rgb alone and says whether the node has named that."""
    bench.ros.destroy_publisher(camera.depth_publisher)
    numbers = itertools.count()

    def said():
        camera.shoot(first_s + next(numbers) * step_s, depth=False)
        bench.spin(spin_s)
        return "masks from rgb alone: no publisher on /saliency/depth/image" in node.log

    return said


@contextlib.contextmanager
def starved(process: Any, share: float, period_s: float = 0.05) -> Iterator[None]:
    """Lets a process run for a share of the time only."""
    over = threading.Event()

    def throttle() -> None:
        while not over.is_set():
            process.send(signal.SIGSTOP)
            time.sleep(period_s * (1 - share))
            process.send(signal.SIGCONT)
            time.sleep(period_s * share)

    thread = threading.Thread(target=throttle)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
