# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Executable `viewer`: streams rgb, depth, overlay and diagnostics to Rerun (`pip install rerun-sdk`)."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import PoseStamped
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2
from visualization_msgs.msg import MarkerArray

from m4sam_core.errors import InputError
from m4sam_core.objects.cloud import POINT
from m4sam_core.rgbd.compressed_depth import compressed_to_depth
from m4sam_ros.messages.compressed import compressed_to_rgb
from m4sam_ros.messages.convert import image_to_depth, image_to_numpy, image_to_rgb
from m4sam_ros.messages.objects import read_marker_text
from m4sam_ros.names import (
    CAMERA_INFO,
    DEPTH,
    DIAGNOSTICS,
    MARKERS,
    MASK,
    NAMESPACE,
    POINTS,
    RGB,
    STATE,
    TARGET,
    transported,
)
from m4sam_ros.parameters import declare_fixed
from m4sam_ros.qos import BEST_EFFORT, MatchedSubscription, latched, volatile
from m4sam_ros.report import reports_in, scene_caption, values_of
from m4sam_ros.runner import EXIT_OK, run_node
from m4sam_ros.viewer.rerun_stream import RerunStream
from m4sam_ros.viewer.settings import ViewConfig

WAITING_IMAGES = 32
CHECK_PERIOD_S = 0.5


class Viewer(Node):
    """Shows each mask with its own image, at a bounded rate.

    Raises:
        ConfigError: a parameter is not allowed.
        InputError: Rerun cannot be started.
    """

    def __init__(self) -> None:
        super().__init__("viewer", namespace=NAMESPACE)
        self.exit_code: int | None = None
        self._stream: RerunStream | None = None
        self._cfg = declare_fixed(self, ViewConfig)
        self._stream = RerunStream(self._cfg)
        self._images: OrderedDict[int, Any] = OrderedDict()
        self._next_frame = self._next_depth = 0.0
        self._scene = ""
        self._calibration: Any = None
        self._inputs = [
            self._listen(RGB, self._cfg.image_transport, self._on_rgb),
            self._listen(DEPTH, self._cfg.depth_transport, self._on_depth),
            self._listen(MASK, "raw", self._on_mask),
        ]
        if self._cfg.objects:
            self.create_subscription(MarkerArray, MARKERS, self._on_markers, volatile(1, BEST_EFFORT))
            self.create_subscription(PointCloud2, POINTS, self._on_points, volatile(1, BEST_EFFORT))
            self.create_subscription(PoseStamped, TARGET, self._on_target, volatile(1, BEST_EFFORT))
        self.create_subscription(CameraInfo, CAMERA_INFO, self._on_info, volatile(1, BEST_EFFORT))
        self.create_subscription(DiagnosticStatus, STATE, self._on_state, latched())
        self.create_subscription(DiagnosticArray, DIAGNOSTICS, self._on_diagnostics, 10)
        self.create_timer(CHECK_PERIOD_S, self._check, clock=Clock(clock_type=ClockType.STEADY_TIME))
        self.get_logger().info(self._stream.where)

    def destroy_node(self) -> None:
        """Close the viewer, then leave the graph."""
        if self._stream is not None:
            self._stream.close()
        super().destroy_node()

    def _listen(self, topic: str, transport: str, callback: Any) -> MatchedSubscription:
        def guarded(msg: Any) -> None:
            try:
                callback(msg)
            except InputError as error:
                self.get_logger().warning(str(error), throttle_duration_sec=5.0)

        name = transported(self.resolve_topic_name(topic), transport)
        return MatchedSubscription(
            self,
            Image if transport == "raw" else CompressedImage,
            name,
            guarded,
            depth=5,
            reliability="auto",
            on_incompatible=lambda policy: self.get_logger().warning(f"{name}: a publisher's {policy} does not match"),
        )

    def _on_rgb(self, msg: Any) -> None:
        self._images[_stamp_ns(msg)] = msg
        while len(self._images) > WAITING_IMAGES:
            self._images.popitem(last=False)

    def _on_mask(self, msg: Any) -> None:
        image = self._images.get(_stamp_ns(msg))
        now = time.monotonic()
        if image is None or now < self._next_frame or self._stream is None:
            return
        self._next_frame = now + 1 / self._cfg.max_rate_hz
        rgb = compressed_to_rgb(image) if isinstance(image, CompressedImage) else image_to_rgb(image)
        self._stream.frame(_stamp_ns(msg) * 1e-9, rgb, image_to_numpy(msg, "mask"), self._scene)

    def _on_depth(self, msg: Any) -> None:
        now = time.monotonic()
        if now < self._next_depth or self._stream is None:
            return
        self._next_depth = now + 1 / self._cfg.max_rate_hz
        depth = compressed_to_depth(msg) if isinstance(msg, CompressedImage) else image_to_depth(msg)
        self._stream.depth(_stamp_ns(msg) * 1e-9, depth)

    def _on_markers(self, msg: Any) -> None:
        boxes = [marker for marker in msg.markers if marker.ns == "boxes"]
        texts = {marker.id: marker.text for marker in msg.markers if marker.text}
        if not msg.markers or self._stream is None:
            return
        places = [marker.pose.position for marker in boxes]
        turns = [marker.pose.orientation for marker in boxes]
        self._stream.boxes(
            _stamp_ns(msg.markers[0]) * 1e-9,
            np.array([(place.x, place.y, place.z) for place in places]).reshape(-1, 3),
            np.array([(marker.scale.x, marker.scale.y, marker.scale.z) for marker in boxes]).reshape(-1, 3),
            np.array([(turn.x, turn.y, turn.z, turn.w) for turn in turns]).reshape(-1, 4),
            [texts.get(marker.id, str(marker.id)) for marker in boxes],
            has_target=any(read_marker_text(text)[1] for text in texts.values()),
        )

    def _on_points(self, msg: Any) -> None:
        points = np.frombuffer(msg.data, POINT)
        points = points[np.isfinite(points["z"])]
        if self._stream is not None:
            positions = np.stack([points[axis] for axis in "xyz"], axis=1)
            packed = points["rgb"][:, None] >> np.array([16, 8, 0], np.uint32)
            self._stream.points(_stamp_ns(msg) * 1e-9, positions, (packed & 255).astype(np.uint8))

    def _on_target(self, msg: Any) -> None:
        if self._stream is not None:
            place = msg.pose.position
            self._stream.target(_stamp_ns(msg) * 1e-9, (place.x, place.y, place.z))

    def _on_info(self, msg: Any) -> None:
        calibration = (tuple(msg.k), msg.width, msg.height)
        if calibration != self._calibration and msg.k[0] > 0 and self._stream is not None:
            self._calibration = calibration
            self._stream.calibration(list(msg.k), msg.width, msg.height)

    def _on_state(self, msg: Any) -> None:
        self._scene = scene_caption(msg)
        values = values_of(msg)
        rgb_only = values.get("rgb_only") == "true"
        because = values.get("reset_reason") or (values.get("depth_note") if rgb_only else "")
        if self._stream is not None:
            self._stream.note(self._now_s(), f"{msg.message}: {because}" if because else msg.message, warning=rgb_only)

    def _on_diagnostics(self, msg: Any) -> None:
        for report in reports_in(msg, self.get_namespace()):
            if self._stream is not None:
                self._stream.report(report)

    def _check(self) -> None:
        for subscription in self._inputs:
            subscription.follow()
        if self._stream is not None and not self._stream.check_alive():
            self.get_logger().info("Rerun was closed")
            self.exit_code = EXIT_OK

    def _now_s(self) -> float:
        return float(self.get_clock().now().nanoseconds) * 1e-9


def _stamp_ns(msg: Any) -> int:
    return int(msg.header.stamp.sec) * 10**9 + int(msg.header.stamp.nanosec)


def main(args: Sequence[str] | None = None) -> int:
    """Console entry point `viewer`."""
    return run_node(Viewer, args)
