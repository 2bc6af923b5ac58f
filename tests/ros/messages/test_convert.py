# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Raw image conversion: every encoding, step and byte order, against hand-made pixels and rosbags-image."""

from __future__ import annotations

import array
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from m4sam_core.errors import InputError
from m4sam_core.rgbd.encodings import doubtful_layout
from m4sam_ros.messages import convert

H, W = 6, 8


def message(pixels: np.ndarray, encoding: str, *, pad: int = 0, big_endian: bool = False, height: int | None = None):
    """A duck-typed Image whose rows end in `pad` bytes of rubbish."""
    ordered = pixels.astype(pixels.dtype.newbyteorder(">" if big_endian else "<"))
    rows = np.frombuffer(ordered.tobytes(), np.uint8).reshape(pixels.shape[0], -1)
    padded = np.hstack([rows, np.full((rows.shape[0], pad), 0xA5, np.uint8)])
    return SimpleNamespace(
        height=pixels.shape[0] if height is None else height,
        width=pixels.shape[1],
        encoding=encoding,
        is_bigendian=int(big_endian),
        step=padded.shape[1],
        data=array.array("B", padded.tobytes()),
    )


def random_pixels(encoding: str, seed: int = 0) -> np.ndarray:
    known = convert.ENCODINGS[encoding]
    rng = np.random.default_rng(seed)
    shape = (H, W) if known.channels == 1 else (H, W, known.channels)
    if known.dtype.startswith("f"):
        return rng.normal(2.0, 1.0, shape).astype(known.dtype)
    return rng.integers(0, np.iinfo(known.dtype).max + 1, shape).astype(known.dtype)


INTERLEAVED = [name for name, encoding in convert.ENCODINGS.items() if not encoding.planar]


@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize("pad", [0, 1, 5, 16])
@pytest.mark.parametrize("encoding", INTERLEAVED)
def test_native_values_survive_step_and_byte_order(encoding, pad, big_endian):
    pixels = random_pixels(encoding)
    read = convert.image_to_numpy(message(pixels, encoding, pad=pad, big_endian=big_endian))
    np.testing.assert_array_equal(read, pixels)
    assert not read.flags.writeable


def test_reading_does_not_copy():
    msg = message(random_pixels("rgb8"), "rgb8", pad=3)
    before = convert.image_to_rgb(msg).copy()
    msg.data[0] ^= 0xFF
    assert convert.image_to_rgb(msg)[0, 0, 0] == before[0, 0, 0] ^ 0xFF
    for encoding, reader in (
        ("rgb8", convert.image_to_rgb),
        ("16UC1", convert.image_to_depth),
        ("32FC1", convert.image_to_depth),
    ):
        msg = message(random_pixels(encoding), encoding)
        assert np.shares_memory(reader(msg), np.frombuffer(msg.data, np.uint8)), encoding


@pytest.mark.parametrize(
    ("encoding", "pixel"),
    [
        ("rgb8", [10, 20, 30]),
        ("bgr8", [30, 20, 10]),
        ("rgba8", [10, 20, 30, 77]),
        ("bgra8", [30, 20, 10, 77]),
        ("8UC3", [30, 20, 10]),
        ("8UC4", [30, 20, 10, 77]),
        ("rgb16", [10 * 257, 20 * 257, 30 * 257]),
        ("bgr16", [30 * 257, 20 * 257, 10 * 257]),
        ("rgba16", [10 * 257, 20 * 257, 30 * 257, 5]),
        ("bgra16", [30 * 257, 20 * 257, 10 * 257, 5]),
    ],
)
def test_colour_order(encoding, pixel):
    dtype = convert.ENCODINGS[encoding].dtype
    rgb = convert.image_to_rgb(message(np.full((H, W, len(pixel)), pixel, dtype), encoding, pad=4))
    assert rgb.dtype == np.uint8
    assert rgb.shape == (H, W, 3)
    assert (rgb == [10, 20, 30]).all()


@pytest.mark.parametrize(("encoding", "value"), [("mono8", 99), ("8UC1", 99), ("mono16", 99 * 257)])
def test_grey_is_repeated(encoding, value):
    rgb = convert.image_to_rgb(message(np.full((H, W), value, convert.ENCODINGS[encoding].dtype), encoding))
    assert rgb.shape == (H, W, 3)
    assert (rgb == 99).all()


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
def test_bayer_of_a_flat_colour(pattern, bits):
    colour = {"r": 200, "g": 120, "b": 40}
    tile = np.array([[colour[pattern[0]], colour[pattern[1]]], [colour[pattern[2]], colour[pattern[3]]]])
    mosaic = np.tile(tile, (H // 2, W // 2)) * (1 if bits == 8 else 257)
    rgb = convert.image_to_rgb(message(mosaic.astype(f"u{bits // 8}"), f"bayer_{pattern}{bits}"))
    np.testing.assert_array_equal(rgb[2:-2, 2:-2], np.broadcast_to([200, 120, 40], (H - 4, W - 4, 3)))


def yuv_of(rgb: tuple[int, int, int]) -> tuple[int, int, int]:
    """BT.601, video range."""
    r, g, b = rgb
    y = 16 + 0.257 * r + 0.504 * g + 0.098 * b
    u = 128 - 0.148 * r - 0.291 * g + 0.439 * b
    v = 128 + 0.439 * r - 0.368 * g - 0.071 * b
    return round(y), round(u), round(v)


@pytest.mark.parametrize("encoding", ["yuv422", "uyvy", "yuv422_yuy2", "yuyv", "nv12", "nv21"])
def test_yuv_of_a_flat_colour(encoding):
    rgb = (180, 60, 30)
    y, u, v = yuv_of(rgb)
    if encoding.startswith("nv"):
        chroma = np.tile([u, v] if encoding == "nv12" else [v, u], (H // 2, W // 2))
        msg = message(np.vstack([np.full((H, W), y), chroma]).astype(np.uint8), encoding, height=H)
    else:
        pair = [u, y, v, y] if encoding in ("yuv422", "uyvy") else [y, u, y, v]
        msg = message(np.tile(pair, (H, W // 2)).reshape(H, W, 2).astype(np.uint8), encoding, pad=6)
    read = convert.image_to_rgb(msg)
    assert read.shape == (H, W, 3)
    np.testing.assert_allclose(read, np.broadcast_to(rgb, read.shape), atol=4)


@pytest.mark.parametrize("encoding", [name for name in convert.RGB_ENCODINGS if not convert.ENCODINGS[name].planar])
def test_agrees_with_rosbags_image(encoding):
    oracle = pytest.importorskip("rosbags.image")
    if encoding.startswith("8UC"):
        pytest.skip("the oracle gives bare types no colour order")
    msg = message(random_pixels(encoding, seed=3), encoding)
    # It truncates 16 bit to 8 where we round.
    tolerance = 1 if convert.ENCODINGS[encoding].dtype == "u2" else 0
    theirs = oracle.message_to_cvimage(msg, "rgb8").astype(int)
    np.testing.assert_allclose(convert.image_to_rgb(msg).astype(int), theirs, atol=tolerance)


@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize("encoding", convert.DEPTH_ENCODINGS)
def test_depth_is_native_and_untouched(encoding, big_endian):
    pixels = random_pixels(encoding, seed=1)
    if pixels.dtype.kind == "f":
        pixels[0, :3] = [np.nan, np.inf, -np.inf]
    else:
        pixels[0, :2] = [0, 65535]
    depth = convert.image_to_depth(message(pixels, encoding, pad=7, big_endian=big_endian))
    assert depth.dtype in (np.uint16, np.float32)
    assert depth.dtype.isnative
    np.testing.assert_array_equal(depth, pixels.astype(depth.dtype))


def set_field(msg: SimpleNamespace, **changes: object) -> SimpleNamespace:
    for name, value in changes.items():
        setattr(msg, name, value)
    return msg


BROKEN = {
    "unknown encoding": ({"encoding": "h264"}, "encoding"),
    "empty encoding": ({"encoding": ""}, "encoding"),
    "zero height": ({"height": 0}, "height x width"),
    "zero width": ({"width": 0}, "height x width"),
    "step too small": ({"step": W * 3 - 1}, "step"),
    "zero step": ({"step": 0}, "step"),
    "truncated": ({"data": array.array("B", bytes(W * 3 * H - 1))}, "data"),
    "no data": ({"data": array.array("B")}, "data"),
    "absurd size": ({"height": 2**32 - 1, "width": 2**32 - 1, "step": 2**32 - 1}, "step"),
    "tall": ({"height": 2**32 - 1}, "data"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_messages_name_topic_and_field(case):
    changes, field = BROKEN[case]
    msg = set_field(message(random_pixels("rgb8"), "rgb8"), **changes)
    with pytest.raises(InputError, match=rf"^/cam/rgb {field}: expected .*, got .*; "):
        convert.image_to_rgb(msg, "/cam/rgb")


def test_depth_on_the_rgb_input_is_refused_and_the_other_way_round():
    with pytest.raises(InputError, match=r"rgb/image encoding: .*got '32FC1'.*rgb input"):
        convert.image_to_rgb(message(random_pixels("32FC1"), "32FC1"))
    with pytest.raises(InputError, match=r"depth/image encoding: .*got 'bgr8'.*depth input"):
        convert.image_to_depth(message(random_pixels("bgr8"), "bgr8"))


def test_odd_width_of_shared_chroma_is_refused():
    msg = set_field(message(random_pixels("uyvy"), "uyvy"), width=W - 1)
    with pytest.raises(InputError, match="width: expected an even number"):
        convert.image_to_rgb(msg)


def test_truncated_planar_is_refused():
    msg = message(np.zeros((H * 3 // 2, W), np.uint8), "nv12", height=H)
    msg.data.pop()
    with pytest.raises(InputError, match="data: expected at least"):
        convert.image_to_rgb(msg)


@pytest.mark.parametrize("encoding", INTERLEAVED)
def test_written_messages_read_back(encoding):
    pytest.importorskip("sensor_msgs.msg")
    pixels = random_pixels(encoding, seed=5)
    msg = convert.numpy_to_image(pixels, encoding)
    assert isinstance(msg.data, array.array)
    assert msg.is_bigendian == (sys.byteorder == "big")
    assert (msg.height, msg.width) == (H, W)
    np.testing.assert_array_equal(convert.image_to_numpy(msg), pixels)


def test_written_message_shares_the_header_and_takes_views():
    std_msgs = pytest.importorskip("std_msgs.msg")
    header = std_msgs.Header(frame_id="camera_optical")
    whole = random_pixels("mono8", seed=6)
    msg = convert.numpy_to_image(whole[::2, ::-1], "mono8", header)
    assert msg.header.frame_id == "camera_optical"
    np.testing.assert_array_equal(convert.image_to_numpy(msg), whole[::2, ::-1])


@pytest.mark.parametrize("write", [convert.numpy_to_image, convert.numpy_to_cdr])
@pytest.mark.parametrize(
    ("pixels", "encoding"),
    [
        (np.zeros((4, 4), np.uint16), "mono8"),
        (np.zeros((4, 4, 3), np.uint8), "mono8"),
        (np.zeros((4, 4), np.float64), "32FC1"),
        (np.zeros((4, 4), np.uint8), "nv12"),
        (np.zeros((4, 4), np.uint8), "nonsense"),
        (np.zeros(4, np.uint8), "mono8"),
    ],
)
def test_writing_refuses_what_does_not_fit(write, pixels, encoding):
    header = pytest.importorskip("std_msgs.msg").Header()
    with pytest.raises(InputError, match="image to publish"):
        write(pixels, encoding, header)


def test_sixteen_bits_become_eight_without_an_error():
    every = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    rgb = convert.image_to_rgb(message(every, "mono16", pad=2))
    np.testing.assert_array_equal(rgb[..., 0], np.rint(every / 257).astype(np.uint8))


@pytest.mark.parametrize("encoding", convert.RGB_ENCODINGS)
@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 2), (2, 2), (2, 1), (3, 3)])
def test_tiny_images_are_read_or_refused(encoding, height, width):
    known = convert.ENCODINGS[encoding]
    rows = known.rows(height)
    pixels = np.zeros((rows, width) if known.channels == 1 else (rows, width, known.channels), known.dtype)
    try:
        rgb = convert.image_to_rgb(message(pixels, encoding, height=height))
    except InputError as error:
        refusal = str(error)
    else:
        refusal = None
        assert rgb.shape == (height, width, 3)
    simple = not encoding.startswith(("bayer", "yu", "uyvy", "nv"))
    assert refusal is None or not simple


@pytest.mark.parametrize(
    ("encoding", "channels", "changes", "said"),
    [
        ("rgb8", 3, {}, None),
        ("rgb8", 3, {"height": 24}, "data: expected 46080 bytes for 24 rows, got 92160; is the height right?"),
        ("rgb8", 3, {"encoding": "mono8"}, "step: expected 640 bytes for 640 px of mono8, got 3 times that"),
        ("rgb8", 3, {"width": 600}, None),  # a part of a wider image
        ("mono8", 1, {"width": 7, "step": 64, "height": 4}, None),  # rows padded to 64 bytes
    ],
)
def test_what_can_be_read_and_was_hardly_meant_is_named(encoding, channels, changes, said):
    pixels = np.zeros((48, 640, channels) if channels > 1 else (4, 64), np.uint8)
    msg = convert.numpy_to_image(pixels, encoding)
    for name, value in changes.items():
        setattr(msg, name, value)
    convert.image_to_numpy(msg)
    doubt = doubtful_layout(msg)
    assert doubt is None if said is None else doubt.startswith(said)


def test_twelve_bits_in_sixteen_are_named():
    from m4sam_core.rgbd.encodings import too_few_bits

    rng = np.random.default_rng(0)
    for bits, named in ((12, True), (10, True), (16, False)):
        msg = convert.numpy_to_image(rng.integers(0, 2**bits, (48, 64), dtype=np.uint16), "mono16")
        said = too_few_bits(msg, convert.image_to_rgb(msg))
        assert (said is not None) == named
        assert said is None or "has the camera 10 or 12 bits?" in said
    dark = convert.numpy_to_image(np.zeros((48, 64, 3), np.uint8), "rgb8")
    assert too_few_bits(dark, convert.image_to_rgb(dark)) is None
