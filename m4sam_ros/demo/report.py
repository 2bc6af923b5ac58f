# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""What the demo observes on the graph, and the summary it makes of what its processes report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from m4sam_ros import names
from m4sam_ros.qos import listeners
from m4sam_ros.report import Report, reports_in

MASK_TOPIC = f"/{names.NAMESPACE}/{names.MASK}"
RGB_TOPIC = f"/{names.NAMESPACE}/{names.RGB}"


class Observer:
    """A small ROS node in the demo's own process that watches the saliency node's diagnostics; no images."""

    def __init__(self) -> None:
        rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
        self.node = Node("m4sam_demo")
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        self.node.create_subscription(DiagnosticArray, names.DIAGNOSTICS, self._on_diagnostics, 10)
        self.reports = 0
        self._last: Report | None = None

    def spin(self) -> None:
        """Handle what has arrived, waiting a moment for the first thing."""
        self._executor.spin_once(timeout_sec=0.05)

    def has_publisher(self, topic: str) -> bool:
        """Whether somebody publishes `topic`."""
        self.spin()
        return self.node.count_publishers(topic) > 0

    def has_subscribers(self, topic: str, least: int) -> bool:
        """Whether at least `least` nodes listen to `topic`."""
        self.spin()
        return listeners(self.node, topic) >= least

    def count(self, key: str) -> int:
        """A counter of the latest report, 0 before the first."""
        return self._last.count(key) if self._last is not None else 0

    def drops(self) -> dict[str, int]:
        """The node's drops by cause, without the causes that did not happen."""
        return self._last.drops if self._last is not None else {}

    def close(self) -> None:
        """Leave the graph."""
        self._executor.shutdown()
        self.node.destroy_node()
        rclpy.try_shutdown()

    def _on_diagnostics(self, message: Any) -> None:
        for report in reports_in(message):
            self.reports += 1
            self._last = report


def make_summary(
    recorded: dict[str, Any], played: dict[str, Any], observer: Observer, run: dict[str, Any]
) -> dict[str, Any]:
    """The figures of one demo run.

    Args:
        recorded: the recorder's summary.
        played: the player's summary.
        observer: has the node's last report.
        run: clip, model, started_by and ready_s (from the launch of the node until it is active, in seconds).

    Returns:
        frames_published (colour frames the player sent), frames_in (those the node received), frames_out (masks that
        reached the recorder), rate_hz and latency_ms (p50, p95; from the frame's stamp to the mask's arrival) as the
        recorder measured them, drops (frames that gave no mask, by cause), and `run`.
    """
    published, received = int(played["rgb_published"]), observer.count("rgb_in")
    drops = observer.drops()
    if published > received:
        drops["lost_in_transport"] = published - received
    return {
        **run,
        "frames_published": published,
        "frames_in": received,
        "frames_out": recorded["frames_out"],
        "rate_hz": recorded["rate_hz"],
        "latency_ms": recorded["latency_ms"],
        "drops": drops,
    }


def summary_lines(summary: dict[str, Any]) -> list[str]:
    """For the terminal."""
    drops = ", ".join(f"{cause} {count}" for cause, count in summary["drops"].items()) or "none"
    latency = summary["latency_ms"]
    published, received, masks = (summary[f"frames_{what}"] for what in ("published", "in", "out"))
    return [
        f"ready     {summary['ready_s']} s after the node's launch",
        f"frames    {published} published, {received} in, {masks} masks out",
        f"rate      {summary['rate_hz']} masks per second",
        f"latency   p50 {latency['p50']} ms, p95 {latency['p95']} ms (image stamped to mask received)",
        f"drops     {drops}",
    ]


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file."""
    values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return values
