# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Resizing to the model's square and back."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from m4sam_core.errors import InputError
from m4sam_core.vision.images import LARGE_PX, check_rgb, glance, resize_mask, resize_prob, resize_rgb, salient, to_unit


def picture(height, width, seed=0):
    """Smooth colours with fine noise: both the filter and its rounding matter."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)).astype(int)
    return np.clip(smooth + rng.integers(-40, 40, smooth.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize(("height", "width"), [(480, 640), (720, 1280), (200, 304), (352, 640), (96, 96)])
def test_resize_equals_pil_within_one_level(height, width):
    rgb = picture(height, width)
    ours = resize_rgb(rgb, 352)[0].permute(1, 2, 0).numpy().astype(int)
    pil = np.asarray(Image.fromarray(rgb).resize((352, 352), Image.Resampling.BILINEAR)).astype(int)
    difference = np.abs(ours - pil)
    assert difference.max() <= 1
    assert difference.mean() < 0.05


def test_no_resize_no_copy():
    rgb = picture(64, 64)
    resized = resize_rgb(rgb, 64)
    assert resized.data_ptr() == rgb.ctypes.data
    assert resized.is_contiguous(memory_format=torch.channels_last)


def test_colour_stays_interleaved_until_it_is_the_models():
    resized = resize_rgb(picture(96, 128), 64)
    assert resized.stride() == (64 * 64 * 3, 1, 64 * 3, 3), "or every later resize takes twice as long"
    assert to_unit(resized).is_contiguous(), "engines take planes"


def test_read_only_and_flipped_arrays_are_fine():
    rgb = picture(48, 64)
    frozen = np.frombuffer(rgb.tobytes(), np.uint8).reshape(rgb.shape)  # as a message's buffer
    padded = np.frombuffer(np.pad(rgb, ((0, 0), (0, 5), (0, 0))).tobytes(), np.uint8).reshape(48, 69, 3)[:, :64]
    bgr = np.ascontiguousarray(rgb[..., ::-1])
    for same in (frozen, padded):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            torch.testing.assert_close(resize_rgb(same, 32), resize_rgb(rgb, 32), rtol=0, atol=0)
    torch.testing.assert_close(resize_rgb(bgr[..., ::-1], 32), resize_rgb(rgb, 32), rtol=0, atol=0)


def test_to_unit_range():
    levels = torch.tensor([0, 128, 255], dtype=torch.uint8).view(1, 3, 1, 1)
    torch.testing.assert_close(to_unit(levels).flatten(), torch.tensor([0.0, 128 / 255, 1.0]))
    assert levels[0, 1] == 128


@pytest.mark.parametrize(
    ("rgb", "words"),
    [
        ([[0]], "numpy array"),
        (np.zeros((48, 64, 3), np.float32), "float32"),
        (np.zeros((48, 64), np.uint8), "shape"),
        (np.zeros((48, 64, 4), np.uint8), "drop alpha"),
        (np.zeros((0, 64, 3), np.uint8), "sides"),
        (np.zeros((4, 64, 3), np.uint8), "64x4"),
    ],
)
def test_unusable_rgb_is_refused(rgb, words):
    with pytest.raises(InputError, match=words):
        check_rgb(rgb)


def test_a_glance_is_small_and_the_same_from_every_size():
    rgb = picture(480, 640)
    assert glance(rgb).shape == (224, 224, 3)
    np.testing.assert_array_equal(glance(glance(rgb)), glance(rgb))
    small = picture(96, 200)
    assert glance(small) is small


@pytest.mark.parametrize(("height", "width"), [(480, 640), (720, 1280), (96, 96), (57, 91)])
def test_probability_is_interpolated_as_torch_does(height, width):
    coarse = torch.rand(1, 1, 12, 12, generator=torch.Generator().manual_seed(0))
    prob = torch.nn.functional.interpolate(coarse, size=(224, 224), mode="bicubic").clamp(0, 1)
    theirs = torch.nn.functional.interpolate(prob, size=(height, width), mode="bilinear")[0, 0].numpy()
    ours = resize_prob(prob, height, width)
    assert np.abs(ours - theirs).max() < 3e-6
    assert 0 <= ours.min() <= ours.max() <= 1
    decided = np.abs(theirs - 0.5) > 3e-6
    np.testing.assert_array_equal((ours > 0.5)[decided], (theirs > 0.5)[decided])


def blob(row, column, radius_px):
    """(1, 1, 224, 224): a disc with a soft edge."""
    rows, columns = np.mgrid[:224, :224]
    away = np.hypot(rows - row, columns - column) - radius_px
    return torch.from_numpy(1 / (1 + np.exp(away / 2))).float()[None, None]


@pytest.mark.parametrize(("height", "width"), [(480, 640), (2161, 3841), (7000, 640), (640, 7000)])
@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.77])
def test_a_mask_is_its_probability_cut_pixel_for_pixel(height, width, threshold):
    noise = torch.rand(1, 1, 224, 224, generator=torch.Generator().manual_seed(0))
    for prob in (noise, blob(120, 60, 20), blob(5, 223, 30), blob(110, 110, -20), torch.full_like(noise, threshold)):
        mask = resize_mask(prob, height, width, threshold)
        assert (mask.dtype, mask.shape, mask.flags.c_contiguous) == (np.uint8, (height, width), True)
        np.testing.assert_array_equal(mask, salient(resize_prob(prob, height, width), threshold))
    assert (height * width > LARGE_PX) == (height != 480), "both ways are tried"


def test_what_is_just_the_threshold_is_not_salient():
    least = np.float32(0.3)
    around = np.array([[np.nextafter(least, np.float32(0)), least, np.nextafter(least, np.float32(1))]])
    np.testing.assert_array_equal(salient(around, 0.3), [[0, 0, 255]])


def test_probability_comes_back_at_native_size():
    ramp = torch.linspace(0, 1, 64).repeat(64, 1)[None, None]
    native = resize_prob(ramp.to(torch.bfloat16), 480, 640)
    assert native.shape == (480, 640)
    assert native.dtype == np.float32
    assert native.min() >= 0
    assert native.max() <= 1
    assert np.all(np.diff(native[100]) >= 0)
