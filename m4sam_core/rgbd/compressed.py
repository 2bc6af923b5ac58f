# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""`sensor_msgs/CompressedImage` of colour pictures (JPEG, PNG) to numpy; needs no ROS."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from m4sam_core.errors import InputError
from m4sam_core.rgbd.image_files import swapped_colours


def compressed_values(msg: Any, topic: str = "mask") -> np.ndarray:
    """A file's samples as stored, which mean something by themselves: ids of 16 bit, an alpha channel.

    Returns:
        (H, W) or (H, W, 3 or 4) in R, G, B, alpha order; uint8, uint16 or float32.

    Raises:
        InputError: a compressedDepth message, or data that no decoder reads.
    """
    stored = _decoded(msg, topic, cv2.IMREAD_UNCHANGED)
    if stored.dtype not in (np.uint8, np.uint16, np.float32):
        raise InputError(f"{topic} data: expected 8-bit, 16-bit or float pixels, got {stored.dtype}; convert them")
    return swapped_colours(stored)


def compressed_to_rgb(msg: Any, topic: str = "rgb/image") -> np.ndarray:
    """Decode a JPEG, PNG or any other file OpenCV reads to (H, W, 3) uint8 RGB.

    The file's own header decides; the `format` string (which drivers fill in many ways) only says that this is not
    a depth image. 16-bit pictures are scaled to 8, grey ones repeated, an alpha channel dropped.

    Raises:
        InputError: a compressedDepth message, or data that no decoder reads.
    """
    # IMREAD_COLOR alone would also apply EXIF rotation and break the registration with depth.
    bgr = _decoded(msg, topic, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    rgb: np.ndarray = cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
    return rgb


def _decoded(msg: Any, topic: str, flags: int) -> np.ndarray:
    if "compressedDepth" in str(msg.format):
        got = repr(str(msg.format)[:60])
        raise InputError(f"{topic} format: expected a colour picture, got {got}; remap <rgb>/compressed here")
    data = np.frombuffer(msg.data, np.uint8)
    try:
        pixels = cv2.imdecode(data, flags) if data.size else None
    except cv2.error:
        pixels = None
    if pixels is None:
        remedy = "the message is damaged or holds a video codec"
        raise InputError(f"{topic} data: expected a JPEG or PNG file, got {data.size} unreadable bytes; {remedy}")
    return np.asarray(pixels)
