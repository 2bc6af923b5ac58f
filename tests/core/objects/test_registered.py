# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Two images of one place through two lenses: what is at a pixel of one is found at its own pixel of the other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from m4sam_core.objects.registered import RegisteredDepth, depth_background, seen_by_colour, seen_by_depth
from tests.core.objects.scenes import CAMERA, HEIGHT, WIDTH, scene

# The same size, twice the view; a quarter of a pixel beside the middle, so that pixels meet pixels.
WIDE = replace(CAMERA, fx=CAMERA.fx / 2, fy=CAMERA.fy / 2, cx=CAMERA.cx + 0.25, cy=CAMERA.cy + 0.25)
FLAT = replace(WIDE, height=200, cy=99.75)


def wide_view(image, camera, outside):
    """An image of CAMERA as `camera` has it."""
    rows, columns = np.mgrid[: camera.height, : camera.width]
    rows = np.rint((rows - camera.cy) * 2 + CAMERA.cy).astype(int)
    columns = np.rint((columns - camera.cx) * 2 + CAMERA.cx).astype(int)
    there = (rows >= 0) & (rows < HEIGHT) & (columns >= 0) & (columns < WIDTH)
    return np.where(there, image[np.clip(rows, 0, HEIGHT - 1), np.clip(columns, 0, WIDTH - 1)], outside)


@pytest.mark.parametrize("wide", [WIDE, FLAT])
def test_depth_of_another_lens_is_put_where_colour_sees_it(wide):
    mask, metres = scene((101, 61, 60, 80, 1.5))
    depth = (wide_view(metres, wide, 7.0) * 1000).astype(np.uint16)
    seen = seen_by_colour(depth, (HEIGHT, WIDTH), CAMERA, wide)
    assert seen.dtype == np.uint16
    np.testing.assert_array_equal(seen == 1500, mask > 0)
    assert (seen[:, :-1][mask[:, :-1] == 0] == 4000).all(), "the last column looks at the rim of what is beyond"


@pytest.mark.parametrize("wide", [WIDE, FLAT])
def test_what_is_taken_out_of_depth_is_what_the_mask_shows(wide):
    mask, metres = scene((101, 61, 60, 80, 1.5))
    depth = wide_view(metres, wide, 7.0).astype(np.float32)
    shape = (wide.height, wide.width)
    np.testing.assert_array_equal(seen_by_depth(mask, shape, CAMERA, wide) > 0, depth == 1.5)
    cleared = depth_background(depth, mask, CAMERA, wide)
    np.testing.assert_array_equal(np.isnan(cleared), depth == 1.5)


def test_one_lens_said_twice_is_one():
    """Autofocus and rounding make two messages of it that differ a little."""
    _, metres = scene((101, 61, 60, 80, 1.5))
    other = replace(CAMERA, fx=CAMERA.fx * 1.001, cx=CAMERA.cx + 0.2)
    assert seen_by_colour(metres, (HEIGHT, WIDTH), CAMERA, other) is metres
    registered, _ = RegisteredDepth.of(metres, 1.0, (HEIGHT, WIDTH), CAMERA, other)
    assert registered.camera is None
    assert not CAMERA.same_view(WIDE)
    assert not CAMERA.same_view(replace(CAMERA, cx=CAMERA.cx + 1))
    assert not CAMERA.same_view(replace(CAMERA, distortion=(0.1, 0, 0, 0)))


def test_without_both_calibrations_sizes_tell():
    mask, metres = scene((100, 60, 60, 80, 1.5))
    assert seen_by_colour(metres, (HEIGHT, WIDTH), CAMERA, None) is metres
    assert seen_by_depth(mask, mask.shape, CAMERA, None) is mask
    np.testing.assert_array_equal(seen_by_depth(mask, (120, 160), None, None), mask[::2, ::2])
    assert seen_by_depth(mask, (100, 160), None, None) is None
