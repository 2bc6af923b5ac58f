# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Numpy arrays to ROS image messages, and, re-exported from the core, the way back.

Pixel encodings and reading live in m4sam_core.rgbd.encodings, which needs no ROS and serves the bag tools too.
"""

from __future__ import annotations

import array
import struct
from collections.abc import Callable
from typing import Any

import numpy as np

from m4sam_core.errors import InputError
from m4sam_core.rgbd.encodings import (
    DEPTH_ENCODINGS,
    ENCODINGS,
    RGB_ENCODINGS,
    Encoding,
    image_to_depth,
    image_to_numpy,
    image_to_rgb,
)
from m4sam_ros.messages.cdr import BIG_ENDIAN_HOST, CDR_HEAD, aligned, cdr_header, cdr_string

__all__ = [
    "DEPTH_ENCODINGS",
    "ENCODINGS",
    "RGB_ENCODINGS",
    "Encoding",
    "image_to_depth",
    "image_to_numpy",
    "image_to_rgb",
    "image_writer",
    "numpy_to_cdr",
    "numpy_to_image",
    "to_ros_bytes",
]


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

    step = _checked_step(pixels, encoding)
    msg = Image()
    if header is not None:
        msg.header = header
    msg.height, msg.width = int(pixels.shape[0]), int(pixels.shape[1])
    msg.encoding = encoding
    msg.is_bigendian = int(BIG_ENDIAN_HOST)
    msg.step = step
    msg.data = to_ros_bytes(pixels)
    return msg


def numpy_to_cdr(pixels: np.ndarray, encoding: str, header: Any) -> bytes:
    """The same message as bytes on the wire, which `Publisher.publish` takes as they are.

    It spares a copy, and the clearing of memory that rclpy does for it; byte for byte (but for padding, which rclpy
    leaves to chance) what rclpy makes of `numpy_to_image`.

    Args:
        pixels: (H, W) or (H, W, C) of exactly the encoding's type and channels.
        encoding: a key of `ENCODINGS` (no planar YUV).
        header: `std_msgs/Header`.

    Raises:
        InputError: array and encoding disagree.
    """
    step = _checked_step(pixels, encoding)
    head = aligned(cdr_header(header)) + struct.pack("=II", pixels.shape[0], pixels.shape[1]) + cdr_string(encoding)
    head = aligned(head + bytes((BIG_ENDIAN_HOST,))) + struct.pack("=II", step, pixels.nbytes)
    return b"".join((CDR_HEAD, head, np.ascontiguousarray(pixels).data))


def image_writer() -> Callable[[np.ndarray, str, Any], Any]:
    """What makes the thing to publish: `numpy_to_cdr`, or `numpy_to_image` under an RMW that serialises otherwise."""
    from rclpy.serialization import serialize_message
    from std_msgs.msg import Header

    # Of lengths that need no padding, whose bytes rclpy leaves to chance.
    sample, header, encoding = np.arange(15, dtype=np.uint16).reshape(5, 3), Header(frame_id="eye"), "mono16"
    theirs = bytes(serialize_message(numpy_to_image(sample, encoding, header)))
    return numpy_to_cdr if theirs == numpy_to_cdr(sample, encoding, header) else numpy_to_image


def _checked_step(pixels: np.ndarray, encoding: str) -> int:
    """Bytes of a row.

    Raises:
        InputError: array and encoding disagree.
    """
    known = ENCODINGS.get(encoding)
    channels = 1 if pixels.ndim == 2 else pixels.shape[-1]
    if known is None or known.planar:
        raise _bad("encoding", "a key of ENCODINGS", encoding, "see m4sam_core/rgbd/encodings.py")
    if pixels.ndim not in (2, 3) or channels != known.channels or pixels.dtype != np.dtype(known.dtype):
        expected = f"{known.channels} channel(s) of {np.dtype(known.dtype).name} for {encoding}"
        raise _bad("array", expected, f"{pixels.shape} {pixels.dtype}", "convert it first")
    return int(pixels.shape[1]) * known.channels * pixels.dtype.itemsize


def to_ros_bytes(pixels: np.ndarray) -> array.array[int]:
    """The array's bytes as `array.array('B')`, the one type rclpy takes without walking every element."""
    data = array.array("B")
    data.frombytes(np.ascontiguousarray(pixels).data.cast("B"))
    return data
