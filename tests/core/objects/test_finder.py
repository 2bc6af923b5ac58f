# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""What one frame shows: how many things, where each is, and what remains without depth or calibration."""

from __future__ import annotations

import json

import numpy as np
import pytest

from m4sam_core.errors import InputError
from m4sam_core.objects import CameraModel, ObjectFinder, ObjectsConfig, as_record
from tests.core.objects.scenes import CAMERA, HEIGHT, WIDTH, K, point, scene


def find(mask, depth, **more):
    return ObjectFinder().update(mask, None, depth, 0.0, **{"camera": CAMERA, **more})


def test_the_centroid_is_that_of_the_visible_surface():
    mask, depth = scene((60, 50, 80, 100, 1.5))
    (thing,) = find(mask, depth).objects
    np.testing.assert_allclose(thing.centroid_m, point(99.5, 99.5, 1.5), atol=0.01)
    assert thing.distance_m == pytest.approx(np.linalg.norm(thing.centroid_m))
    assert (thing.box_px, thing.area_px, thing.is_main) == ((60, 50, 80, 100), 8000, True)
    np.testing.assert_allclose(sorted(thing.box.size), [0.0, 0.48, 0.6], atol=0.05)


@pytest.mark.parametrize(("across", "down"), [(320, 180), (605, 601), (9, 700), (1, 720)])
def test_a_large_thing_of_which_few_pixels_are_asked_is_not_beside_itself(across, down):
    """Sampled from its corner, a thing in a large image was centimetres too far up and left."""
    camera = CameraModel(1280, 720, 900.0, 900.0, 639.5, 359.5)
    mask, depth = scene((300, 0, across, down, 1.0), height=720, width=1280)
    (thing,) = ObjectFinder(ObjectsConfig(min_area=0)).update(mask, None, depth, 0.0, camera=camera).objects
    expected = point(300 + (across - 1) / 2, (down - 1) / 2, 1.0, camera)
    np.testing.assert_allclose(thing.centroid_m, expected, atol=0.51 / 900)


def test_millimetres_and_metres_are_the_same_depth():
    mask, depth = scene((60, 50, 80, 100, 1.5))
    one, other = find(mask, depth), find(mask, (depth * 1000).astype(np.uint16))
    np.testing.assert_allclose(one.main.centroid_m, other.main.centroid_m, atol=1e-3)


@pytest.mark.parametrize("distance", [0.8, 1.5, 2.0])
def test_two_things_that_touch_are_two_when_30_cm_apart_in_depth(distance):
    mask, depth = scene((60, 50, 60, 100, distance), (120, 50, 60, 100, distance + 0.3))
    things = find(mask, depth).objects
    assert sorted(round(thing.centroid_m[2], 2) for thing in things) == pytest.approx([distance, distance + 0.3])


def test_one_sloping_thing_stays_one():
    mask, depth = scene((40, 50, 200, 100, 1.0))
    depth[50:150, 40:240] = np.linspace(1.0, 2.2, 200, dtype=np.float32)
    assert len(find(mask, depth).objects) == 1


@pytest.mark.parametrize("in_mask", [False, True])
def test_a_thing_behind_a_thin_post_is_one(in_mask):
    mask, depth = scene((80, 50, 120, 100, 1.5))
    depth[:, 135:145] = 0.8
    if not in_mask:
        mask[:, 135:145] = 0
    things = find(mask, depth).objects
    assert len(things) == 1 + in_mask
    behind = max(things, key=lambda thing: thing.centroid_m[2])
    assert behind.box_px == (80, 50, 120, 100)
    assert behind.centroid_m[2] == pytest.approx(1.5, abs=0.01)


def test_two_things_with_the_wall_between_them_are_two():
    mask, depth = scene((80, 50, 55, 100, 1.5), (145, 50, 55, 100, 1.5))
    assert len(find(mask, depth).objects) == 2


def test_holes_and_flying_pixels_move_nothing():
    rng = np.random.default_rng(0)
    mask, depth = scene((60, 50, 80, 100, 1.5))
    clean = find(mask, depth).main.centroid_m
    depth[50:150, 60:90] = 0  # a third of it unread
    depth[rng.random(depth.shape) < 0.3] = np.nan
    flying = rng.random(depth.shape) < 0.05
    depth[flying] = rng.uniform(0.3, 6, np.count_nonzero(flying))
    (thing,) = find(mask, depth).objects
    np.testing.assert_allclose(thing.centroid_m, clean, atol=0.02)
    assert 0.2 < thing.depth_share < 0.8


def test_a_mask_a_little_too_large_shows_no_second_thing():
    mask, depth = scene((60, 50, 80, 100, 1.5))
    mask[46:154, 56:144] = 255
    (thing,) = find(mask, depth).objects
    assert thing.centroid_m[2] == pytest.approx(1.5, abs=0.01)


@pytest.mark.parametrize(
    ("behind", "things"),
    [((slice(50, 130), slice(140, 260)), 1), ((slice(60, 120), slice(140, 160)), 2)],
    ids=["leak", "thing of its own"],
)
def test_a_mask_that_runs_over_into_what_is_behind_shows_no_second_thing(behind, things):
    mask, depth = scene((60, 40, 80, 120, 1.5))
    depth[behind], mask[60:120, 140:160] = 2.5, 255
    found = find(mask, depth).objects
    assert len(found) == things
    nearest = min(found, key=lambda thing: thing.distance_m)
    assert nearest.centroid_m[2] == pytest.approx(1.5, abs=0.01)


@pytest.mark.parametrize(
    ("depth", "camera", "why"),
    [
        (None, CAMERA, "no depth"),
        (np.zeros((HEIGHT, WIDTH), np.float32), CAMERA, None),
        (np.full((HEIGHT, WIDTH), 128, np.uint8), CAMERA, "got uint8"),
        (np.ones((HEIGHT, WIDTH), np.float32), None, "no camera_info"),
        (np.ones((99, 320), np.float32), CAMERA, "intrinsics of its own"),
        (np.ones((HEIGHT, WIDTH), np.float32), CameraModel(640, 360, 500, 500, 320, 180), "camera_info: expected"),
    ],
    ids=["none", "all holes", "relative", "uncalibrated", "another shape", "another camera"],
)
def test_without_usable_depth_objects_have_no_position_and_say_why(depth, camera, why):
    mask, _ = scene((60, 50, 80, 100, 1.5))
    found = find(mask, depth, camera=camera)
    (thing,) = found.objects
    assert (thing.centroid_m, thing.box, thing.distance_m) == (None, None, None)
    assert found.note is None if why is None else why in found.note


def test_depth_of_half_the_resolution_gives_the_same_position():
    mask, depth = scene((60, 50, 80, 100, 1.5))
    whole, half = find(mask, depth).main, find(mask, depth[::2, ::2]).main
    np.testing.assert_allclose(half.centroid_m, whole.centroid_m, atol=0.01)


def test_depth_with_intrinsics_of_its_own_is_found_through_them():
    mask, depth = scene((60, 50, 80, 100, 1.5))
    # The depth image is the middle of the colour image, cut out.
    own = CameraModel.from_info(240, 180, [250.0, 0, 119.5, 0, 250.0, 89.5, 0, 0, 1])
    cut = depth[30:210, 40:280]
    found = find(mask, cut, depth_camera=own).main
    np.testing.assert_allclose(found.centroid_m, find(mask, depth).main.centroid_m, atol=0.01)


def test_a_lens_is_not_taken_for_a_pinhole():
    lens = CameraModel.from_info(WIDTH, HEIGHT, K, [-0.3, 0.1, 0, 0, 0])
    mask, depth = scene((5, 5, 40, 40, 1.5))
    through_lens, through_pinhole = find(mask, depth, camera=lens).main, find(mask, depth).main
    # Barrel distortion: the corner looks further out than a pinhole thinks.
    assert through_lens.centroid_m[0] < through_pinhole.centroid_m[0] - 0.05


def test_labels_carry_the_ids_and_nothing_else():
    mask, depth = scene((20, 20, 60, 60, 1.0), (200, 100, 60, 60, 2.0))
    found = find(mask, depth)
    assert found.labels.dtype == np.uint16
    np.testing.assert_array_equal(found.labels > 0, mask > 0)
    assert {int(value) for value in np.unique(found.labels)} == {0, *(thing.id for thing in found.objects)}


def test_small_specks_are_left_out_and_large_images_keep_their_outline():
    mask, depth = scene((301, 203, 407, 311, 1.5), height=720, width=1280)
    mask[10:14, 10:14] = 255
    (thing,) = find(mask, depth, camera=CameraModel(1280, 720, 900, 900, 640, 360)).objects
    assert thing.box_px == (301, 203, 407, 311)


def test_the_score_is_the_mean_probability():
    mask, depth = scene((60, 50, 80, 100, 1.5))
    probability = np.where(mask > 0, np.float32(0.75), np.float32(0.1))
    found = ObjectFinder(ObjectsConfig()).update(mask, probability, depth, 0.0, camera=CAMERA)
    assert found.main.score == pytest.approx(0.75)


def test_a_mask_that_is_none_is_refused():
    with pytest.raises(InputError, match=r"objects mask: expected uint8 \(H, W\), got float32"):
        find(np.zeros((8, 8), np.float32), None)


def test_a_frame_is_one_line_of_json():
    mask, depth = scene((60, 50, 80, 100, 1.5))
    line = json.dumps(as_record(12, "camera", find(mask, depth)), allow_nan=False)
    record = json.loads(line)
    assert (record["stamp_ns"], record["frame_id"], record["objects"][0]["box_px"]) == (12, "camera", [60, 50, 80, 100])
    assert record["objects"][0]["distance_m"] == pytest.approx(1.59, abs=0.05)


@pytest.mark.parametrize(("factor", "kind"), [(1000, np.float32), (1, np.uint16)])  # millimetres; whole metres
def test_depth_that_is_hardly_in_its_unit_gives_no_positions(factor, kind):
    mask, depth = scene((60, 50, 80, 100, 1.5))
    found = find(mask, (depth * factor).astype(kind))
    assert found.objects
    assert all(item.distance_m is None for item in found.objects)
    assert "unit" in found.note or "not in metres" in found.note
    assert "objects have no position" in found.note


def test_a_principal_point_that_was_never_filled_in_is_no_calibration():
    with pytest.raises(InputError, match="principal point inside the 640x480 image"):
        CameraModel.from_info(640, 480, [1, 0, 0, 0, 1, 0, 0, 0, 1])
