# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Resizing to the model's square and back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from m4sam_core.errors import InputError
from m4sam_core.vision.images import check_rgb, resize_depth, resize_prob, resize_rgb, to_unit


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


def test_read_only_and_flipped_arrays_are_fine():
    rgb = picture(48, 64)
    frozen = np.frombuffer(rgb.tobytes(), np.uint8).reshape(rgb.shape)
    bgr = np.ascontiguousarray(rgb[..., ::-1])
    torch.testing.assert_close(resize_rgb(frozen, 32), resize_rgb(rgb, 32), rtol=0, atol=0)
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


def test_depth_holes_do_not_bleed():
    unit = np.full((200, 300), 0.8, np.float32)
    unit[:, 100:200] = 0.0
    resized = resize_depth(unit, 64)[0, 0].numpy()
    is_hole = resized == 0
    assert np.all(is_hole | (np.abs(resized - 0.8) < 1e-5)), "a pixel is either a hole or a reading, never between"
    assert is_hole.mean() == pytest.approx(1 / 3, abs=0.03)


def test_depth_without_holes_is_a_plain_resize():
    unit = np.random.default_rng(0).uniform(0.1, 1.0, (120, 160)).astype(np.float32)
    plain = torch.nn.functional.interpolate(
        torch.from_numpy(unit)[None, None], size=(64, 64), mode="bilinear", antialias=True
    )
    torch.testing.assert_close(resize_depth(unit, 64), plain)


def test_probability_comes_back_at_native_size():
    ramp = torch.linspace(0, 1, 64).repeat(64, 1)[None, None]
    native = resize_prob(ramp.to(torch.bfloat16), 480, 640)
    assert native.shape == (480, 640)
    assert native.dtype == np.float32
    assert native.min() >= 0
    assert native.max() <= 1
    assert np.all(np.diff(native[100]) >= 0)
