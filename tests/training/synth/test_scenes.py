# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Situations that real cameras show, stories that only the past can tell, rooms into which things come."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from m4sam_core.errors import InputError
from m4sam_training.edge.pictures import cut_out, verify
from m4sam_training.synth.clip import PLAIN_STYLE, generate_clip
from m4sam_training.synth.geometry import Route, Wobble
from m4sam_training.synth.models.people import PARTS, dressed, load_people
from m4sam_training.synth.models.robots import lying_along, random_gripper
from m4sam_training.synth.models.vehicles import random_cycle, random_vehicle
from m4sam_training.synth.scenes.arrivals import draw_arrival
from m4sam_training.synth.scenes.situations import SituationBuilder, draw_situation
from m4sam_training.synth.scenes.stories import STORIES, StoryBuilder, draw_story
from m4sam_training.synth.scenes.streets import StreetBuilder, draw_street
from m4sam_training.synth.solids import Solid, import_trimesh

ASPECT = 4 / 3


def situation(kind, seed, style=PLAIN_STYLE):
    scene = getattr(SituationBuilder(style, np.random.default_rng(seed), ASPECT), kind)()
    return scene.render(0.0, 128, 96)


def story(kind, seed, frames=6):
    stamps = np.arange(frames) / 6
    scene = StoryBuilder(PLAIN_STYLE, np.random.default_rng(seed), ASPECT).story(kind, stamps)
    return scene, [scene.render(float(stamp), 128, 96)[2] for stamp in stamps]


@pytest.mark.parametrize("draw", [draw_situation, draw_story, draw_arrival, draw_street])
def test_same_seed_same_clip(draw) -> None:
    first, second = (list(generate_clip(3, 2, 96, 128, draw=draw)) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        assert np.array_equal(one.rgb, other.rgb)
        assert np.array_equal(one.label, other.label)


def test_sizes_spread_from_small_to_large() -> None:
    shares = np.array([(situation("sizes", seed)[2] > 0).mean() for seed in range(40)])
    assert (shares < 0.05).sum() >= 6
    assert (shares > 0.25).sum() >= 6


def test_grippers_come_in_and_are_not_salient() -> None:
    builder = SituationBuilder(PLAIN_STYLE, np.random.default_rng(5), ASPECT)
    stage = builder._table_stage()
    bare = stage.scene.draw(0.0, 128, 96).depth
    stage.scene.things.append(builder._gripper(stage, 1.0))
    _, depth, label = stage.scene.render(0.0, 128, 96)
    covered = depth < bare - 0.01
    assert covered.mean() > 0.01
    assert not label.any()


def test_a_gripper_lies_along_the_direction_asked_for() -> None:
    direction = np.array([0.3, 0.8, -0.5])
    yaw, pitch, roll = lying_along(direction)
    turn = cv2.Rodrigues(np.array([pitch, 0.0, 0.0]))[0] @ cv2.Rodrigues(np.array([0.0, 0.0, roll]))[0]
    assert yaw == 0
    np.testing.assert_allclose(turn @ [0, 1, 0], direction / np.linalg.norm(direction), atol=1e-9)
    mesh = random_gripper(np.random.default_rng(0), [])
    assert mesh.tints.shape == mesh.faces.shape


def test_some_workplaces_hold_nothing_salient() -> None:
    empty = [not situation("workplace", seed)[2].any() for seed in range(24)]
    assert 3 <= sum(empty) <= 16


@pytest.mark.parametrize("kind", [kind for kind in STORIES if kind not in ("equals", "outshone")])
def test_what_is_told_is_there_from_the_beginning(kind) -> None:
    scenes = [story(kind, seed) for seed in range(6)]
    assert all(scene.asked == "first" for scene, _ in scenes)
    assert sum((labels[0] == 1).any() for _, labels in scenes) >= 4, "a thing may hide or stand beside the picture"


@pytest.mark.parametrize("kind", ["joined", "hidden", "leaves", "vivid"])
def test_others_come_later(kind) -> None:
    for seed in range(4):
        _, labels = story(kind, seed)
        assert not (labels[0] > 1).any()
        assert any((label > 1).any() for label in labels)


def test_who_leaves_is_no_longer_asked_for() -> None:
    for seed in range(6):
        scene, labels = story("leaves", seed)
        if scene.until_s < 1.0:
            assert not (labels[-1] == 1).any()
            return
    pytest.fail("nothing ever left")


def test_of_equals_one_is_asked_for_and_the_same_one_all_along() -> None:
    for seed in range(3, 40):
        frames = list(generate_clip(seed, 4, 96, 128, draw=draw_story))
        if len(np.unique(frames[0].label[frames[0].mask > 0])) == 1 and len(np.unique(frames[0].label)) > 2:
            asked = {int(label) for frame in frames for label in np.unique(frame.label[frame.mask > 0])}
            assert len(asked) == 1
            return
    pytest.fail("no story of equals")


def test_who_comes_in_comes_through_the_border_and_is_meant() -> None:
    came, at_border = 0, 0
    for seed in range(12):
        frames = list(generate_clip(seed, 12, 96, 128, fps=15.0, draw=draw_arrival))
        assert all(np.array_equal(frame.mask > 0, frame.label > 0) for frame in frames)
        seen = set(np.unique(frames[0].label))
        for frame in frames[1:]:
            for label in set(np.unique(frame.label)) - seen:
                where = frame.label == label
                came += 1
                at_border += bool(where[0].any() or where[-1].any() or where[:, 0].any() or where[:, -1].any())
                seen.add(label)
    assert came >= 4
    assert at_border >= 0.5 * came, "some come out from behind another, or all the way from one frame to the next"


def test_a_route_goes_from_place_to_place_in_time() -> None:
    still = Wobble(np.zeros(3), np.zeros((2, 3)), np.zeros((2, 3)))
    route = Route(np.array([1.0, 2.0]), np.array([[0.0, 0, 0], [4.0, 0, 2.0]]), still)
    np.testing.assert_allclose([route.at(t) for t in (0.0, 1.5, 9.0)], [[0, 0, 0], [2, 0, 1], [4, 0, 2]])


def test_people_wear_colours_by_part(tmp_path) -> None:
    corners = np.array([[0, 0, 0], [1, 0, 0], [0, 2, 0], [1, 2, 1]], np.float32)
    np.savez(
        tmp_path / "000.npz", vertices=corners, faces=[[0, 1, 2], [1, 2, 3]], part=np.array([0, PARTS.index("shirt")])
    )
    (body,) = load_people(tmp_path)
    tints = dressed(body, np.random.default_rng(0), 0.8).tints
    assert tints.shape == (2, 3)
    assert not np.array_equal(tints[0], tints[1])
    assert load_people(tmp_path / "none") == []
    crowd = situation("crowd", 2, replace(PLAIN_STYLE, people=[body]))
    assert crowd[2].any()


def test_a_thing_on_a_plain_board_is_cut_out() -> None:
    photo = np.full((150, 200, 3), 200, np.uint8) + np.linspace(0, 30, 200).astype(np.uint8)[:, None]
    cv2.ellipse(photo, (90, 80), (40, 25), 20, 0, 360, (40, 60, 90), -1)
    still = cut_out(photo)
    assert still is not None
    truth = np.pi * 40 * 25 / (80 * 1.06) ** 2
    assert (still[..., 3] > 127).mean() == pytest.approx(truth, rel=0.25)
    assert cut_out(np.full((150, 200, 3), 200, np.uint8)) is None


def test_photographs_must_be_those_of_the_list(tmp_path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"other")
    listing = tmp_path / "list"
    listing.write_text(f"{'0' * 64}  a.jpg\n", encoding="utf-8")
    with pytest.raises(InputError, match="found another one"):
        verify(tmp_path, listing)
    listing.write_text(f"{'0' * 64}  b.jpg\n", encoding="utf-8")
    with pytest.raises(InputError, match="found none"):
        verify(tmp_path, listing)


def street(seed, style=PLAIN_STYLE):
    return StreetBuilder(style, np.random.default_rng(seed), ASPECT).build()


def test_the_vehicle_that_is_meant_is_nearer_and_larger_than_the_traffic() -> None:
    shares, others = [], 0
    for seed in range(24):
        scene = street(seed)
        (meant,) = [thing for thing in scene.things if thing.salient]
        traffic = [thing for thing in scene.things if isinstance(thing.body, Solid) and not thing.salient]
        assert all(thing.width_m < meant.width_m and thing.position[2] > meant.position[2] for thing in traffic)
        shares.append((scene.render(0.0, 128, 96)[2] > 0).mean())
        others += len(traffic)
    assert min(shares) > 0.003
    assert max(shares) > 0.25
    assert others > 12


def test_a_rider_is_meant_with_what_is_ridden(tmp_path) -> None:
    shape = import_trimesh().creation.capsule(height=1.0, radius=0.2)
    np.savez(tmp_path / "person.npz", vertices=shape.vertices, faces=shape.faces, part=np.zeros(len(shape.faces), int))
    style = replace(PLAIN_STYLE, people=load_people(tmp_path))
    counts = [sum(thing.salient for thing in street(seed, style).things) for seed in range(30)]
    assert set(counts) == {1, 2}


@pytest.mark.parametrize("draw", [random_vehicle, random_cycle])
def test_vehicles_are_longer_than_tall_and_stand_on_wheels(draw) -> None:
    for seed in range(30):
        mesh = draw(np.random.default_rng(seed), 0.5)
        long, tall, wide = np.ptp(mesh.vertices, axis=0)
        assert long == pytest.approx(1.0, abs=1e-5)
        assert wide < 0.65 * long
        assert tall < 0.8 * long
        lowest = mesh.vertices[:, 1] > mesh.vertices[:, 1].max() - 0.02 * tall
        assert np.ptp(mesh.vertices[lowest, 0]) > 0.4
        assert mesh.tints.shape == mesh.faces.shape
        assert mesh.tints.min() >= 0
        assert mesh.tints.max() <= 1.0
