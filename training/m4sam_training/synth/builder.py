# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Draws scenes: a room or a photograph, salient objects in front, distractors, clutter and people around them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from m4sam_training.synth.bodies import Bodies, pale, photo_texture
from m4sam_training.synth.geometry import Pose, Surface, Vector, Wobble
from m4sam_training.synth.scene import Body, ByteImage, Scene, SceneStyle, Thing
from m4sam_training.synth.sprites import random_sprite
from m4sam_training.synth.texture import FloatImage, random_colour


def _apart(rest: Pose, first: Thing, second: Thing) -> bool:
    """Whether two things hide little of each other at rest."""
    (x1, y1, z1), (x2, y2, z2) = rest.project(first.position), rest.project(second.position)
    reach_px = rest.focal_px * (first.width_m / max(z1, 0.2) + second.width_m / max(z2, 0.2)) / 2
    return bool(np.hypot(x1 - x2, y1 - y2) > 0.75 * reach_px)


class Stage(NamedTuple):
    """Where a scene takes place: its camera at rest, the distance of its subject, the ground under it, the far end."""

    scene: Scene
    rest: Pose
    subject_m: float
    ground_m: float
    far: float


class SceneBuilder:
    """Draws scenes of one style from a generator."""

    def __init__(self, style: SceneStyle, rng: np.random.Generator, aspect: float) -> None:
        """`aspect` is width / height of the images to come."""
        self.style, self.rng, self.aspect = style, rng, aspect
        light = np.array([rng.uniform(-1, 1), rng.uniform(-1.2, -0.2), rng.uniform(0.5, 1.5)])
        self.bodies = Bodies(style, rng, light)

    def build(self) -> Scene:
        """A room or a photograph, salient objects in front, distractors behind and beside."""
        rng = self.rng
        stage = self.stage()
        scene, rest, subject_m, ground_m, far = stage
        scene.surfaces = self.surroundings(stage)
        self._place_salient(scene, rest, subject_m, ground_m)
        self._place_distractors(scene, rest, subject_m, ground_m, far)
        if rng.random() < self.style.arm_share:
            scene.things.append(self._arm(scene.things[0]))
        return scene

    def stage(self) -> Stage:
        """A camera that looks at something on the ground, and nothing else yet."""
        rng = self.rng
        focal_ratio, far = rng.uniform(0.75, 1.15), rng.uniform(1.6, 6.0)
        subject_m = rng.uniform(0.6, min(2.2, far * 0.6))
        pitch = float(rng.choice([rng.uniform(-0.05, 0.2), rng.uniform(0.2, 0.75)]))
        sway = self.style.camera_motion * rng.uniform(0, 1) * subject_m
        scene = Scene(
            surfaces=[],
            things=[],
            camera_path=Wobble.draw(rng, [0.16 * sway, 0.06 * sway, 0.12 * sway], 0.8),
            camera_turn=Wobble.draw(
                rng, self.style.camera_motion * rng.uniform(0, 1) * np.array([0.05, 0.08, 0.05]), 0.8
            ),
            pitch=pitch,
            focal_ratio=focal_ratio,
            shadow=rng.uniform(0.15, 0.7),
        )
        rest = Pose.look(np.zeros(3), np.array([pitch, 0.0, 0.0]), focal_ratio * 640, 640, round(640 / self.aspect))
        ground_m = float(rest.point_at(320, rest.height * rng.uniform(0.62, 0.85), subject_m)[1])
        return Stage(scene, rest, subject_m, ground_m, far)

    def surroundings(self, stage: Stage) -> list[Surface]:
        """A photograph behind everything, or a room."""
        if self.style.backdrops and self.rng.random() < self.style.backdrop_share:
            return [self._backdrop(stage.rest, stage.far, self.style.backdrops)]
        return self._room(stage.ground_m, stage.far, stage.subject_m)

    def _backdrop(self, rest: Pose, far: float, photos: Sequence[ByteImage]) -> Surface:
        photo = photos[int(self.rng.integers(len(photos)))]
        texture = photo_texture(self.rng, photo, 1024, 0.5)
        middle = rest.point_at(320, rest.height / 2, far)
        lean = self.rng.uniform(-0.5, 0.5)
        half = far * 640 / rest.focal_px * 0.75
        across = np.array([2 * half, 0.0, lean * half])
        down = rest.rotation @ np.array([0.0, 2 * half, -self.rng.uniform(0, 1.2) * half])
        return Surface(middle - across / 2 - down / 2, across, down, texture)

    def _room(self, ground_m: float, far: float, subject_m: float) -> list[Surface]:
        rng = self.rng
        wide, tall = far * rng.uniform(0.8, 2.0), far * 1.5
        wall = Surface(
            np.array([-wide, ground_m - tall, far]),
            np.array([2 * wide, 0, rng.normal(0, 0.2)]),
            np.array([0, tall * 2, 0]),
            self.bodies.texture(0.2, 0.4),
            (rng.uniform(1, 4), rng.uniform(1, 4)),
        )
        surfaces = [wall]
        for side in (-1.0, 1.0):
            corner, along = np.array([side * wide, ground_m - tall, far]), np.array([0, 0, -far * 1.2])
            surfaces.append(
                Surface(corner, along, np.array([0, tall * 2, 0]), self.bodies.texture(0.2, 0.4), (2.0, 3.0))
            )
        table_end = far if rng.random() < 0.4 else subject_m + (far - subject_m) * rng.uniform(0.05, 0.8)
        if table_end < far:
            below = ground_m + rng.uniform(0.4, 0.9)
            surfaces.append(
                Surface(
                    np.array([-wide, below, 0.02]),
                    np.array([2 * wide, 0, 0]),
                    np.array([0, 0, far]),
                    self.bodies.texture(0.2, 0.4),
                    (3.0, 3.0),
                )
            )
        half = wide if rng.random() < 0.6 else rng.uniform(0.5, 1.2) * subject_m
        table = self._decals(self.bodies.texture(0.25, 0.5, 768))
        surfaces.append(
            Surface(
                np.array([-half, ground_m, 0.02]),
                np.array([2 * half, 0, 0]),
                np.array([0, rng.normal(0, 0.01), table_end]),
                table,
                (1.0, 1.0),
            )
        )
        for _ in range(int(rng.integers(0, 7))):
            surfaces += self._box(ground_m, far, wide)
        return surfaces

    def _decals(self, texture: FloatImage) -> FloatImage:
        """Sheets of paper, books and stains lying flat."""
        for _ in range(int(self.rng.integers(0, 6))):
            size = self.rng.uniform(20, 150, 2)
            box = cv2.boxPoints(
                ((self.rng.uniform(0, 768), self.rng.uniform(200, 768)), (size[0], size[1]), self.rng.uniform(0, 90))
            )
            colour = random_colour(self.rng, float(self.rng.choice([0.0, 0.3, 0.8])))
            cv2.fillPoly(texture, [box.astype(np.int32)], colour.tolist(), cv2.LINE_AA)
        return texture

    def _box(self, ground_m: float, far: float, wide: float) -> list[Surface]:
        """A piece of furniture against the wall: front, top and one side."""
        rng = self.rng
        size = rng.uniform(0.15, 0.8, 3) * far * 0.4
        left, foot = rng.uniform(-wide, wide), ground_m + rng.uniform(-0.6, 0.5) * far * 0.5
        front = far - size[2]
        texture = self.bodies.texture(0.35, 0.6)
        corner = np.array([left, foot - size[1], front])
        across, down, back = np.array([size[0], 0, 0]), np.array([0, size[1], 0]), np.array([0, 0, size[2]])
        lateral = corner + across if left < 0 else corner
        return [
            Surface(corner, across, down, texture),
            Surface(corner, across, back, texture * np.float32(0.85)),
            Surface(lateral, back, down, texture * np.float32(0.65)),
        ]

    def _thing(self, body: Body, centre: Vector, width_m: float, *, salient: bool) -> Thing:
        rng = self.rng
        lively = rng.random() < (0.6 if salient else 0.15)
        travel = width_m * rng.uniform(0.1, 0.9) * lively
        return Thing(
            body,
            centre,
            width_m,
            Wobble.draw(rng, travel * np.array([1.0, 0.15 if rng.random() < 0.7 else 0.8, 0.5]), 0.8),
            Wobble.draw(rng, [rng.uniform(0, 0.35) * lively, rng.uniform(0, 0.25) * lively], 0.7),
            salient,
        )

    def _place_salient(self, scene: Scene, rest: Pose, subject_m: float, ground_m: float) -> None:
        rng = self.rng
        count = int(rng.choice([1, 2, 3], p=[0.6, 0.28, 0.12]))
        middle = rng.normal(320, 75)
        for index in range(count):
            share = rng.uniform(0.22, 0.75 if rng.random() < 0.8 else 1.15) / (1 + 0.35 * (count - 1))
            width_m = share * subject_m * 480 / rest.focal_px
            column = middle + (index - (count - 1) / 2) * share * 480 * rng.uniform(0.65, 1.2)
            depth_m = subject_m * rng.uniform(0.9, 1.15)
            centre = rest.point_at(column, rest.height / 2, depth_m)
            body = self.bodies.body(salient=True)
            centre[1] = ground_m - width_m * body.foot
            if rng.random() < 0.25:
                centre = rest.point_at(column, rest.height * rng.uniform(0.35, 0.65), depth_m)
            scene.things.append(self._thing(body, centre, width_m, salient=True))

    def _place_distractors(self, scene: Scene, rest: Pose, subject_m: float, ground_m: float, far: float) -> None:
        rng = self.rng
        for _ in range(int(rng.integers(0, self.style.distractors + 1))):
            depth_m = subject_m + (far - subject_m) * rng.uniform(0.15, 0.9)
            width_m = rng.uniform(0.05, 0.16) * subject_m * 480 / rest.focal_px
            centre = rest.point_at(rng.uniform(0, 640), rest.height / 2, depth_m)
            body = self.bodies.body(salient=False)
            centre[1] = ground_m - width_m * body.foot
            scene.things.append(self._thing(body, centre, width_m, salient=False))
        salient = [thing for thing in scene.things if thing.salient]
        for _ in range(int(rng.integers(1, 4)) if rng.random() < self.style.border_share else 0):
            clutter = self._border_clutter(rest, subject_m)
            if all(_apart(rest, clutter, thing) for thing in salient):
                scene.things.append(clutter)
        if rng.random() < self.style.arm_share * 1.5:
            depth_m = subject_m * rng.uniform(1.3, 1.7)
            width_m = rng.uniform(0.9, 1.5) * depth_m * 480 / rest.focal_px
            side = float(rng.choice([-1, 1]))
            centre = rest.point_at(320 + side * rng.uniform(130, 330), rest.height * rng.uniform(-0.1, 0.25), depth_m)
            body = random_sprite(rng, self.bodies.light, rng.uniform(0, 0.6), 0.2)
            scene.things.append(self._thing(body, centre, width_m, salient=False))

    def _border_clutter(self, rest: Pose, subject_m: float) -> Thing:
        """Something near, of any colour, mostly outside the picture."""
        rng = self.rng
        depth_m = subject_m * rng.uniform(0.7, 1.2)
        share = rng.uniform(0.2, 0.6)
        overlap = share * 480 * rng.uniform(0.05, 0.3)
        along = rng.uniform(0, 1)
        column, row = [
            (overlap - share * 240, along * rest.height),
            (640 - overlap + share * 240, along * rest.height),
            (along * 640, rest.height - overlap + share * 240),
        ][int(rng.integers(3))]
        centre = rest.point_at(column, row, depth_m)
        body = self.bodies.body(salient=rng.random() < 0.5)
        if self.style.pale_share and rng.random() < self.style.pale_share:
            body = pale(body, rng.uniform(0.1, 0.5))
        return self._thing(body, centre, share * 480 * depth_m / rest.focal_px, salient=False)

    def _arm(self, target: Thing) -> Thing:
        """An arm that follows an object's motion."""
        rng = self.rng
        sprite, direction = self.bodies.arm()
        width_m = target.width_m * rng.uniform(2.0, 3.2)
        reach = np.array(
            [direction * (0.4 * width_m + 0.2 * target.width_m), 0.0, float(rng.choice([-0.5, 0.5])) * target.width_m]
        )
        still = Wobble.draw(rng, [0.05, 0.02], 0.5)
        return Thing(sprite, target.position + reach, width_m, target.path, still, salient=False, grounded=False)
