# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Streets: a vehicle or a rider that is meant, others far off, houses, posts before it."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import numpy.typing as npt

from m4sam_training.synth.builder import Stage
from m4sam_training.synth.geometry import Surface, Wobble
from m4sam_training.synth.models.robots import WHITE
from m4sam_training.synth.models.vehicles import lean, random_cycle, random_vehicle
from m4sam_training.synth.scene import Scene, SceneStyle, Thing
from m4sam_training.synth.scenes.situations import SituationBuilder
from m4sam_training.synth.solids import Mesh, Solid
from m4sam_training.synth.sprites import SPRITE_PX, Sprite
from m4sam_training.synth.texture import FloatImage, random_colour, value_noise

_LEAST_AREA, _MOST_AREA = 0.02, 0.6  # of the picture
_VEHICLE_FILLS, _PERSON_FILLS = 0.32, 0.28  # of a square of their longest side, about


def draw_street(
    style: SceneStyle,
    rng: np.random.Generator,
    aspect: float,
    stamps: npt.NDArray[np.float64],  # noqa: ARG001 (one signature)
) -> Scene:
    """A street with a vehicle or a rider, which is salient."""
    return StreetBuilder(style, rng, aspect).build()


class StreetBuilder(SituationBuilder):
    """Draws streets."""

    def build(self) -> Scene:
        """One vehicle or one rider; others, people, a fence and posts that are not salient."""
        rng = self.rng
        area = self._area(_LEAST_AREA, _MOST_AREA)
        rides = bool(self.style.people) and rng.random() < 0.3
        length_px = np.sqrt(area * 640 * 480 / (_PERSON_FILLS if rides else _VEHICLE_FILLS))
        stage = self._road(length_px)
        length_m = length_px * stage.subject_m / stage.rest.focal_px
        column = rng.normal(320, 30 if area > 0.25 else 90)
        if rides:
            self._rider(stage, column, length_m)
        else:
            main = self._vehicle(stage, column, stage.subject_m, length_m, vivid=rng.uniform(0.2, 1))
            stage.scene.things.append(replace(main, salient=True))
        self._traffic(stage, length_m)
        if rng.random() < 0.25:
            stage.scene.things.append(self._fence(stage, stage.subject_m * rng.uniform(1.3, 2.0)))
        for _ in range(int(rng.integers(1, 4)) if rng.random() < 0.3 else 0):
            stage.scene.things.append(self._post(stage))
        return stage.scene

    def _road(self, length_px: float) -> Stage:
        """A camera that looks along or across a road; houses, a photograph or a room behind it."""
        rng = self.rng
        stage = self.stage()
        stage.scene.pitch = float(rng.uniform(-0.05, 0.4))
        subject_m = rng.uniform(2.5, 6.0)
        rest = stage.scene.pose(0.0, 640, stage.rest.height)
        foot_row = min(rest.height * rng.uniform(0.6, 0.9), rest.height * 0.5 + 0.35 * length_px)
        ground_m = float(rest.point_at(320, foot_row, subject_m)[1])
        stage = Stage(stage.scene, rest, subject_m, ground_m, subject_m * rng.uniform(1.8, 3.5))
        if rng.random() < 0.4:
            return self._furnished(stage)
        stage.scene.surfaces = self._houses(stage)
        return stage

    def _houses(self, stage: Stage) -> list[Surface]:
        rng, far = self.rng, stage.far
        wide, tall = far * rng.uniform(1.2, 2.0), far * rng.uniform(0.3, 1.5)
        sky = np.tile(random_colour(rng, 0.2)[None, None] * 0.2 + 195, (64, 64, 1)).astype(np.float32)
        sky *= np.linspace(0.85, 1.05, 64, dtype=np.float32)[:, None, None]
        road = (value_noise(rng, 512, 24)[..., None] * rng.uniform(10, 50) + random_colour(rng, 0.1) * 0.6).astype(
            np.float32
        )
        left, high, end = -1.5 * wide, stage.ground_m - 3 * far, 1.3 * far
        surfaces = [
            Surface(np.array([left, high, end]), np.array([3 * wide, 0, 0]), np.array([0, 6 * far, 0]), sky),
            Surface(
                np.array([left, stage.ground_m, 0.02]), np.array([3 * wide, 0, 0]), np.array([0, 0, end]),
                self._decals(np.ascontiguousarray(cv2.resize(road, (768, 768)))), (2.0, 1.0),
            ),
        ]  # fmt: skip
        edge = -wide
        while edge < wide:
            broad, high = far * rng.uniform(0.3, 1.0), tall * rng.uniform(0.6, 1.2)
            corner = np.array([edge, stage.ground_m - high, far * rng.uniform(0.95, 1.1)])
            surfaces.append(Surface(corner, np.array([broad, 0, 0]), np.array([0, high, 0]), self._front()))
            edge += broad
        return surfaces

    def _front(self) -> FloatImage:
        """A house front with rows of windows and doors, a hedge, or a photograph."""
        rng = self.rng
        front = self.bodies.texture(rng.uniform(0, 0.6), rng.uniform(0.1, 0.5), 384)
        if rng.random() < 0.6:
            columns, rows = int(rng.integers(2, 7)), int(rng.integers(1, 5))
            pane = random_colour(rng, 0.1) * np.float32(rng.uniform(0.2, 0.9))
            for x in np.arange(columns) * 384 / columns:
                for y in np.arange(rows) * 384 / rows:
                    far = (int(x + 0.72 * 384 / columns), int(y + 0.7 * 384 / rows))
                    near = (int(x + 0.28 * 384 / columns), int(y + 0.25 * 384 / rows))
                    cv2.rectangle(front, near, far, (pane * rng.uniform(0.8, 1.2)).tolist(), -1)
        return front

    def _solid_on_wheels(self, mesh: Mesh) -> Solid:
        rng = self.rng
        texture = WHITE
        if rng.random() < 0.25:  # dirt, letters, an advertisement
            print_ = self.bodies.texture(0.6, 0.4, 128)
            texture = np.clip((print_ - print_.mean()) * np.float32(rng.uniform(0.2, 1)) + 225, 0, 255).astype(
                np.float32
            )
        still = Wobble.draw(rng, [0.05, 0.0, 0.0], 0.3)
        shine = rng.uniform(0, 0.7) * (rng.random() < 0.6)
        return Solid(mesh, texture, "box", 1.0, lean(rng), still, 0.0, self.bodies.light, rng.uniform(0.35, 0.7), shine)

    def _vehicle(self, stage: Stage, column: float, depth_m: float, length_m: float, *, vivid: float) -> Thing:
        rng = self.rng
        draw = random_vehicle if rng.random() < 0.85 else random_cycle
        body = self._solid_on_wheels(draw(rng, vivid))
        centre = self._on_ground(stage, column, depth_m, length_m * body.foot)
        drive = Wobble.draw(rng, length_m * rng.uniform(0, 0.4) * np.array([1.0, 0.0, 0.3]), 0.5)
        still = Wobble.draw(rng, [0.0, 0.0], 0.5)
        return Thing(body, centre, length_m, drive, still, salient=False, grounded=rng.random() < 0.8)

    def _rider(self, stage: Stage, column: float, height_m: float) -> None:
        """Somebody on a cycle, or beside it."""
        rng = self.rng
        body = self._solid_on_wheels(random_cycle(rng, rng.uniform(0.3, 1)))
        self._person(stage, column, stage.subject_m, height_m, salient=True)
        person = stage.scene.things[-1]
        if rng.random() < 0.75:
            lifted = person.position - np.array([0.0, 0.22 * height_m, 0.0])
            person = replace(person, position=lifted, grounded=False)
        beside = np.array([rng.normal(0, 0.08), 0.0, rng.normal(0, 0.05)]) * height_m
        centre = person.position + beside
        centre[1] = stage.ground_m - height_m * body.foot
        still = Wobble.draw(rng, [0.0, 0.0], 0.5)
        cycle = Thing(body, centre, height_m * rng.uniform(0.9, 1.1), person.path, still, salient=True)
        stage.scene.things[-1:] = [person, cycle]

    def _traffic(self, stage: Stage, length_m: float) -> None:
        """Parked and passing vehicles and people, farther off, smaller and duller."""
        rng = self.rng
        for _ in range(int(rng.integers(0, 5))):
            depth_m = rng.uniform(min(1.4 * stage.subject_m, 0.8 * stage.far), 0.95 * stage.far)
            size_m = length_m * rng.uniform(0.3, 0.8)
            if self.style.people and rng.random() < 0.35:
                self._person(stage, rng.uniform(0, 640), depth_m, size_m, salient=False)
            else:
                stage.scene.things.append(self._vehicle(stage, rng.uniform(0, 640), depth_m, size_m, vivid=0.2))

    def _post(self, stage: Stage) -> Thing:
        """A thin post or trunk nearer than what is meant."""
        rng = self.rng
        alpha = np.zeros((SPRITE_PX, SPRITE_PX), np.float32)
        half, middle = rng.uniform(2, 7), SPRITE_PX / 2
        alpha[:, int(middle - half) : int(middle + half) + 1] = 1.0
        rgb = np.tile(
            random_colour(rng, 0.2).astype(np.float32) * np.float32(rng.uniform(0.3, 1)), (SPRITE_PX, SPRITE_PX, 1)
        )
        depth_m = stage.subject_m * rng.uniform(0.4, 0.8)
        tall_m = depth_m * 640 / stage.rest.focal_px * rng.uniform(1.2, 2.0)
        centre = stage.rest.point_at(rng.uniform(0, 640), stage.rest.height / 2, depth_m)
        still = Wobble(np.zeros(3), np.zeros((2, 3)), np.zeros((2, 3)))
        swing = Wobble(np.zeros(2), np.zeros((2, 2)), np.zeros((2, 2)))
        return Thing(
            Sprite(rgb, alpha, np.zeros_like(alpha)), centre, tall_m, still, swing, salient=False, grounded=False
        )
