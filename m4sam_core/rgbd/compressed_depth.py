# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Reading compressed depth: the `compressedDepth` transport, and lossless files over `compressed`; needs no ROS.

`compressedDepth` is a 12-byte header, then PNG or RVL, holding 16-bit depth or quantised inverse depth.

Layout, all little-endian:

    int32 format, float32 a, float32 b | PNG file
    int32 format, float32 a, float32 b | int32 width, int32 height, RVL words

32FC1 depth is stored as q = round(a / depth + b), 0 for a hole; so depth = a / (q - b). 16UC1 is stored as it is.
RVL is "Fast Lossless Depth Image Compression" (A. Wilson, 2017): alternating counts of zeros and non-zeros, each
non-zero a zigzag difference to the one before, every number in octal digits of 4 bits (the top bit says "more follow"),
eight digits to a 32-bit word, first digit highest.
"""

from __future__ import annotations

import struct
from typing import Any

import cv2
import numpy as np

from m4sam_core.errors import InputError

HEADER_BYTES = 12
_RVL_SIZE_BYTES = 8
_MAX_PIXELS = 64 * 1024 * 1024


def compressed_to_depth(msg: Any, topic: str = "depth/image") -> np.ndarray:
    """Decode depth of either transport.

    The plain `compressed` transport carries depth without loss as a 16-bit PNG (what the Azure Kinect's driver
    publishes) or a float TIFF. JPEG would smear distances over the edges of things and is refused.

    Returns:
        (H, W): as `compressed_depth_to_numpy`.

    Raises:
        InputError: neither of them, or a damaged one.
    """
    if "compressedDepth" in str(msg.format):
        return compressed_depth_to_numpy(msg, topic)
    data = np.frombuffer(msg.data, np.uint8)
    try:
        stored = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if data.size else None
    except cv2.error:
        stored = None
    if stored is None or stored.ndim != 2 or stored.dtype not in (np.uint16, np.float32):
        got = f"{data.size} unreadable bytes" if stored is None else f"{stored.shape} {stored.dtype}"
        remedy = "publish the raw or the compressedDepth topic, or PNG over compressed"
        raise InputError(f"{topic} data: expected 16-bit PNG or float TIFF depth, got {got}; {remedy}")
    depth: np.ndarray = stored
    return depth


def compressed_depth_to_numpy(msg: Any, topic: str = "depth/image") -> np.ndarray:
    """Decode a `sensor_msgs/CompressedImage` of the compressedDepth transport.

    Args:
        msg: the message (`format`, `data`), e.g. format "16UC1; compressedDepth png".
        topic: named in errors.

    Returns:
        (H, W): uint16 counts (16UC1, mono16) or float32 metres (32FC1; NaN where there was no reading).

    Raises:
        InputError: not a compressedDepth message, or a damaged one.
    """
    pixel_format, codec = _parse_format(str(msg.format), topic)
    payload = memoryview(msg.data).cast("B")
    if payload.nbytes <= HEADER_BYTES:
        expected = f"a {HEADER_BYTES}-byte header and an image"
        raise InputError(f"{topic} data: expected {expected}, got {payload.nbytes} bytes; the message was truncated")
    _, quant_a, quant_b = struct.unpack_from("<iff", payload)
    body = payload[HEADER_BYTES:]
    stored = _decode_rvl(body, topic) if codec == "rvl" else _decode_png(body, topic)
    if pixel_format != "32FC1":
        return stored
    if not (np.isfinite([quant_a, quant_b]).all() and quant_a > 0):
        got = f"{quant_a:g} and {quant_b:g}"
        raise InputError(f"{topic} data: expected a quantisation above 0 for 32FC1, got {got}; is it 16UC1?")
    return _from_inverse(stored, quant_a, quant_b)


def _parse_format(text: str, topic: str) -> tuple[str, str]:
    """("16UC1", "png") of "16UC1; compressedDepth png"; older publishers leave the codec out and mean png."""
    pixel_format, _, transport = text.partition(";")
    words = transport.split()
    pixel_format = pixel_format.strip()
    codec = words[1].lower() if len(words) > 1 else "png"
    if not words or words[0] != "compressedDepth" or codec not in ("png", "rvl"):
        expected = "'<16UC1|mono16|32FC1>; compressedDepth <png|rvl>'"
        remedy = "subscribe to <depth topic>/compressedDepth, not /compressed"
        raise InputError(f"{topic} format: expected {expected}, got {text[:60]!r}; {remedy}")
    if pixel_format not in ("16UC1", "mono16", "32FC1"):
        got = repr(pixel_format[:40])
        raise InputError(f"{topic} format: expected 16UC1, mono16 or 32FC1, got {got}; publish one of them")
    return pixel_format, codec


def _decode_png(body: memoryview, topic: str) -> np.ndarray:
    stored: np.ndarray | None
    try:
        stored = cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        stored = None
    if stored is None or stored.ndim != 2 or stored.dtype != np.uint16:
        got = "an unreadable file" if stored is None else f"{stored.shape} {stored.dtype}"
        raise InputError(f"{topic} data: expected a 16-bit one-channel PNG, got {got}; the message is damaged")
    depth: np.ndarray = stored
    return depth


# ----------------------------------------------------------------------------------------------- RVL


def _decode_rvl(body: memoryview, topic: str) -> np.ndarray:
    if body.nbytes < _RVL_SIZE_BYTES:
        raise InputError(f"{topic} data: expected an RVL image, got {body.nbytes} bytes; the message was truncated")
    width, height = struct.unpack_from("<ii", body)
    if width < 1 or height < 1 or width * height > _MAX_PIXELS:
        raise InputError(f"{topic} data: expected a sensible RVL size, got {width}x{height}; the message is damaged")
    words = np.frombuffer(body[_RVL_SIZE_BYTES:], "<u4", count=(body.nbytes - _RVL_SIZE_BYTES) // 4)
    return _decode_rvl_words(words, width * height, topic).reshape(height, width)


def _decode_rvl_words(words: np.ndarray, pixels: int, topic: str) -> np.ndarray:
    """All numbers at once; only the walk over runs (a few thousand per image) is a Python loop."""
    numbers = _rvl_numbers(words)
    counts = numbers.tolist()
    starts, lengths, at = [], [], []
    cursor = position = 0
    while position < pixels:
        if cursor + 1 >= len(counts):
            raise InputError(f"{topic} data: expected {pixels} RVL pixels, got {position}; the message was truncated")
        zeros, non_zeros = counts[cursor], counts[cursor + 1]
        position += zeros
        starts.append(cursor + 2)
        lengths.append(non_zeros)
        at.append(position)
        cursor += 2 + non_zeros
        position += non_zeros
        if zeros + non_zeros == 0:
            raise InputError(f"{topic} data: expected RVL runs, got an empty one; the message is damaged")
    if position > pixels or cursor > len(counts):
        raise InputError(f"{topic} data: expected {pixels} RVL pixels, got {position}; the message is damaged")
    run_lengths = np.asarray(lengths)
    within = np.arange(run_lengths.sum()) - np.repeat(np.cumsum(run_lengths) - run_lengths, run_lengths)
    zigzag = numbers[np.repeat(starts, run_lengths) + within]
    differences = (zigzag >> 1) ^ -(zigzag & 1)
    depth = np.zeros(pixels, np.uint16)
    depth[np.repeat(at, run_lengths) + within] = (np.cumsum(differences) & 0xFFFF).astype(np.uint16)
    return depth


def _rvl_numbers(words: np.ndarray) -> np.ndarray:
    """(N,) int64: every complete number of the digit stream; zero padding at the end yields harmless zeros."""
    shifts = np.arange(28, -1, -4, dtype=np.uint32)
    digits = ((words[:, None] >> shifts) & 15).astype(np.int64).reshape(-1)
    ends = np.flatnonzero(digits < 8)
    if ends.size == 0:
        return np.zeros(0, np.int64)
    digits = digits[: ends[-1] + 1]
    first = np.concatenate([[0], ends[:-1] + 1])
    place = np.arange(digits.size) - np.repeat(first, ends - first + 1)
    # Legitimate numbers have at most 11 digits (32 bits); longer ones come from damaged data and must not overflow.
    return np.add.reduceat((digits & 7) << np.minimum(3 * place, 30), first)


# ------------------------------------------------------------------------------------- inverse depth


def _from_inverse(stored: np.ndarray, quant_a: float, quant_b: float) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        depth = np.float32(quant_a) / (stored.astype(np.float32) - np.float32(quant_b))
    depth[stored == 0] = np.nan
    return depth
