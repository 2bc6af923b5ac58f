# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""A camera in a process of its own, to be killed: publishes a near square before a far wall until it is."""

from __future__ import annotations

import sys
import time

import numpy as np
import rclpy
from sensor_msgs.msg import Image

from m4sam_ros.messages.convert import numpy_to_image

RATE_HZ = 20.0


def main() -> None:
    rclpy.init(args=sys.argv)
    node = rclpy.create_node("camera")
    rgb_publisher = node.create_publisher(Image, "/saliency/rgb/image", 5)
    depth_publisher = node.create_publisher(Image, "/saliency/depth/image", 5)
    rgb, depth = np.full((48, 64, 3), 90, np.uint8), np.full((48, 64), 3000, np.uint16)
    rgb[12:24, 16:32], depth[12:24, 16:32] = 200, 1000
    while rclpy.ok():
        rgb_msg, depth_msg = numpy_to_image(rgb, "rgb8"), numpy_to_image(depth, "16UC1")
        rgb_msg.header.stamp = depth_msg.header.stamp = node.get_clock().now().to_msg()
        rgb_publisher.publish(rgb_msg)
        depth_publisher.publish(depth_msg)
        time.sleep(1 / RATE_HZ)


if __name__ == "__main__":
    main()
