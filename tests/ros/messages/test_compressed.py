# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Compressed colour and the compressedDepth transport, against encoders written here from their definitions."""

from __future__ import annotations

import array
import struct
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from m4sam_core.errors import InputError
from m4sam_core.rgbd.compressed import compressed_to_rgb
from m4sam_core.rgbd.compressed_depth import compressed_depth_to_numpy
from m4sam_ros.messages.compressed import rgb_to_compressed
from m4sam_ros.messages.compressed_depth import numpy_to_compressed_depth

QUANT_A, QUANT_B = 100.0 * 101.0, 1.0 - 100.0 * 101.0 / 10.0


def compressed(image_format: str, data: bytes) -> SimpleNamespace:
    return SimpleNamespace(format=image_format, data=array.array("B", data))


def png(pixels: np.ndarray) -> bytes:
    return cv2.imencode(".png", pixels)[1].tobytes()


def scene(seed: int = 0, height: int = 31, width: int = 47) -> np.ndarray:
    """Depth with smooth parts, edges and holes."""
    rng = np.random.default_rng(seed)
    depth = np.add.outer(np.arange(height) * 20, np.arange(width) * 7) + 500 + rng.integers(-5, 6, (height, width))
    depth[5:12, 10:30] = 60000
    depth[rng.random((height, width)) < 0.2] = 0
    depth[:3] = 0
    return depth.astype(np.uint16)


def rvl(depth: np.ndarray) -> bytes:
    """Wilson's RVL, one value at a time."""
    digits: list[int] = []

    def put(value: int) -> None:
        while True:
            digits.append(value & 7 | (8 if value >> 3 else 0))
            value >>= 3
            if not value:
                return

    values, position, previous = depth.reshape(-1).tolist(), 0, 0
    while position < len(values):
        start = position
        while position < len(values) and values[position] == 0:
            position += 1
        put(position - start)
        start = position
        while position < len(values) and values[position] != 0:
            position += 1
        put(position - start)
        for value in values[start:position]:
            difference = value - previous
            put(2 * difference if difference >= 0 else -2 * difference - 1)
            previous = value
    digits += [0] * (-len(digits) % 8)
    words = []
    for i in range(0, len(digits), 8):
        word = 0
        for digit in digits[i : i + 8]:
            word = word << 4 | digit
        words.append(word)
    return struct.pack("<ii", depth.shape[1], depth.shape[0]) + struct.pack(f"<{len(words)}I", *words)


def header(quant_a: float = 0.0, quant_b: float = 0.0) -> bytes:
    return struct.pack("<iff", 0, quant_a, quant_b)


@pytest.mark.parametrize(
    "image_format", ["16UC1; compressedDepth png", "16UC1; compressedDepth", "mono16; compressedDepth png"]
)
def test_png_depth_is_exact(image_format):
    depth = scene()
    read = compressed_depth_to_numpy(compressed(image_format, header() + png(depth)))
    assert read.dtype == np.uint16
    np.testing.assert_array_equal(read, depth)


@pytest.mark.parametrize(
    "depth",
    [
        scene(0),
        scene(1, 480, 640),
        np.zeros((7, 9), np.uint16),
        np.full((7, 9), 1, np.uint16),
        np.full((1, 1), 65535, np.uint16),
        np.tile(np.array([0, 65535, 1, 0], np.uint16), (5, 4)),
        np.random.default_rng(2).integers(0, 65536, (40, 60)).astype(np.uint16),
    ],
    ids=["scene", "vga", "empty", "flat", "one pixel", "extremes", "noise"],
)
def test_rvl_depth_is_exact(depth):
    read = compressed_depth_to_numpy(compressed("16UC1; compressedDepth rvl", header() + rvl(depth)))
    assert read.dtype == np.uint16
    np.testing.assert_array_equal(read, depth)


@pytest.mark.parametrize("codec", ["png", "rvl"])
def test_inverse_depth_is_within_its_quantisation(codec):
    metres = np.linspace(0.3, 9.5, 31 * 47, dtype=np.float32).reshape(31, 47)
    quantised = np.rint(QUANT_A / metres.astype(np.float64) + QUANT_B).astype(np.uint16)
    quantised[4:6] = 0
    body = png(quantised) if codec == "png" else rvl(quantised)
    read = compressed_depth_to_numpy(compressed(f"32FC1; compressedDepth {codec}", header(QUANT_A, QUANT_B) + body))
    assert read.dtype == np.float32
    assert np.isnan(read[4:6]).all()
    seen = ~np.isnan(read)
    # Half a step of the quantiser: d(depth) = depth^2 / a * 0.5.
    assert (np.abs(read - metres)[seen] <= 0.51 * metres[seen] ** 2 / QUANT_A + 1e-6).all()


def test_our_encoder_round_trips():
    pytest.importorskip("sensor_msgs.msg")
    depth = scene(3)
    np.testing.assert_array_equal(compressed_depth_to_numpy(numpy_to_compressed_depth(depth)), depth)
    metres = np.where(depth % 7, depth / np.float32(8000), np.float32(np.nan)).astype(np.float32)
    metres[0, :3] = [np.inf, 0, -1]
    read = compressed_depth_to_numpy(numpy_to_compressed_depth(metres))
    valid = (metres > 0) & (metres < 10)
    assert np.isnan(read[~valid]).all()
    representable = valid & (metres > 0.16)  # nearer than about a / 65535 the 16 bits are full
    np.testing.assert_allclose(read[representable], metres[representable], rtol=0.005)


GOOD = header() + rvl(scene())
BROKEN_DEPTH = {
    "format of a colour picture": ("rgb8; jpeg compressed bgr8", GOOD, "format: expected .*compressedDepth"),
    "empty format": ("", GOOD, "format"),
    "unknown codec": ("16UC1; compressedDepth h264", GOOD, "format"),
    "colour in compressedDepth": ("bgr8; compressedDepth png", GOOD, "expected 16UC1, mono16 or 32FC1"),
    "no data": ("16UC1; compressedDepth png", b"", "truncated"),
    "header only": ("16UC1; compressedDepth png", header(), "truncated"),
    "png cut off": ("16UC1; compressedDepth png", header() + png(scene())[:60], "16-bit one-channel PNG"),
    "8-bit png": ("16UC1; compressedDepth png", header() + png(np.zeros((4, 4), np.uint8)), "16-bit one-channel PNG"),
    "rubbish png": ("16UC1; compressedDepth png", header() + b"rubbish", "16-bit one-channel PNG"),
    "rvl without size": ("16UC1; compressedDepth rvl", header() + b"1234", "truncated"),
    "rvl cut off": ("16UC1; compressedDepth rvl", GOOD[:200], "truncated"),
    "rvl of no size": (
        "16UC1; compressedDepth rvl",
        header() + struct.pack("<ii", 0, 5) + b"abcd",
        "sensible RVL size",
    ),
    "rvl negative": (
        "16UC1; compressedDepth rvl",
        header() + struct.pack("<ii", -4, -5) + b"abcd",
        "sensible RVL size",
    ),
    "rvl huge": (
        "16UC1; compressedDepth rvl",
        header() + struct.pack("<ii", 2**30, 2**30) + b"abcd",
        "sensible RVL size",
    ),
    "rvl of zeros": ("16UC1; compressedDepth rvl", header() + struct.pack("<ii", 9, 9) + bytes(64), "empty one"),
    "rvl endless digit": (
        "16UC1; compressedDepth rvl",
        header() + struct.pack("<ii", 9, 9) + b"\xff" * 64,
        "truncated",
    ),
}


@pytest.mark.parametrize("case", BROKEN_DEPTH)
def test_broken_depth_is_refused_by_name(case):
    image_format, data, pattern = BROKEN_DEPTH[case]
    with pytest.raises(InputError, match=pattern) as caught:
        compressed_depth_to_numpy(compressed(image_format, data), "/cam/depth")
    assert str(caught.value).startswith("/cam/depth ")


def test_random_damage_to_rvl_never_escapes():
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(2000):
        data = bytearray(GOOD)
        for _ in range(rng.integers(1, 20)):
            data[rng.integers(12, len(data))] = rng.integers(0, 256)
        try:
            read = compressed_depth_to_numpy(compressed("16UC1; compressedDepth rvl", bytes(data)))
            assert read.dtype == np.uint16
        except InputError:
            refused += 1
    assert refused > 100


def test_jpeg_and_png_pictures():
    rgb = np.zeros((20, 30, 3), np.uint8)
    rgb[:] = (200, 100, 50)
    bgr = rgb[..., ::-1]
    np.testing.assert_array_equal(compressed_to_rgb(compressed("bgr8; png compressed bgr8", png(bgr))), rgb)
    jpeg = cv2.imencode(".jpg", bgr)[1].tobytes()
    np.testing.assert_allclose(compressed_to_rgb(compressed("jpeg", jpeg)).astype(int), rgb, atol=4)
    grey = compressed_to_rgb(compressed("mono8; jpeg compressed ", png(np.full((20, 30), 99, np.uint8))))
    assert grey.shape == (20, 30, 3)
    assert (grey == 99).all()
    with_alpha = np.dstack([bgr, np.full((20, 30), 128, np.uint8)])
    np.testing.assert_array_equal(compressed_to_rgb(compressed("png", png(with_alpha))), rgb)


def test_pictures_agree_with_rosbags_image():
    oracle = pytest.importorskip("rosbags.image")
    noise = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    msg = compressed("bgr8; jpeg compressed bgr8", cv2.imencode(".jpg", noise)[1].tobytes())
    np.testing.assert_array_equal(compressed_to_rgb(msg), oracle.message_to_cvimage(msg, "rgb8"))


@pytest.mark.parametrize("data", [b"", b"rubbish", b"\xff\xd8\xff\xe0 no picture follows"])
def test_broken_pictures_are_refused_by_name(data):
    with pytest.raises(InputError, match=r"^/cam/rgb data: expected a JPEG or PNG"):
        compressed_to_rgb(compressed("jpeg", data), "/cam/rgb")


def test_depth_on_the_colour_input_is_refused():
    with pytest.raises(InputError, match="format: expected a colour picture"):
        compressed_to_rgb(compressed("16UC1; compressedDepth png", GOOD))


def test_our_jpeg_reads_back():
    pytest.importorskip("sensor_msgs.msg")
    gradient = np.dstack([*np.meshgrid(np.arange(64), np.arange(48)), np.full((48, 64), 80)]).astype(np.uint8)
    msg = rgb_to_compressed(gradient)
    assert msg.format == "rgb8; jpeg compressed bgr8"
    np.testing.assert_allclose(compressed_to_rgb(msg).astype(int), gradient, atol=12)
    with pytest.raises(InputError, match="picture to compress"):
        rgb_to_compressed(gradient[..., 0])
