# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""The objects' points, against a loop over their pixels."""

from __future__ import annotations

import numpy as np
import pytest

from m4sam_core.objects import CameraModel, ObjectFinder
from m4sam_core.objects.cloud import POINT, object_points
from m4sam_core.objects.seen import FrameView

HEIGHT, WIDTH = 120, 160
PINHOLE = CameraModel(WIDTH, HEIGHT, 130.0, 128.0, 79.0, 61.0)
LENS = CameraModel(WIDTH, HEIGHT, 130.0, 128.0, 79.0, 61.0, distortion=(-0.2, 0.05, 0.001, -0.001, 0.0))


def frame(camera, rgb):
    rng = np.random.default_rng(0)
    mask, depth = np.zeros((HEIGHT, WIDTH), np.uint8), np.full((HEIGHT, WIDTH), 3000, np.uint16)
    for rows, columns, distance in ((slice(40, 80), slice(30, 75), 1500), (slice(10, 35), slice(100, 150), 2200)):
        mask[rows, columns] = 255
        depth[rows, columns] = distance + rng.integers(-20, 20, depth[rows, columns].shape)
    depth[50:55, 40:50], depth[60, 60] = 0, 2900  # a hole, and a reading of what is behind
    view, note = FrameView.of(mask, None, depth, 0.001, camera, None, rgb)
    return ObjectFinder().look(mask, view, note, 0.0, 0), view


@pytest.mark.parametrize("camera", [PINHOLE, LENS], ids=["pinhole", "lens"])
@pytest.mark.parametrize("coloured", [True, False])
def test_every_reading_of_an_object_is_one_point(camera, coloured):
    rgb = np.random.default_rng(1).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8) if coloured else None
    found, view = frame(camera, rgb)
    assert len(found.objects) == 2
    rays, metres = camera.rays((slice(0, HEIGHT), slice(0, WIDTH))), view.depth.depth * np.float32(0.001)
    expected = []
    for item in found.objects:
        near, far = item.depth_range_m
        for row, column in np.argwhere((found.labels == item.id) & (metres >= near) & (metres <= far)):
            z, (x, y) = metres[row, column], rays[row, column] * metres[row, column]
            red, green, blue = rgb[row, column].astype(int) if coloured else (0, 0, 0)
            expected.append((x, y, z, red << 16 | green << 8 | blue, item.id))
    dense = object_points(found, view, organised=False)
    np.testing.assert_array_equal(dense, np.array(expected, POINT))
    organised = object_points(found, view, organised=True)
    assert organised.shape == (HEIGHT, WIDTH)
    there = np.isfinite(organised["z"])
    assert np.count_nonzero(there) == len(dense)
    np.testing.assert_array_equal(np.sort(organised[there]), np.sort(dense))
    assert np.isnan(organised["z"][50:55, 40:50]).all()
    assert np.isnan(organised["z"][60, 60])
