# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""The camera's geometry: lenses undone, sizes scaled, nonsense refused."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from m4sam_core.errors import InputError
from m4sam_core.objects import CameraModel
from m4sam_core.objects.camera import project
from tests.core.objects.scenes import HEIGHT, WIDTH, K

WHOLE = (slice(0, HEIGHT), slice(0, WIDTH))
LENSES = [
    ([-0.25, 0.08, 0.001, -0.0005, 0.0], "plumb_bob"),
    ([-0.2, 0.05, 0.0, 0.0, 0.0, 0.1, 0.01, 0.0], "rational_polynomial"),
    ([0.05, -0.01, 0.002, 0.0], "equidistant"),
]


@pytest.mark.parametrize(("d", "model"), LENSES, ids=[model for _, model in LENSES])
def test_rays_lead_back_to_a_quarter_of_a_pixel(d, model):
    camera = CameraModel.from_info(WIDTH, HEIGHT, K, d, model)
    rays = camera.rays(WHOLE)
    assert np.isfinite(rays).all()
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    back = project(camera, rays.reshape(-1, 2).astype(np.float64)).reshape(HEIGHT, WIDTH, 2)
    assert np.abs(back - np.stack([columns, rows], axis=-1)).max() < 0.25


def test_pixels_beyond_the_lens_have_no_ray():
    camera = CameraModel.from_info(WIDTH, HEIGHT, [100.0, 0, 159.5, 0, 100.0, 119.5, 0, 0, 1], [-0.4, 0, 0, 0, 0])
    rays = camera.rays(WHOLE)
    assert np.isnan(rays[0, 0]).all()
    assert np.isfinite(rays[HEIGHT // 2, WIDTH // 2]).all()


def test_a_window_is_a_part_of_the_whole():
    for d in ([], LENSES[0][0]):
        camera = CameraModel.from_info(WIDTH, HEIGHT, K, d)
        part = camera.rays((slice(30, 90), slice(50, 120)), 2)
        np.testing.assert_array_equal(part, camera.rays(WHOLE)[30:90:2, 50:120:2])


def test_a_resized_camera_looks_the_same_way():
    camera = CameraModel.from_info(WIDTH, HEIGHT, K)
    half = camera.resized(WIDTH // 2, HEIGHT // 2)
    # The middle of two pixels is the middle of the one they become.
    expected = camera.rays(WHOLE)[:2, :2].mean(axis=(0, 1))
    np.testing.assert_allclose(half.rays((slice(0, 1), slice(0, 1)))[0, 0], expected, atol=1e-6)


def test_rectified_images_are_described_by_the_projection():
    p = [240.0, 0, 150, 0, 0, 240.0, 110, 0, 0, 0, 1, 0]
    camera = CameraModel.from_info(WIDTH, HEIGHT, K, [-0.3, 0.1, 0, 0, 0], p=p)
    assert (camera.fx, camera.cx, camera.distortion) == (240.0, 150.0, ())


def test_rectifying_straightens_lines():
    camera = CameraModel.from_info(WIDTH, HEIGHT, K, [-0.3, 0.1, 0, 0, 0])
    line = np.stack([np.linspace(-0.5, 0.5, 50), np.full(50, 0.3)], axis=1)
    bent = np.zeros((HEIGHT, WIDTH), np.uint8)
    cv2.polylines(bent, [np.rint(project(camera, line)).astype(np.int32)], False, 255)
    rows, columns = np.nonzero(camera.rectify(bent, smooth=False))
    assert np.abs(np.polyval(np.polyfit(columns, rows, 1), columns) - rows).max() < 1.5
    assert rows.mean() == pytest.approx(0.3 * 250 + 119.5, abs=1)


@pytest.mark.parametrize(
    ("k", "d", "model", "why"),
    [
        ([0.0] * 9, [], "plumb_bob", "calibrated camera"),
        ([np.nan, *K[1:]], [], "plumb_bob", "calibrated camera"),
        (K, [0.1] * 5, "inverse_magic", "got 'inverse_magic' with 5"),
        (K, [np.inf, 0, 0, 0, 0], "plumb_bob", "finite coefficients"),
    ],
)
def test_what_is_no_calibration_is_refused(k, d, model, why):
    with pytest.raises(InputError, match=why):
        CameraModel.from_info(WIDTH, HEIGHT, k, d, model)
