# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Depth reality: units, holes, ranges and the degraded frame (docs/stream.md#depth)."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from m4sam_core.config import DepthConfig
from m4sam_core.vision.depth import prepare_depth
from m4sam_core.vision.depth_scale import count_readings, in_metres
from tests.core.vision.depth_maps import unit_map

FIXED = DepthConfig(range="fixed", min_m=1.0, max_m=5.0)


def ramp_m(height=20, width=30):
    return np.linspace(1.0, 5.0, height * width, dtype=np.float32).reshape(height, width)


def test_millimetres_and_metres_agree():
    metres = ramp_m()
    millimetres = np.round(metres * 1000).astype(np.uint16)
    of_float = prepare_depth(metres, 20, 30, FIXED)
    of_int = prepare_depth(millimetres, 20, 30, FIXED)
    np.testing.assert_allclose(unit_map(of_int), unit_map(of_float), atol=2e-4)
    assert unit_map(of_float)[0, 0] == 0.0
    assert unit_map(of_float)[-1, -1] == pytest.approx(1.0)
    assert np.all(np.diff(unit_map(of_float).ravel()) > 0), "larger must mean farther"


def test_unit_is_a_setting():
    counts = np.full((20, 30), 20_000, np.uint16)
    counts[-1] = 10_000
    cfg = DepthConfig(range="fixed", min_m=0.0, max_m=4.0, unit_m=0.0001)
    assert unit_map(prepare_depth(counts, 20, 30, cfg))[:-1] == pytest.approx(0.5)


@pytest.mark.parametrize("bad", [0, 65535, 900])
def test_invalid_counts_are_holes(bad):
    counts = np.full((20, 30), 3000, np.uint16)
    counts[:10], counts[-1] = bad, 2000
    prepared = prepare_depth(counts, 20, 30, FIXED)
    assert np.all(unit_map(prepared)[:10] == 0)
    assert np.all(unit_map(prepared)[10:-1] == pytest.approx(0.5))
    assert prepared.valid_ratio == 0.5


BAD_METRES = [0.0, np.nan, np.inf, -np.inf, -2.0, 0.5]


@pytest.mark.parametrize(
    ("bad", "dtype"), [(bad, dtype) for bad in BAD_METRES for dtype in (np.float32, np.float64)] + [(1e300, np.float64)]
)
def test_invalid_metres_are_holes(bad, dtype):
    metres = np.full((20, 30), 3.0, dtype)
    metres[:10], metres[-1] = bad, 2.0
    prepared = prepare_depth(metres, 20, 30, FIXED)
    assert np.all(unit_map(prepared)[:10] == 0)
    assert np.all(unit_map(prepared)[10:-1] == pytest.approx(0.5))
    assert unit_map(prepared).dtype == np.float32
    assert prepared.valid_ratio == 0.5


def test_farther_than_the_range_is_clipped_not_dropped():
    metres = np.full((20, 30), 80.0, np.float32)
    metres[-1] = 70.0
    prepared = prepare_depth(metres, 20, 30, FIXED)
    assert np.all(unit_map(prepared) == 1.0)
    assert prepared.valid_ratio == 1.0


def test_percentiles_stretch_the_frame_and_ignore_outliers():
    metres = np.random.default_rng(0).uniform(2.0, 3.0, (200, 300)).astype(np.float32)
    metres[0, 0] = 9.9
    unit = unit_map(prepare_depth(metres, 200, 300, DepthConfig()))
    expected = np.clip((metres - 2.02) / 0.96, 0, 1)
    assert np.abs(unit - expected).max() < 0.02


def test_a_flat_map_is_not_stretched_into_noise():
    metres = np.full((20, 30), 2.0, np.float32)
    metres += np.random.default_rng(0).uniform(0, 1e-6, metres.shape).astype(np.float32)
    prepared = prepare_depth(metres, 20, 30, DepthConfig())
    assert not prepared.rgb_only
    assert unit_map(prepared).max() < 0.01


def test_uint8_is_relative_depth():
    relative = np.arange(600, dtype=np.int64).reshape(20, 30) % 256
    prepared = prepare_depth(relative.astype(np.uint8), 20, 30, FIXED)
    np.testing.assert_allclose(unit_map(prepared), relative / 255.0, atol=1e-6)
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
    assert unit_map(prepared).shape == (20, 30)
    assert not unit_map(prepared).any()


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
    np.testing.assert_array_equal(unit_map(with_axis), unit_map(prepare_depth(metres, 20, 30, FIXED)))


def test_a_lone_valid_region_off_the_sampling_grid_still_counts():
    counts = np.zeros((400, 600), np.uint16)
    counts[1::2, 1::2] = 3000
    counts[-1, -1] = 3001
    prepared = prepare_depth(counts, 400, 600, FIXED)
    assert not prepared.rgb_only
    assert np.all(unit_map(prepared)[1:-1:2, 1::2] == pytest.approx(0.5))
    stretched = prepare_depth(counts, 400, 600, DepthConfig())
    assert stretched.scale.near_m == pytest.approx(3.0)
    assert stretched.scale.far_m == pytest.approx(3.001)


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


@pytest.mark.parametrize("kind", [np.uint16, np.float32, np.float64])
@pytest.mark.parametrize(("height", "width"), [(2, 1), (3, 5), (37, 41), (400, 500)])
def test_the_range_is_between_the_percentiles_of_numpy(kind, height, width):
    counts = np.random.default_rng(width).integers(300, 5000, (height, width))
    counts[0, 0], counts[-1, -1] = 400, 4000
    depth = (counts if kind is np.uint16 else counts / 1000).astype(kind)
    prepared = prepare_depth(depth, height, width, DepthConfig())
    step = max(1, int((depth.size / 20_000) ** 0.5))
    expected = np.percentile(in_metres(depth[::step, ::step], DepthConfig())[0], (2, 98))
    np.testing.assert_allclose((prepared.scale.near_m, prepared.scale.far_m), expected, atol=1e-6)


@pytest.mark.parametrize("unit_m", [0.001, 0.0001, 0.00025, 0.0012345, 1e-6, 0.5])
@pytest.mark.parametrize("min_m", [0.0, 0.2, 0.3, 0.7001])
def test_every_count_is_a_reading_or_none_as_float32_has_it(unit_m, min_m):
    every, cfg = np.arange(1 << 16, dtype=np.uint16).reshape(256, 256), DepthConfig(unit_m=unit_m, min_m=min_m)
    assert count_readings(every, cfg) == np.count_nonzero(in_metres(every, cfg)[1])


def test_a_unit_in_which_nothing_is_far_enough_is_no_depth():
    counts = np.arange(60_000, 60_600, dtype=np.uint16).reshape(20, 30)
    assert "valid pixels, got 0.0%" in prepare_depth(counts, 20, 30, DepthConfig(unit_m=1e-6)).note


def by_torch(unit, size_px):
    """The antialiased mean of the readings that each pixel covers; and their share."""
    depth = torch.from_numpy(unit)[None, None]
    total, share = (
        interpolate(part, size=(size_px, size_px), mode="bilinear", antialias=True)[0, 0].numpy()
        for part in (depth, (depth > 0).float())
    )
    return np.where(share >= 0.5, np.clip(total / np.maximum(share, 0.5), 0, 1), 0), share


def scene(height, width, kind):
    """A slanted wall with things before it, noise, holes, marks and readings out of range."""
    rng = np.random.default_rng(height)
    metres = np.linspace(0.7, 6.0, width, dtype=np.float32)[None].repeat(height, 0) + rng.normal(
        0, 0.01, (height, width)
    )
    metres[height // 4 : height // 2, width // 3 : width // 2] = 0.9
    metres[rng.random((height, width)) < 0.05] = 0
    metres[: height // 5, : width // 4] = 0
    if kind is np.uint8:
        return np.clip(metres * 40, 0, 255).astype(np.uint8)
    if kind is np.uint16:
        counts = np.clip(metres * 1000, 0, 65534).astype(np.uint16)
        counts[-3:, ::7], counts[-6:-3, ::5] = 65535, 90
        return counts
    metres[-3:, ::7], metres[-6:-3, ::5], metres[-9:-6, ::3], metres[-9:-6, 1::3] = np.nan, np.inf, -np.inf, -1
    return metres.astype(kind)


@pytest.mark.parametrize("size_px", [64, 224, 352])
@pytest.mark.parametrize(("height", "width"), [(480, 640), (720, 1280), (300, 200), (96, 96), (224, 224), (37, 411)])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32, np.float64])
def test_the_square_is_the_map_resized_as_torch_does(kind, height, width, size_px):
    depth = scene(height, width, kind)
    for cfg in (DepthConfig(), DepthConfig(range="fixed", min_m=0.8, max_m=4.0), DepthConfig(unit_m=0.00097)):
        prepared = prepare_depth(depth, height, width, cfg)
        assert not prepared.rgb_only, prepared.note
        expected, share = by_torch(unit_map(prepared), size_px)
        ours = prepared.reduced(size_px)
        decided = np.abs(share - 0.5) > 1e-5  # whether a pixel is a hole is chance where just half of it is
        assert decided.mean() > 0.9
        assert np.abs(ours - expected)[decided].max() < 3e-6
        assert (ours.dtype, ours.shape) == (np.float32, (size_px, size_px))


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32, np.float64])
@pytest.mark.parametrize("strided", [False, True])
def test_readings_are_counted_and_looked_up_one_by_one(kind, strided):
    depth = scene(130, 170, kind)
    depth = depth[::-2, 3:160:2] if strided else depth
    prepared = prepare_depth(depth, *depth.shape, DepthConfig(min_m=0.1))
    with np.errstate(invalid="ignore"):
        metres = depth * 1e-3 if kind is np.uint16 else depth
        valid = np.isfinite(metres) & (metres > 0) & ((metres >= 0.1) if kind is not np.uint8 else True)
    if kind is np.uint16:
        valid &= depth != 65535
    assert prepared.valid_ratio == np.count_nonzero(valid) / valid.size
    rows, columns = np.array([3, 7, 50]), np.array([0, 5, 6, 60])
    np.testing.assert_array_equal(prepared.unit_at(rows, columns), unit_map(prepared)[np.ix_(rows, columns)])
    np.testing.assert_allclose(prepared.reduced(32), by_torch(unit_map(prepared), 32)[0], atol=3e-6)


def test_holes_do_not_bleed():
    counts = np.full((200, 300), 3000, np.uint16)
    counts[:100, :50], counts[:, 100:200] = 2000, 0
    reduced = prepare_depth(counts, 200, 300, DepthConfig(range="fixed", min_m=1.0, max_m=5.0)).reduced(64)
    is_hole = reduced == 0
    between = reduced[40:]
    assert np.all(is_hole[40:] | (np.abs(between - 0.5) < 1e-5)), "a hole or a reading, never between"
    assert is_hole.mean() == pytest.approx(1 / 3, abs=0.03)


def test_counts_around_the_nearest_distance_are_told_apart_exactly():
    """Which counts are above 0 is a matter of float32; the square must agree with the map about each of them."""
    for unit_m in (0.001, 0.0001, 0.00025, 0.0012345):
        counts = np.arange(1, 65535, dtype=np.uint16)[: 255 * 257 - 1].reshape(2, -1)
        for near_m in (0.3, 0.7001, 1.2345678):
            cfg = DepthConfig(range="fixed", min_m=near_m, max_m=near_m + 2.0, unit_m=unit_m, min_valid_ratio=0.0)
            prepared = prepare_depth(counts, *counts.shape, cfg)
            if not prepared.rgb_only:
                clipper = prepared.scale._clipper(counts.dtype)
                clipped, there = clipper.block(counts)
                np.testing.assert_array_equal(there > 0, unit_map(prepared) > 0)
                np.testing.assert_allclose(
                    np.where(there > 0, (clipped + clipper.offset) * clipper.gain, 0), unit_map(prepared), atol=2e-6
                )


def test_exactly_half_is_a_reading_whatever_the_rounding():
    """At 10 to 7 a seventh of the columns cover as much on either side of some edges."""
    met = 0
    for edge in range(40, 60):
        counts = np.full((320, 320), 3000, np.uint16)
        counts[:, edge:], counts[0, 0] = 0, 2500
        prepared = prepare_depth(counts, 320, 320, DepthConfig(range="fixed", min_m=1.0, max_m=5.0))
        _, share = by_torch(unit_map(prepared), 224)
        half = np.abs(share[2:-2] - 0.5) < 1e-5
        assert prepared.reduced(224)[2:-2][half].all()
        assert not prepared.reduced(224)[2:-2][share[2:-2] < 0.5 - 2e-5].any()
        met += np.count_nonzero(half)
    assert met
