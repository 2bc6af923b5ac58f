# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
import time

import cv2
import numpy as np
import pytest

from m4sam_core.errors import InputError
from m4sam_core.rgbd.pictures import color_depth, contact_sheet, draw_overlay, fit_picture

GREY = np.full((120, 160, 3), 128, np.uint8)


def disc() -> np.ndarray:
    mask = np.zeros((120, 160), np.uint8)
    cv2.circle(mask, (80, 60), 30, 255, -1)
    return mask


def test_inside_is_tinted_outside_is_untouched():
    overlay = draw_overlay(GREY, disc(), color=(255, 0, 0))
    assert overlay[60, 80, 0] > 128 > overlay[60, 80, 1]
    assert (overlay[:20] == GREY[:20]).all()
    assert (GREY == 128).all()


def test_contour_is_visible_on_any_ground():
    for level in (0, 128, 255):
        rgb = np.full((120, 160, 3), level, np.uint8)
        overlay = draw_overlay(rgb, disc(), alpha=0.0).astype(int)
        assert np.abs(overlay - level).max() > 100, level


def test_a_mask_of_noise_takes_no_seconds_and_leaves_what_is_around_it():
    mask = np.zeros((1080, 1920), np.uint8)
    mask[:, 600:] = np.random.default_rng(0).integers(0, 2, (1080, 1320), np.uint8) * 255
    grey = np.full((*mask.shape, 3), 128, np.uint8)
    started = time.process_time()
    overlay = draw_overlay(grey, mask, alpha=0.0)
    assert time.process_time() - started < 1.5
    assert (overlay[:, :590] == 128).all()
    assert (overlay[:, 610:] != 128).any(axis=2).mean() > 0.9


def test_alpha_zero_leaves_the_inside():
    overlay = draw_overlay(GREY, disc(), alpha=0.0)
    assert (overlay[50:70, 70:90] == 128).all()


def test_empty_and_full_masks():
    assert (draw_overlay(GREY, np.zeros((120, 160), np.uint8)) == GREY).all()
    assert draw_overlay(GREY, np.full((120, 160), 255, np.uint8)).shape == GREY.shape


def test_threshold_is_127():
    assert (draw_overlay(GREY, np.full((120, 160), 127, np.uint8)) == GREY).all()
    assert (draw_overlay(GREY, np.full((120, 160), 128, np.uint8)) != GREY).any()


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (16, 9), (480, 640)])
@pytest.mark.parametrize("caption", ["t 1.2 s", "a very long caption that cannot fit into a small picture", "größe"])
def test_caption_fits_any_picture(size, caption):
    rgb = np.full((*size, 3), 200, np.uint8)
    overlay = draw_overlay(rgb, np.zeros(size, np.uint8), caption=caption)
    assert overlay.shape == rgb.shape
    assert (overlay != rgb).any()


@pytest.mark.parametrize(
    ("rgb", "mask", "alpha"),
    [
        (GREY[..., 0], disc(), 0.5),
        (GREY.astype(np.float32), disc(), 0.5),
        (GREY, disc()[:60], 0.5),
        (GREY, disc() > 0, 0.5),
        (GREY, disc(), 1.5),
        (GREY, disc(), float("nan")),
    ],
)
def test_unusable_input_is_refused(rgb, mask, alpha):
    with pytest.raises(InputError, match="expected"):
        draw_overlay(rgb, mask, alpha)


def test_contact_sheet_places_tiles_row_by_row():
    tiles = [np.full((10, 20, 3), 40 + 40 * index, np.uint8) for index in range(5)]
    sheet = contact_sheet(tiles, 2, gap_px=2)
    assert sheet.shape == (3 * 12 + 2, 2 * 22 + 2, 3)
    assert sheet[7, 12, 0] == 40
    assert sheet[7, 34, 0] == 80
    assert sheet[31, 12, 0] == 200


def test_contact_sheet_keeps_the_aspect_ratio_of_other_sizes():
    sheet = contact_sheet([np.full((10, 20, 3), 255, np.uint8), np.full((40, 40, 3), 255, np.uint8)], 2, gap_px=0)
    assert (sheet[:, :20] == 255).all()
    assert int((sheet[5, 20:, 0] == 255).sum()) == 10


def test_contact_sheet_refuses_nothing():
    with pytest.raises(InputError, match="at least one tile"):
        contact_sheet([], 3)
    with pytest.raises(InputError, match="columns"):
        contact_sheet([GREY], 0)


def test_fit_picture_never_exceeds_the_cell():
    for shape in ((1, 500, 3), (500, 1, 3), (33, 77, 3)):
        fitted = fit_picture(np.zeros(shape, np.uint8), 64, 48)
        assert fitted.shape[0] <= 48
        assert fitted.shape[1] <= 64


@pytest.mark.parametrize("dtype", [np.uint16, np.float32, np.uint8])
def test_depth_is_warm_near_cold_far_black_where_unknown(dtype):
    depth = np.linspace(10, 200, 100).astype(dtype)[None].repeat(10, 0)
    depth[:, 40] = 0
    picture = color_depth(depth).astype(int)
    assert picture[0, 5, 0] > picture[0, 5, 2]
    assert picture[0, 85, 2] > picture[0, 85, 0]
    assert not picture[0, 40].any()


def test_depth_without_any_reading_is_black():
    assert not color_depth(np.full((4, 4), np.nan, np.float32)).any()
    assert not color_depth(np.zeros((4, 4), np.uint16)).any()
