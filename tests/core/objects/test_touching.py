# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Identity where the mask says too little: things that touch, things whose joints it loses, things behind others."""

from __future__ import annotations

import numpy as np

from m4sam_core.objects import ObjectFinder
from m4sam_core.objects.identity.touching import Claim, Look, shared_out
from m4sam_core.objects.things import Thing
from tests.core.objects.scenes import CAMERA, scene

FPS = 15.0
RED, BLUE = (200, 40, 40), (40, 40, 200)


def update(finder, index, *boxes, colours=None):
    mask, depth = scene(*boxes)
    rgb = np.full((*mask.shape, 3), 120, np.uint8)
    for (left, top, across, down, _), colour in zip(boxes, colours or (), strict=False):
        rgb[top : top + down, left : left + across] = colour
    return finder.update(mask, None, depth, index / FPS, camera=CAMERA, rgb=rgb)


def ids(found):
    return [thing.id for thing in sorted(found.objects, key=lambda thing: thing.box_px[0])]


def test_two_known_apart_that_touch_keep_their_ids_and_pixels():
    finder, red, blue = ObjectFinder(), None, None
    for i in range(40):
        red, blue = (min(40 + 3 * i, 100), 60, 60, 80, 1.5), (max(240 - 3 * i, 160), 70, 50, 60, 1.5)
        found = update(finder, i, red, blue, colours=(RED, BLUE))
        assert sorted(ids(found)) == [1, 2]
    assert red[0] + red[2] == blue[0]  # they touch
    for thing, box in zip(sorted(found.objects, key=lambda thing: thing.box_px[0]), (red, blue), strict=True):
        assert abs(thing.area_px / (box[2] * box[3]) - 1) < 0.1
        assert abs(thing.centroid_m[2] - 1.5) < 0.01
    after = [update(finder, 40 + i, (100 - 3 * i, 60, 60, 80, 1.5), blue, colours=(RED, BLUE)) for i in range(10)]
    assert ids(after[-1]) == ids(found)


def test_two_that_touch_at_first_are_two_when_they_part():
    finder = ObjectFinder()
    seen = [ids(update(finder, i, (80, 60, 60, 80, 1.5), (140 + i, 90, 30, 50, 1.5))) for i in range(40)]
    assert seen[0] == [1]
    assert seen[-1] == [1, 2]
    assert seen.index([1, 2]) < 12  # a dozen pixels apart they are no parts of one thing any more


def test_a_thing_whose_joints_the_mask_loses_is_one():
    rng, finder, seen = np.random.default_rng(3), ObjectFinder(), []
    for i in range(60):
        head, body, foot = (140, 40, 40, 40, 1.2), (130, 84, 60, 60, 1.2), (145, 148, 30, 20, 1.2)
        joined = rng.random(2) < 0.3 * (i > 0)
        joints = [
            joint for joint, there in zip([(155, 80, 10, 4, 1.2), (155, 144, 10, 4, 1.2)], joined, strict=True) if there
        ]
        seen.append(ids(update(finder, i, head, body, foot, *joints)))
    assert len(seen[0]) > 1
    assert set(map(tuple, seen[20:])) == {(1,)}


def test_a_thing_comes_out_on_the_other_side_of_what_hid_it():
    finder = ObjectFinder()
    for i in range(70):
        found = update(finder, i, (20 + 4 * i, 100, 24, 24, 2.0), (100, 60, 120, 120, 1.0))
        found_ids = {round(thing.centroid_m[2]): thing.id for thing in found.objects}
        if i < 10:
            first = found_ids[2]
    assert found_ids[2] == first


def test_what_is_too_small_to_be_a_part_belongs_to_the_others():
    def block(left, top, width, height):
        inside = np.ones((height, width), bool)
        return Thing((slice(top, top + height), slice(left, left + width)), inside, inside.size, (0.0, 0.0))

    patch, large, small = block(10, 10, 60, 40), block(10, 10, 56, 40), block(66, 10, 4, 40)
    claims = [Claim(Look(thing, None), (0, 0)) for thing in (large, small)]
    both, one, none = (shared_out(patch, claims, None, least) for least in (10, 1000, 1e5))
    assert sum(part.area_px for part in both) == patch.area_px
    assert one[0].area_px == patch.area_px and one[1] is None  # noqa: PT018 (one claim)
    assert none[0] is patch and none[1] is None  # noqa: PT018 (nothing is lost)
