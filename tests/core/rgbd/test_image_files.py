# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Pixels are read as stored, in every room and every format."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from PIL import Image

from m4sam_core.errors import InputError
from m4sam_core.rgbd.compressed import compressed_to_rgb
from m4sam_core.rgbd.image_files import (
    exif_orientation,
    image_size,
    read_grey,
    read_pixels,
    read_rgb,
    rgb_flaw,
    write_png,
)

ORIENTATION = 0x0112


class Message:
    def __init__(self, data):
        self.format, self.data = "rgb8; jpeg compressed bgr8", data


def picture():
    rgb = np.zeros((24, 32, 3), np.uint8)
    rgb[:8, :8] = 250
    return rgb


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
@pytest.mark.parametrize("turn", [2, 3, 6, 8])
def test_a_turned_picture_is_read_as_it_is_stored(tmp_path, suffix, turn):
    exif = Image.Exif()
    exif[ORIENTATION] = turn
    path = tmp_path / f"p.{suffix}"
    Image.fromarray(picture()).save(path, exif=exif, quality=95)
    assert exif_orientation(path) == turn
    assert image_size(path) == (24, 32)
    for rgb in (read_rgb(path), read_pixels(path), compressed_to_rgb(Message(path.read_bytes()))):
        assert np.abs(rgb.astype(int) - picture()).max() < 30


def test_a_tiff_is_read_the_same_way_by_every_reader(tmp_path):
    path = tmp_path / "p.tiff"
    Image.fromarray(picture()).save(path, tiffinfo={ORIENTATION: 6})
    assert image_size(path) == read_rgb(path).shape[:2] == read_pixels(path).shape[:2]
    np.testing.assert_array_equal(read_rgb(path), read_pixels(path))
    assert exif_orientation(path) == 1


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_16_bit_grey_colour_is_scaled_and_not_cut(tmp_path, suffix):
    path = tmp_path / f"g.{suffix}"
    cv2.imwrite(str(path), np.array([[0, 255, 25700, 65535]], np.uint16))
    assert read_rgb(path)[0, :, 0].tolist() == [0, 1, 100, 255]
    assert read_rgb(path).shape == (1, 4, 3)
    assert read_grey(path).tolist() == [[0, 0, 100, 255]]


def test_16_bit_colour_keeps_its_colours(tmp_path):
    cv2.imwrite(str(tmp_path / "c.png"), np.full((2, 2, 3), (1000, 20000, 60000), np.uint16))
    assert np.abs(read_rgb(tmp_path / "c.png")[0, 0].astype(int) - (233, 78, 4)).max() <= 1


@pytest.mark.parametrize("most", [255, 1023, 65535])
def test_portable_pixel_maps_are_scaled_to_8_bits(tmp_path, most):
    colours = np.random.default_rng(0).integers(0, most + 1, (4, 6, 3))
    samples = colours.astype(np.uint8 if most < 256 else ">u2")
    (tmp_path / "a.ppm").write_bytes(b"P6\n6 4\n%d\n" % most + samples.tobytes())
    read = read_rgb(tmp_path / "a.ppm").astype(int)
    assert np.abs(read - colours * 255 / most).max() <= 1
    assert image_size(tmp_path / "a.ppm") == (4, 6)


def test_float_colour_is_refused_and_not_black(tmp_path):
    cv2.imwrite(str(tmp_path / "f.tiff"), np.full((4, 4), 0.5, np.float32))
    with pytest.raises(InputError, match="expected 8-bit or 16-bit colour"):
        read_rgb(tmp_path / "f.tiff")


@pytest.mark.parametrize("name", ["robot", "robot.xyz"])
def test_a_name_that_is_no_pictures_is_refused(tmp_path, name):
    with pytest.raises(InputError, match=r"expected a name that ends in \.png or another picture's suffix"):
        write_png(tmp_path / name, np.zeros((8, 8), np.uint8))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("bits", "told"), [(8, True), (10, True), (12, True), (16, False)])
@pytest.mark.parametrize("channels", [1, 3])
def test_deep_colour_that_was_not_scaled_is_said(tmp_path, bits, told, channels):
    top = (1 << bits) - 1
    cv2.imwrite(str(tmp_path / "a.png"), np.full((4, 4, channels), top, np.uint16))
    assert (rgb_flaw(tmp_path / "a.png") is not None) == told
    cv2.imwrite(str(tmp_path / "b.png"), np.full((4, 4, channels), 3, np.uint8))
    assert rgb_flaw(tmp_path / "b.png") is None
