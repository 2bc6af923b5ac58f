# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""ROS image messages to numpy arrays, encoding by encoding. Needs no ROS.

One table, `ENCODINGS`, names every encoding with its pixel layout and how it becomes rgb. Reading makes no copy of the
message (a read-only view on `msg.data`, any `step`, either endianness); only a change of colour or byte order does.
Messages are duck-typed (`height width encoding is_bigendian step data`), so rclpy's and rosbags' both work.
Making messages is the node's business.

Why not cv_bridge: it breaks on NumPy 2, and one build in circulation decodes 16UC1 depth as 8 bit without an error.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from m4sam_core.errors import InputError

_DARK = 16  # of 255: what 12 bits of 16 reach
_MOST_PADDING = 128  # bytes; rows are padded to no more than that
ToRgb = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Encoding:
    """One `sensor_msgs/Image` encoding.

    Attributes:
        dtype: element type, without byte order, e.g. "u2".
        channels: interleaved elements per pixel.
        to_rgb: makes (H, W, 3) uint8 RGB of the native array; None where the encoding is not a picture.
        is_depth: whether the node accepts it as depth.
        even_width: chroma is shared by pixel pairs, so the width must be even.
        planar: half as many rows of chroma follow the rows of luma (nv12, nv21).
    """

    dtype: str
    channels: int
    to_rgb: ToRgb | None = None
    is_depth: bool = False
    even_width: bool = False
    planar: bool = False

    def rows(self, height: int) -> int:
        """Rows of `step` bytes in the buffer of an image `height` pixels high."""
        return height * 3 // 2 if self.planar else height


def _to_8bit(samples: np.ndarray) -> np.ndarray:
    """Full-range 16-bit samples to 8 bit, rounded (65535 -> 255)."""
    scaled: np.ndarray = cv2.convertScaleAbs(np.ascontiguousarray(samples), alpha=1 / 257)
    return scaled


def _channels(*order: int) -> ToRgb:
    """Pick three channels by index; 16-bit samples are scaled to 8. OpenCV reorders ten times faster than indexing."""
    straight = order == (0, 1, 2)

    def convert(pixels: np.ndarray) -> np.ndarray:
        if pixels.shape[2] == 3:
            ordered = pixels if straight else cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
        else:
            ordered = cv2.cvtColor(pixels, cv2.COLOR_RGBA2RGB if straight else cv2.COLOR_BGRA2RGB)
        return ordered if ordered.dtype == np.uint8 else _to_8bit(ordered)

    return convert


def _grey(pixels: np.ndarray) -> np.ndarray:
    plane = pixels if pixels.dtype == np.uint8 else _to_8bit(pixels)
    return cv2.cvtColor(plane, cv2.COLOR_GRAY2RGB)


def _opencv(code: int) -> ToRgb:
    """A conversion OpenCV does well: Bayer demosaicing and YUV."""

    def convert(pixels: np.ndarray) -> np.ndarray:
        converted: np.ndarray = cv2.cvtColor(np.ascontiguousarray(pixels), code)
        return converted if converted.dtype == np.uint8 else _to_8bit(converted)

    return convert


def _table() -> dict[str, Encoding]:
    table = {
        "rgb8": Encoding("u1", 3, _channels(0, 1, 2)),
        "bgr8": Encoding("u1", 3, _channels(2, 1, 0)),
        "rgba8": Encoding("u1", 4, _channels(0, 1, 2)),
        "bgra8": Encoding("u1", 4, _channels(2, 1, 0)),
        "rgb16": Encoding("u2", 3, _channels(0, 1, 2)),
        "bgr16": Encoding("u2", 3, _channels(2, 1, 0)),
        "rgba16": Encoding("u2", 4, _channels(0, 1, 2)),
        "bgra16": Encoding("u2", 4, _channels(2, 1, 0)),
        "mono8": Encoding("u1", 1, _grey),
        "mono16": Encoding("u2", 1, _grey, is_depth=True),
        "8UC1": Encoding("u1", 1, _grey),
        # OpenCV's channel order, as every driver that publishes the bare type means it.
        "8UC3": Encoding("u1", 3, _channels(2, 1, 0)),
        "8UC4": Encoding("u1", 4, _channels(2, 1, 0)),
        "16UC1": Encoding("u2", 1, is_depth=True),
        "32FC1": Encoding("f4", 1, is_depth=True),
        "64FC1": Encoding("f8", 1, is_depth=True),
    }
    # OpenCV names a Bayer pattern by its second row's second and third pixel, ROS by its first row's first two.
    patterns = {
        "rggb": cv2.COLOR_BayerBG2RGB,
        "bggr": cv2.COLOR_BayerRG2RGB,
        "gbrg": cv2.COLOR_BayerGR2RGB,
        "grbg": cv2.COLOR_BayerGB2RGB,
    }
    for name, code in patterns.items():
        table[f"bayer_{name}8"] = Encoding("u1", 1, _opencv(code))
        table[f"bayer_{name}16"] = Encoding("u2", 1, _opencv(code))
    for name in ("yuv422", "uyvy"):
        table[name] = Encoding("u1", 2, _opencv(cv2.COLOR_YUV2RGB_UYVY), even_width=True)
    for name in ("yuv422_yuy2", "yuyv"):
        table[name] = Encoding("u1", 2, _opencv(cv2.COLOR_YUV2RGB_YUYV), even_width=True)
    table["nv21"] = Encoding("u1", 1, _opencv(cv2.COLOR_YUV2RGB_NV21), even_width=True, planar=True)
    table["nv12"] = Encoding("u1", 1, _opencv(cv2.COLOR_YUV2RGB_NV12), even_width=True, planar=True)
    return table


ENCODINGS: dict[str, Encoding] = _table()
_TO_RGB = {name: encoding.to_rgb for name, encoding in ENCODINGS.items() if encoding.to_rgb is not None}
RGB_ENCODINGS = tuple(_TO_RGB)
DEPTH_ENCODINGS = tuple(name for name, encoding in ENCODINGS.items() if encoding.is_depth)


# ------------------------------------------------------------------------------------------- reading


def image_to_numpy(msg: Any, topic: str = "image") -> np.ndarray:
    """The message's pixels as they are, without a copy.

    Args:
        msg: a `sensor_msgs/Image` (or anything with its fields).
        topic: named in errors.

    Returns:
        (H, W) or (H, W, C): read-only view on `msg.data` in the encoding's own type (big-endian data keeps a
        big-endian dtype). Planar YUV (nv12, nv21) comes as its (rows, W) buffer.

    Raises:
        InputError: unknown encoding, zero size, `step` smaller than a row, or fewer bytes than `step * height`.
    """
    encoding = _known(msg, topic, ENCODINGS, "image")
    return _view(msg, encoding, topic)


def image_to_rgb(msg: Any, topic: str = "rgb/image") -> np.ndarray:
    """The message as (H, W, 3) uint8 RGB.

    Zero-copy (read-only view) for rgb8; 16-bit samples are scaled by 255/65535.

    Raises:
        InputError: as `image_to_numpy`, or an encoding that is not a picture.
    """
    encoding = _known(msg, topic, RGB_ENCODINGS, "rgb")
    pixels = _native(_view(msg, encoding, topic))
    try:
        return _TO_RGB[msg.encoding](pixels)
    except cv2.error:
        # Demosaicing needs a few pixels each way.
        got = f"{msg.height}x{msg.width}"
        raise _bad(topic, "height x width", f"a larger {msg.encoding}", got, "check the driver's resolution") from None


def image_to_depth(msg: Any, topic: str = "depth/image") -> np.ndarray:
    """The message as (H, W) depth: uint16 counts (16UC1, mono16) or float32 metres (32FC1, 64FC1).

    Zero-copy (read-only view) in the host's byte order. Values are not interpreted: holes, NaN and Inf pass through.

    Raises:
        InputError: as `image_to_numpy`, or an encoding that is not depth.
    """
    encoding = _known(msg, topic, DEPTH_ENCODINGS, "depth")
    depth = _native(_view(msg, encoding, topic))
    return depth.astype(np.float32) if depth.dtype == np.float64 else depth


def check_rgb_message(msg: Any, topic: str = "rgb/image") -> None:
    """Raise what `image_to_rgb` would raise for such a header and length, in microseconds: nothing is converted."""
    _view(msg, _known(msg, topic, RGB_ENCODINGS, "rgb"), topic)


def check_depth_message(msg: Any, topic: str = "depth/image") -> None:
    """Raise what `image_to_depth` would raise for such a header and length, in microseconds: nothing is converted."""
    _view(msg, _known(msg, topic, DEPTH_ENCODINGS, "depth"), topic)


def doubt_of(msg: Any) -> str | None:
    """Why an image (raw or compressed) was hardly meant as its message says; None where it may well be."""
    return doubtful_layout(msg) if hasattr(msg, "step") else None


def too_few_bits(msg: Any, rgb: np.ndarray) -> str | None:
    """Why a 16-bit picture is nearly black: a camera of 10 or 12 bits whose driver does not scale them.

    Args:
        msg: the colour image's message.
        rgb (H, W, 3): uint8, what was made of it.
    """
    encoding = str(getattr(msg, "encoding", "") or getattr(msg, "format", "").partition(";")[0])
    if not encoding.endswith("16") or int(rgb.max()) > _DARK:
        return None
    return (
        f"encoding {encoding}: expected samples up to 65535, got none above {(_DARK + 1) * 257}, a nearly black "
        "picture; is the lens covered, or has the camera 10 or 12 bits? let its driver scale them to 16, or publish 8"
    )


def doubtful_layout(msg: Any) -> str | None:
    """Why a message that can be read was hardly meant so: rows or bytes are left over that no padding explains.

    Args:
        msg: a `sensor_msgs/Image` that `image_to_numpy` reads.
    """
    encoding = ENCODINGS[msg.encoding]
    row_bytes = int(msg.width) * encoding.channels * np.dtype(encoding.dtype).itemsize
    rows, step, size = encoding.rows(int(msg.height)), int(msg.step), memoryview(msg.data).nbytes
    if size >= step * (rows + 1):
        return f"data: expected {step * rows} bytes for {rows} rows, got {size}; is the height right?"
    if step >= 2 * row_bytes and step % row_bytes == 0 and step - row_bytes >= _MOST_PADDING:
        return (
            f"step: expected {row_bytes} bytes for {msg.width} px of {msg.encoding}, got {step // row_bytes} times "
            "that; does the encoding name fewer channels or bytes than there are?"
        )
    return None


def _bad(topic: str, field: str, expected: str, got: object, remedy: str) -> InputError:
    return InputError(f"{topic} {field}: expected {expected}, got {got!r}; {remedy}")


def _known(msg: Any, topic: str, names: Any, role: str) -> Encoding:
    name = msg.encoding
    if name not in names:
        remedy = f"is another kind of topic remapped to the {role} input?"
        raise _bad(topic, "encoding", f"one of {', '.join(names)}", str(name)[:40], remedy)
    return ENCODINGS[name]


def _view(msg: Any, encoding: Encoding, topic: str) -> np.ndarray:
    """A read-only strided view, after every length has been checked against the buffer."""
    height, width, step = int(msg.height), int(msg.width), int(msg.step)
    if height < 1 or width < 1:
        raise _bad(topic, "height x width", "at least 1x1", f"{height}x{width}", "check the driver's resolution")
    if encoding.even_width and width % 2:
        raise _bad(topic, "width", f"an even number for {msg.encoding}", width, "check the driver's resolution")
    if encoding.planar and height % 2:
        raise _bad(topic, "height", f"an even number for {msg.encoding}", height, "check the driver's resolution")
    dtype = np.dtype(encoding.dtype).newbyteorder(">" if msg.is_bigendian else "<")
    row_bytes = width * encoding.channels * dtype.itemsize
    if step < row_bytes:
        expected = f"at least {row_bytes} bytes for {width} px of {msg.encoding}"
        raise _bad(topic, "step", expected, step, "the publisher fills the message wrongly")
    rows = encoding.rows(height)
    if encoding.planar and step != width:
        raise _bad(topic, "step", f"{width} (no padding) for {msg.encoding}", step, "publish uyvy or rgb8 instead")
    size = memoryview(msg.data).nbytes
    needed = step * (rows - 1) + row_bytes
    if size < needed:
        expected = f"at least {needed} bytes for {height} rows of {step}"
        raise _bad(topic, "data", expected, f"{size} bytes", "the message was truncated or filled wrongly")
    shape: tuple[int, ...] = (rows, width)
    strides: tuple[int, ...] = (step, encoding.channels * dtype.itemsize)
    if encoding.channels > 1:
        shape, strides = (*shape, encoding.channels), (*strides, dtype.itemsize)
    view = np.ndarray(shape, dtype, buffer=msg.data, strides=strides)
    view.flags.writeable = False
    return view


def _native(pixels: np.ndarray) -> np.ndarray:
    """The same values in the host's byte order and aligned; a view where that is already so."""
    return np.require(pixels, pixels.dtype.newbyteorder("="), ["A"])
