# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Masks of a live camera in your own ROS 2 node, without the saliency node.

    python docs/examples/camera.py --ros-args -r rgb:=/camera/camera/color/image_raw \
        -r depth:=/camera/camera/aligned_depth_to_color/image_raw

Logs how much of each picture stands out. The saliency node does more: it infers in a thread of its own, follows its
publishers' QoS, knows compressed images, and says why nothing comes (docs/node.md).
"""

from __future__ import annotations

import sys

import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.qos import QoSProfile, QoSReliabilityPolicy
from sensor_msgs.msg import Image

from m4sam_core import InputError, SaliencyPipeline
from m4sam_core.rgbd.encodings import image_to_depth, image_to_rgb
from m4sam_core.rgbd.pairing import NearestStampPairer, Pair

# The newest image only: one that waits while a frame is worked on is replaced. Best effort matches any camera.
NEWEST = QoSProfile(depth=1, reliability=QoSReliabilityPolicy.BEST_EFFORT)


class Watcher(Node):
    """Pairs colour with depth and segments every pair."""

    def __init__(self) -> None:
        super().__init__("watcher")
        self.pipeline = SaliencyPipeline.from_name(self.declare_parameter("model", "default").value)
        self.pipeline.warm_up()
        self.pairer: NearestStampPairer[Image, Image] = NearestStampPairer(missing_depth="rgb_only")
        self.create_subscription(Image, "rgb", self.on_rgb, NEWEST)
        self.create_subscription(Image, "depth", self.on_depth, NEWEST)

    def on_rgb(self, msg: Image) -> None:
        """A colour image; it completes a pair when its depth was here first."""
        self.segment(self.pairer.add_rgb(seconds(msg), msg))

    def on_depth(self, msg: Image) -> None:
        """A depth map; it may complete the pair of a colour image that waits."""
        self.segment(self.pairer.add_depth(seconds(msg), msg))

    def segment(self, pairs: list[Pair[Image, Image]]) -> None:
        """Segment what was paired and say what stands out."""
        for pair in pairs:
            try:
                depth = None if pair.depth is None else image_to_depth(pair.depth)
                result = self.pipeline.process(image_to_rgb(pair.rgb), depth, pair.rgb_stamp)
            except InputError as error:  # a damaged message costs one frame
                self.get_logger().warning(str(error), throttle_duration_sec=5.0)
                continue
            self.get_logger().info(f"{pair.rgb_stamp:.3f}: {(result.mask > 0).mean():.1%} stands out")


def seconds(msg: Image) -> float:
    """The stamp of an image."""
    return float(msg.header.stamp.sec + msg.header.stamp.nanosec * 1e-9)


def main() -> None:
    """Run until Ctrl-C."""
    rclpy.init(args=sys.argv)
    watcher = Watcher()
    try:
        rclpy.spin(watcher)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        watcher.pipeline.close()
        watcher.destroy_node()
        rclpy.try_shutdown()


if __name__ == "__main__":
    main()
