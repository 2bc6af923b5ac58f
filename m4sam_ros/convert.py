"""Numpy arrays to ROS image messages, and, re-exported from the core, the way back.

Pixel encodings and reading live in m4sam_core.ros_images, which needs no ROS and serves the bag tools too.
"""

from __future__ import annotations

import array
import sys
from typing import Any

import numpy as np

from m4sam_core.errors import InputError
from m4sam_core.ros_images import (
    DEPTH_ENCODINGS,
    ENCODINGS,
    RGB_ENCODINGS,
    Encoding,
    image_to_depth,
    image_to_numpy,
    image_to_rgb,
)

__all__ = [
    "DEPTH_ENCODINGS",
    "ENCODINGS",
    "RGB_ENCODINGS",
    "Encoding",
    "image_to_depth",
    "image_to_numpy",
    "image_to_rgb",
    "numpy_to_image",
    "to_ros_bytes",
]

_BIG_ENDIAN_HOST = sys.byteorder == "big"


def _bad(field: str, expected: str, got: object, remedy: str) -> InputError:
    return InputError(f"image to publish {field}: expected {expected}, got {got!r}; {remedy}")


def numpy_to_image(pixels: np.ndarray, encoding: str, header: Any = None) -> Any:
    """A `sensor_msgs/Image` of an array; one copy, which DDS needs anyway.

    Args:
        pixels: (H, W) or (H, W, C) of exactly the encoding's type and channels.
        encoding: a key of `ENCODINGS` (no planar YUV).
        header: `std_msgs/Header` to share; None leaves the default one.

    Raises:
        InputError: array and encoding disagree.
    """
    from sensor_msgs.msg import Image

    known = ENCODINGS.get(encoding)
    channels = 1 if pixels.ndim == 2 else pixels.shape[-1]
    if known is None or known.planar:
        raise _bad("encoding", "a key of ENCODINGS", encoding, "see m4sam_core/ros_images.py")
    if pixels.ndim not in (2, 3) or channels != known.channels or pixels.dtype != np.dtype(known.dtype):
        expected = f"{known.channels} channel(s) of {np.dtype(known.dtype).name} for {encoding}"
        raise _bad("array", expected, f"{pixels.shape} {pixels.dtype}", "convert it first")
    msg = Image()
    if header is not None:
        msg.header = header
    msg.height, msg.width = int(pixels.shape[0]), int(pixels.shape[1])
    msg.encoding = encoding
    msg.is_bigendian = int(_BIG_ENDIAN_HOST)
    msg.step = msg.width * known.channels * pixels.dtype.itemsize
    msg.data = to_ros_bytes(pixels)
    return msg


def to_ros_bytes(pixels: np.ndarray) -> array.array[int]:
    """The array's bytes as `array.array('B')`, the one type rclpy takes without walking every element."""
    data = array.array("B")
    data.frombytes(memoryview(np.ascontiguousarray(pixels)).cast("B"))
    return data
