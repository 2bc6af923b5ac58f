# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""A camera to feed the node with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from tests.ros.rig.bench import Bench


class Camera:
    """Publishes rgb and depth of a scene: a near square before a far wall."""

    def __init__(
        self,
        bench: Bench,
        namespace: str = "/saliency",
        width: int = 64,
        height: int = 48,
        reliability: str = "reliable",
    ) -> None:
        from rclpy.qos import QoSProfile, QoSReliabilityPolicy
        from sensor_msgs.msg import Image

        policy = QoSReliabilityPolicy[reliability.upper()]
        self._bench = bench
        self.rgb_publisher = bench.ros.create_publisher(
            Image, f"{namespace}/rgb/image", QoSProfile(depth=100, reliability=policy)
        )
        self.depth_publisher = bench.ros.create_publisher(
            Image, f"{namespace}/depth/image", QoSProfile(depth=100, reliability=policy)
        )
        self.frame_id = "camera_optical"
        self.rgb = np.full((height, width, 3), 90, np.uint8)
        self.depth = np.full((height, width), 3000, np.uint16)
        self.square = (slice(height // 4, height // 2), slice(width // 4, width // 2))
        self.rgb[self.square] = (250, 40, 40)
        self.depth[self.square] = 1000

    def wait_matched(self) -> None:
        """Until the node has subscribed to both."""
        publishers = (self.rgb_publisher, self.depth_publisher)
        self._bench.until(lambda: all(p.get_subscription_count() for p in publishers), "the node to subscribe")

    def rgb_msg(self, stamp: float, encoding: str = "rgb8", pixels: np.ndarray | None = None) -> Any:
        from m4sam_ros.messages.convert import numpy_to_image

        return numpy_to_image(self.rgb if pixels is None else pixels, encoding, header(stamp, self.frame_id))

    def depth_msg(self, stamp: float, encoding: str = "16UC1", pixels: np.ndarray | None = None) -> Any:
        from m4sam_ros.messages.convert import numpy_to_image

        return numpy_to_image(self.depth if pixels is None else pixels, encoding, header(stamp, self.frame_id))

    def shoot(self, stamp: float, rgb: bool = True, depth: bool = True, depth_stamp: float | None = None) -> None:
        """Publish one frame."""
        if rgb:
            self.rgb_publisher.publish(self.rgb_msg(stamp))
        if depth:
            self.depth_publisher.publish(self.depth_msg(stamp if depth_stamp is None else depth_stamp))

    def close(self) -> None:
        self._bench.ros.destroy_publisher(self.rgb_publisher)
        self._bench.ros.destroy_publisher(self.depth_publisher)


def header(stamp: float, frame_id: str) -> Any:
    """A header; stamps in seconds."""
    from builtin_interfaces.msg import Time
    from std_msgs.msg import Header

    nanoseconds = round(stamp * 1e9)
    return Header(stamp=Time(sec=nanoseconds // 10**9, nanosec=nanoseconds % 10**9), frame_id=frame_id)
