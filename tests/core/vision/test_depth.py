# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Depth reality: units, holes, ranges and the degraded frame (docs/stream.md#depth)."""

from __future__ import annotations

import numpy as np
import pytest

from m4sam_core.config import DepthConfig
from m4sam_core.vision.depth import prepare_depth

FIXED = DepthConfig(range="fixed", min_m=1.0, max_m=5.0)


def ramp_m(height=20, width=30):
    return np.linspace(1.0, 5.0, height * width, dtype=np.float32).reshape(height, width)


def test_millimetres_and_metres_agree():
    metres = ramp_m()
    millimetres = np.round(metres * 1000).astype(np.uint16)
    of_float = prepare_depth(metres, 20, 30, FIXED)
    of_int = prepare_depth(millimetres, 20, 30, FIXED)
    np.testing.assert_allclose(of_int.unit, of_float.unit, atol=2e-4)
    assert of_float.unit[0, 0] == 0.0
    assert of_float.unit[-1, -1] == pytest.approx(1.0)
    assert np.all(np.diff(of_float.unit.ravel()) > 0), "larger must mean farther"


def test_unit_is_a_setting():
    counts = np.full((20, 30), 20_000, np.uint16)
    counts[-1] = 10_000
    cfg = DepthConfig(range="fixed", min_m=0.0, max_m=4.0, unit_m=0.0001)
    assert prepare_depth(counts, 20, 30, cfg).unit[:-1] == pytest.approx(0.5)


@pytest.mark.parametrize("bad", [0, 65535, 900])
def test_invalid_counts_are_holes(bad):
    counts = np.full((20, 30), 3000, np.uint16)
    counts[:10], counts[-1] = bad, 2000
    prepared = prepare_depth(counts, 20, 30, FIXED)
    assert np.all(prepared.unit[:10] == 0)
    assert np.all(prepared.unit[10:-1] == pytest.approx(0.5))
    assert prepared.valid_ratio == 0.5


BAD_METRES = [0.0, np.nan, np.inf, -np.inf, -2.0, 0.5]


@pytest.mark.parametrize(
    ("bad", "dtype"), [(bad, dtype) for bad in BAD_METRES for dtype in (np.float32, np.float64)] + [(1e300, np.float64)]
)
def test_invalid_metres_are_holes(bad, dtype):
    metres = np.full((20, 30), 3.0, dtype)
    metres[:10], metres[-1] = bad, 2.0
    prepared = prepare_depth(metres, 20, 30, FIXED)
    assert np.all(prepared.unit[:10] == 0)
    assert np.all(prepared.unit[10:-1] == pytest.approx(0.5))
    assert prepared.unit.dtype == np.float32
    assert prepared.valid_ratio == 0.5


def test_farther_than_the_range_is_clipped_not_dropped():
    metres = np.full((20, 30), 80.0, np.float32)
    metres[-1] = 70.0
    prepared = prepare_depth(metres, 20, 30, FIXED)
    assert np.all(prepared.unit == 1.0)
    assert prepared.valid_ratio == 1.0


def test_percentiles_stretch_the_frame_and_ignore_outliers():
    metres = np.random.default_rng(0).uniform(2.0, 3.0, (200, 300)).astype(np.float32)
    metres[0, 0] = 9.9
    unit = prepare_depth(metres, 200, 300, DepthConfig()).unit
    expected = np.clip((metres - 2.02) / 0.96, 0, 1)
    assert np.abs(unit - expected).max() < 0.02


def test_a_flat_map_is_not_stretched_into_noise():
    metres = np.full((20, 30), 2.0, np.float32)
    metres += np.random.default_rng(0).uniform(0, 1e-6, metres.shape).astype(np.float32)
    prepared = prepare_depth(metres, 20, 30, DepthConfig())
    assert not prepared.rgb_only
    assert prepared.unit.max() < 0.01


def test_uint8_is_relative_depth():
    relative = np.arange(600, dtype=np.int64).reshape(20, 30) % 256
    prepared = prepare_depth(relative.astype(np.uint8), 20, 30, FIXED)
    np.testing.assert_allclose(prepared.unit, relative / 255.0, atol=1e-6)
    assert prepared.valid_ratio == np.count_nonzero(relative) / 600


@pytest.mark.parametrize(
    ("depth", "words"),
    [
        (None, "no depth"),
        (np.ones((10, 30), np.uint16), "expected 30x20"),
        (np.ones((20, 30, 3), np.uint16), "one channel"),
        (np.ones((20, 30), np.int64), "int64"),
        (np.zeros((20, 30), np.uint16), "valid pixels, got 0.0%"),
        (np.full((20, 30), np.nan, np.float32), "valid pixels"),
        (np.full((20, 30), 2000, np.uint16), "same number"),
        (np.full((20, 30), 2.0, np.float32), "same number"),
        (np.full((20, 30), 7, np.uint8), "same number"),
    ],
)
def test_useless_depth_degrades_with_a_reason(depth, words):
    prepared = prepare_depth(depth, 20, 30, DepthConfig())
    assert prepared.rgb_only
    assert words in prepared.note
    assert prepared.unit.shape == (20, 30)
    assert not prepared.unit.any()


def test_valid_ratio_decides():
    counts = np.zeros((20, 30), np.uint16)
    counts[0, :] = np.arange(3000, 3030)
    assert not prepare_depth(counts, 20, 30, DepthConfig(min_valid_ratio=0.05)).rgb_only
    assert prepare_depth(counts, 20, 30, DepthConfig(min_valid_ratio=0.06)).rgb_only


def test_input_is_left_alone_and_a_channel_axis_is_fine():
    metres = ramp_m()
    metres[0, 0] = np.nan
    before = metres.copy()
    with_axis = prepare_depth(metres[..., None], 20, 30, FIXED)
    np.testing.assert_array_equal(metres, before)
    np.testing.assert_array_equal(with_axis.unit, prepare_depth(metres, 20, 30, FIXED).unit)


def test_a_lone_valid_region_off_the_sampling_grid_still_counts():
    counts = np.zeros((400, 600), np.uint16)
    counts[1::2, 1::2] = 3000
    counts[-1, -1] = 3001
    prepared = prepare_depth(counts, 400, 600, FIXED)
    assert not prepared.rgb_only
    assert np.all(prepared.unit[1:-1:2, 1::2] == pytest.approx(0.5))
    stretched = prepare_depth(counts, 400, 600, DepthConfig())
    assert stretched.near_m == pytest.approx(3.0)
    assert stretched.far_m == pytest.approx(3.001)


def test_one_reading_that_differs_is_enough():
    counts = np.full((240, 320), 2000, np.uint16)
    counts[101, 57] = 1500
    assert not prepare_depth(counts, 240, 320, DepthConfig()).rgb_only


@pytest.mark.parametrize(("depth", "unit"), [(np.float32, "in metres"), (np.uint16, "depth.unit_m")])
def test_a_map_in_another_unit_is_named_instead_of_flattened(depth, unit):
    """Float millimetres, or counts of a tenth of a millimetre taken for millimetres: nothing is within reach."""
    tenths = np.tile(np.linspace(15_000, 30_000, 20).astype(depth)[:, None], (1, 30))
    prepared = prepare_depth(tenths, 20, 30, DepthConfig())
    assert prepared.rgb_only
    assert prepared.note is not None
    assert "check the unit" in prepared.note
    assert unit in prepared.note
    assert not prepare_depth(tenths.astype(np.uint16), 20, 30, DepthConfig(unit_m=1e-4)).rgb_only
