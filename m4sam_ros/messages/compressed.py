# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Making `sensor_msgs/CompressedImage` of colour pictures; the decoder is in m4sam_core.rgbd.compressed."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from m4sam_core.errors import InputError
from m4sam_core.rgbd.compressed import compressed_to_rgb

__all__ = ["compressed_to_rgb", "rgb_to_compressed"]


def rgb_to_compressed(rgb: np.ndarray, header: Any = None, quality: int = 85) -> Any:
    """A JPEG `sensor_msgs/CompressedImage` of (H, W, 3) uint8 RGB.

    Raises:
        InputError: not such an array.
    """
    from sensor_msgs.msg import CompressedImage

    from m4sam_ros.messages.convert import to_ros_bytes

    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8 or rgb.size == 0:
        raise InputError(f"picture to compress: expected (H, W, 3) uint8, got {rgb.shape} {rgb.dtype}; convert it")
    _, jpeg = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    msg = CompressedImage()
    if header is not None:
        msg.header = header
    msg.format = "rgb8; jpeg compressed bgr8"
    msg.data = to_ros_bytes(jpeg)
    return msg
