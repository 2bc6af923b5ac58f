# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Identity over time, and the main object."""

from __future__ import annotations

import numpy as np
import pytest

from m4sam_core.objects import ObjectFinder, ObjectsConfig
from m4sam_core.objects.attention import Attention
from m4sam_core.objects.identity.track import Sighting
from m4sam_core.objects.identity.tracker import LAST_ID, Tracker
from tests.core.objects.scenes import CAMERA, scene

FPS = 15.0


def ids(found):
    return [thing.id for thing in sorted(found.objects, key=lambda thing: thing.box_px[0])]


def update(finder, index, *boxes, **more):
    mask, depth = scene(*boxes)
    return finder.update(mask, None, depth, index / FPS, camera=CAMERA, **more)


def test_a_thing_keeps_its_id_while_it_moves():
    finder = ObjectFinder()
    seen = {ids(update(finder, i, (10 + 4 * i, 60, 40, 60, 1.5)))[0] for i in range(50)}
    assert seen == {1}


def test_an_id_survives_two_seconds_out_of_sight():
    finder = ObjectFinder()
    for i in range(15):
        update(finder, i, (20, 60, 40, 60, 1.5), (200, 60, 40, 60, 2.5))
    for i in range(15, 45):
        assert ids(update(finder, i, (200, 60, 40, 60, 2.5))) == [2]
    # It has moved on meanwhile by its own width.
    assert ids(update(finder, 45, (60, 60, 40, 60, 1.5), (200, 60, 40, 60, 2.5))) == [1, 2]


def test_a_forgotten_things_id_is_not_given_to_another():
    finder = ObjectFinder(ObjectsConfig(remember_s=1.0))
    update(finder, 0, (20, 60, 40, 60, 1.5))
    assert ids(update(finder, 30, (20, 60, 40, 60, 1.5))) == [2]


def test_a_thing_elsewhere_in_space_is_another():
    finder = ObjectFinder()
    update(finder, 0, (20, 60, 40, 60, 1.0))
    assert ids(update(finder, 1, (20, 60, 40, 60, 3.0))) == [2]


def test_two_that_cross_keep_their_ids():
    finder = ObjectFinder()
    for i in range(60):
        near, far = (20 + 4 * i, 60, 40, 80, 1.2), (260 - 4 * i, 70, 40, 60, 2.0)
        mask, depth = scene(far, near)
        found = finder.update(mask, None, depth, i / FPS, camera=CAMERA)
        by_distance = [thing.id for thing in sorted(found.objects, key=lambda thing: thing.centroid_m[2])]
        assert by_distance in ([1, 2], [1]), i
    assert by_distance == [1, 2]


def test_a_thing_seen_on_both_sides_of_another_is_one():
    finder = ObjectFinder()
    for i in range(10):
        found = update(finder, i, (80, 60, 120, 60, 2.0))
    whole = ids(found)
    mask, depth = scene((80, 60, 120, 60, 2.0), (110, 40, 60, 100, 1.0))
    found = finder.update(mask, None, depth, 1.0, camera=CAMERA)
    behind = next(thing for thing in found.objects if thing.centroid_m[2] > 1.5)
    assert ([behind.id], len(found.objects)) == (whole, 2)
    assert behind.visibility == pytest.approx(0.5, abs=0.1)


def test_ids_end_with_their_scene():
    finder = ObjectFinder()
    first = ids(update(finder, 0, (20, 60, 40, 60, 1.5), scene_id=0))
    second = ids(update(finder, 1, (20, 60, 40, 60, 1.5), scene_id=1))
    assert not set(first) & set(second)
    # So does a scene whose time goes back, as a bag that loops.
    third = ids(update(finder, 0, (20, 60, 40, 60, 1.5), scene_id=1))
    assert not set(third) & {*first, *second}


def test_a_scene_that_has_used_up_every_id_reuses_none():
    tracker = Tracker(remember_s=0.0)
    tracker._next_id = LAST_ID
    far = [Sighting((x, 0, 10, 10), (x + 5, 5), 100, None) for x in (0, 1000)]
    tracks = tracker.follow([None, None], far, 0.0, 8.0)
    assert [track and track.id for track in tracks] == [LAST_ID, None]
    tracker.begin_scene()
    assert tracker.follow([None], far[:1], 1.0, 8.0)[0].id == 1


def test_depth_whose_scale_jumps_gives_no_position():
    finder, rng = ObjectFinder(), np.random.default_rng(1)
    mask, depth = scene((60, 50, 80, 100, 1.5))
    for i in range(10):
        found = finder.update(mask, None, depth * np.float32(rng.choice([0.9, 1.1])), i / FPS, camera=CAMERA)
    assert found.main.centroid_m is None
    assert "steady scale" in found.note


def test_the_first_jump_of_the_scale_is_noticed():
    finder = ObjectFinder()
    mask, depth = scene((60, 50, 80, 100, 1.5))
    assert finder.update(mask, None, depth, 0.0, camera=CAMERA).note is None
    assert "steady scale" in finder.update(mask, None, depth * np.float32(1.2), 1 / FPS, camera=CAMERA).note


@pytest.mark.parametrize("fps", [30.0, 15.0, 3.0])
def test_a_camera_that_drives_to_and_fro_keeps_its_positions(fps):
    finder = ObjectFinder()
    for i in range(40):
        mask, depth = scene((60, 50, 80, 100, 1.5))
        moved = 0.4 * np.sin(2 * i / fps)  # up to 0.8 m/s and 1.6 m/s^2
        found = finder.update(mask, None, depth - np.float32(moved), i / fps, camera=CAMERA)
        assert found.note is None
    assert found.main.centroid_m[2] == pytest.approx(1.5 - moved, abs=0.01)


def test_attention_does_not_flutter():
    attention, rng = Attention(1.5, 4), np.random.default_rng(0)
    mains = [attention.update({1: 1 + rng.normal(0, 0.2), 2: 1 + rng.normal(0, 0.2)}) for _ in range(150)]
    assert len(set(mains)) == 1


def test_attention_moves_within_five_frames():
    attention = Attention(1.5, 4)
    for _ in range(20):
        attention.update({1: 1.0, 2: 0.6})
    moved = [attention.update({2: 1.0}) for _ in range(5)]
    assert moved[-1] == 2
    for _ in range(20):
        attention.update({1: 0.5, 2: 1.0})
    assert [attention.update({1: 3.0, 2: 0.5}) for _ in range(5)][-1] == 1
