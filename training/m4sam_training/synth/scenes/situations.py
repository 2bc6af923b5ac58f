# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""What robots and street cameras see: their own hands, crowds, near furniture, things of any size, large plain ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
import numpy.typing as npt

from m4sam_training.synth.builder import SceneBuilder, Stage
from m4sam_training.synth.geometry import Pose, Surface, Vector, Wobble
from m4sam_training.synth.models.people import dressed
from m4sam_training.synth.models.robots import WHITE, lying_along, random_gripper
from m4sam_training.synth.scene import Body, Scene, SceneStyle, Thing
from m4sam_training.synth.scenes.paints import fence, painted
from m4sam_training.synth.solids import Solid
from m4sam_training.synth.sprites import SPRITE_PX, Sprite, shade

_LEAST_AREA, _MOST_AREA = 0.01, 0.8  # of the picture
_FILLED = 0.5  # of a thing's square that it covers, about
SITUATIONS = {"hands": 0.26, "sizes": 0.26, "crowd": 0.24, "workplace": 0.13, "plain": 0.11}
_STILL = Wobble(np.zeros(2), np.zeros((2, 2)), np.zeros((2, 2)))  # of a picture: no turn, no stretch


def draw_situation(
    style: SceneStyle,
    rng: np.random.Generator,
    aspect: float,
    stamps: npt.NDArray[np.float64],  # noqa: ARG001 (one signature)
) -> Scene:
    """A scene of a kind drawn at random; see `SituationBuilder`."""
    return SituationBuilder(style, rng, aspect).build()


class SituationBuilder(SceneBuilder):
    """Draws scenes of the kinds that the plain room leaves out."""

    def build(self) -> Scene:
        """A scene of a kind of `SITUATIONS`, drawn by these shares."""
        return self.situation(list(SITUATIONS)[int(self.rng.choice(len(SITUATIONS), p=list(SITUATIONS.values())))])

    def situation(self, kind: str) -> Scene:
        """A scene of that kind: the method of its name."""
        draw: Callable[[], Scene] = getattr(self, kind)
        return draw()

    # ------------------------------------------------------------------------------------------- kinds

    def hands(self) -> Scene:
        """A table from above, things on it, and the robot's own grippers, which are not salient."""
        rng = self.rng
        stage = self._table_stage()
        if rng.random() > 0.1:
            self._salient(stage, self._area(_LEAST_AREA, 0.15), int(rng.choice([1, 2, 3], p=[0.6, 0.25, 0.15])))
        if rng.random() < 0.4:
            self._background(stage, 0.4)
        for side in rng.permutation([-1.0, 1.0])[: int(rng.choice([1, 2], p=[0.55, 0.45]))]:
            stage.scene.things.append(self._gripper(stage, float(side)))
        return stage.scene

    def sizes(self) -> Scene:
        """One thing of any size, equal shares on a log scale, before a photograph or in a room."""
        rng = self.rng
        stage = self._furnished(self.stage())
        area = self._area(_LEAST_AREA, _MOST_AREA)
        self._salient(stage, area, 1 if area > 0.1 else int(rng.choice([1, 2, 3], p=[0.7, 0.2, 0.1])))
        if rng.random() < 0.7:
            self._background(stage, min(1.0, 3 * area + 0.2))
        return stage.scene

    def crowd(self) -> Scene:
        """One or two people before others, a fence or a painted wall; some hold, push or ride something."""
        rng = self.rng
        if not self.style.people:
            return self.sizes()
        stage = self.stage()
        subject_m = rng.uniform(1.5, 5.0)
        stage = stage._replace(subject_m=subject_m, far=subject_m * rng.uniform(1.5, 3.0))
        height_px = np.sqrt(self._area(_LEAST_AREA, 0.5) * 640 * 480 / 0.28)
        height_m = height_px * subject_m / stage.rest.focal_px
        foot_row = min(stage.rest.height * rng.uniform(0.6, 0.95), stage.rest.height * 0.45 + height_px / 2)
        stage = stage._replace(ground_m=float(stage.rest.point_at(320, foot_row, subject_m)[1]))
        stage = self._furnished(stage)
        if rng.random() < 0.3:
            stage.scene.surfaces.append(self._painted_wall(stage, subject_m * rng.uniform(1.4, 2.8), height_m))
        if rng.random() < 0.35:
            stage.scene.things.append(self._fence(stage, subject_m * rng.uniform(1.15, 2.5)))
        column = rng.normal(320, 90)
        for _ in range(1 if rng.random() < 0.75 else 2):
            self._person(stage, column, subject_m * rng.uniform(0.95, 1.05), height_m, salient=True)
            column += rng.choice([-1, 1]) * height_px * rng.uniform(0.3, 0.6)
        if rng.random() < 0.35:
            self._belonging(stage, next(thing for thing in stage.scene.things if thing.salient), height_m)
        for _ in range(int(rng.integers(0, 13))):
            depth_m = subject_m * rng.uniform(1.3, 2.6)
            self._person(stage, rng.uniform(0, 640), depth_m, height_m * rng.uniform(0.85, 1.1), salient=False)
        return stage.scene

    def workplace(self) -> Scene:
        """Near desks and cupboards, cut off by the border and not salient; every third time nothing is."""
        rng = self.rng
        stage = self._table_stage() if rng.random() < 0.5 else self._furnished(self.stage())
        for _ in range(int(rng.integers(1, 4))):
            stage.scene.surfaces += self._near_furniture(stage)
        if rng.random() < 0.67:
            self._salient(stage, self._area(_LEAST_AREA, 0.2), int(rng.choice([1, 2], p=[0.75, 0.25])))
            self._background(stage, 0.6)
        return stage.scene

    def plain(self) -> Scene:
        """A large thing of one paint, often dark or white."""
        rng = self.rng
        stage = self._furnished(self.stage())
        self._salient(stage, self._area(0.12, _MOST_AREA), 1)
        thing = stage.scene.things[0]
        stage.scene.things[0] = replace(thing, body=painted(thing.body, rng))
        if rng.random() < 0.6:
            self._background(stage, 1.0)
        return stage.scene

    # ------------------------------------------------------------------------------------- ingredients

    def surroundings(self, stage: Stage) -> list[Surface]:
        """As in any room, or a photograph full of things, now and then out of focus."""
        if not self.style.clutter or self.rng.random() > 0.2:
            return super().surroundings(stage)
        backdrop = self._backdrop(stage.rest, stage.far, self.style.clutter)
        if self.rng.random() < 0.5:
            blurred = cv2.GaussianBlur(backdrop.texture, (0, 0), self.rng.uniform(2, 8))
            return [replace(backdrop, texture=np.asarray(blurred, np.float32))]
        return [backdrop]

    def _area(self, least: float, most: float) -> float:
        """A share of the picture, equally likely on a log scale."""
        return float(np.exp(self.rng.uniform(np.log(least), np.log(most))))

    def _furnished(self, stage: Stage) -> Stage:
        stage.scene.surfaces = self.surroundings(stage)
        return stage

    def _table_stage(self) -> Stage:
        """A camera that looks down at a table."""
        rng = self.rng
        stage = self.stage()
        scene, pitch = stage.scene, rng.uniform(0.25, 0.95)
        scene.pitch = pitch
        rest = Pose.look(
            np.zeros(3), np.array([pitch, 0.0, 0.0]), stage.rest.focal_px, stage.rest.width, stage.rest.height
        )
        subject_m = rng.uniform(0.4, 1.3)
        ground_m = float(rest.point_at(320, rest.height * rng.uniform(0.45, 0.7), subject_m)[1])
        stage = Stage(scene, rest, subject_m, ground_m, max(stage.far, 2 * subject_m))
        scene.surfaces = self._room(ground_m, stage.far, subject_m)
        return stage

    def _salient(self, stage: Stage, area: float, count: int) -> None:
        """`count` things that cover `area` of the picture each, about."""
        rng, rest = self.rng, stage.rest
        side_px = float(np.sqrt(area * rest.width * rest.height / _FILLED))
        width_m = side_px * stage.subject_m / rest.focal_px
        spread = max(20.0, 0.33 * (640 - side_px))
        for _ in range(count):
            column = float(np.clip(rng.normal(320, spread), 40, 600)) if side_px < 400 else rng.normal(320, 40)
            body = self._striking()
            if area > 0.25:
                centre = rest.point_at(column, rest.height * rng.uniform(0.4, 0.65), stage.subject_m)
            else:
                centre = self._on_ground(stage, column, stage.subject_m * rng.uniform(0.85, 1.1), width_m * body.foot)
                if rng.random() < 0.25:
                    centre = rest.point_at(column, rest.height * rng.uniform(0.25, 0.7), stage.subject_m)
            stage.scene.things.append(self._thing(body, centre, width_m, salient=True))

    def _on_ground(self, stage: Stage, column: float, depth_m: float, foot_m: float) -> Vector:
        """A place in view whose ground is at that depth."""
        _, _, floor = stage.rest.rotation.T @ np.array([0.0, stage.ground_m - foot_m, 0.0])
        along = stage.rest.rotation.T @ np.array([0.0, 0.0, 1.0])
        forward = (depth_m - floor) / max(float(along[2]), 0.2)
        x = (column - 320) * depth_m / stage.rest.focal_px
        return np.array([x, stage.ground_m - foot_m, forward])

    def _striking(self) -> Body:
        """Something salient: a real thing cut out of a photograph now and then, or as in any room."""
        if self.style.stills and self.rng.random() < 0.22:
            return self._still()
        return self.bodies.body(salient=True)

    def _still(self) -> Sprite:
        rng = self.rng
        rgba = self.style.stills[int(rng.integers(len(self.style.stills)))].astype(np.float32)
        rgba = cv2.resize(rgba, (SPRITE_PX, SPRITE_PX), interpolation=cv2.INTER_AREA)
        turn = cv2.getRotationMatrix2D((SPRITE_PX / 2, SPRITE_PX / 2), rng.uniform(-180, 180), 0.95)
        rgba = cv2.warpAffine(rgba, turn, (SPRITE_PX, SPRITE_PX), flags=cv2.INTER_LINEAR)
        alpha = rgba[..., 3] / 255
        inner = cv2.distanceTransform((alpha > 0.5).astype(np.uint8), cv2.DIST_L2, 5) / SPRITE_PX
        relief = (np.sqrt(np.minimum(inner, 0.2)) * rng.uniform(0.05, 0.5)).astype(np.float32)
        tint = np.float32(rng.uniform(0.5, 1.1, 3)) if rng.random() < 0.5 else np.ones(3, np.float32)
        return Sprite(shade(rgba[..., :3] * tint, relief * 0.3, self.bodies.light, 0.8), alpha, relief)

    def _background(self, stage: Stage, plenty: float) -> None:
        """Dull things farther off, now and then vivid ones, none as near as what is salient."""
        rng, rest = self.rng, stage.rest
        largest_m = max((t.width_m for t in stage.scene.things if t.salient), default=0.2)
        for _ in range(int(rng.integers(0, round(self.style.distractors * plenty) + 1))):
            depth_m = stage.subject_m + (stage.far - stage.subject_m) * rng.uniform(0.25, 0.9)
            width_m = min(rng.uniform(0.05, 0.18) * depth_m * 480 / rest.focal_px, 0.8 * largest_m)
            body = self.bodies.body(salient=rng.random() < 0.25)
            centre = self._on_ground(stage, rng.uniform(0, 640), depth_m, width_m * body.foot)
            stage.scene.things.append(self._thing(body, centre, width_m, salient=False))

    def _gripper(self, stage: Stage, side: float) -> Thing:
        """A gripper that comes in from below, from a side or from above."""
        rng, rest = self.rng, stage.rest
        low = rng.random() < 0.75
        tip = (
            320 + side * rng.uniform(20, 280),
            rest.height * (rng.uniform(0.35, 0.95) if low else rng.uniform(0.1, 0.5)),
        )
        depth_m = stage.subject_m * rng.uniform(0.55, 1.0)
        towards = np.array(
            [side * rng.uniform(-0.1, 1.0), rng.uniform(0.5, 1.0) if low else -0.8, -rng.uniform(0.1, 0.9)]
        )
        direction = rest.rotation @ (towards / np.linalg.norm(towards))
        mesh = random_gripper(rng, self.style.hands)
        width_m = rng.uniform(0.7, 1.8) * depth_m * 480 / rest.focal_px
        body = Solid(
            mesh, WHITE, "box", 1.0, lying_along(direction), Wobble.draw(rng, [0.03, 0.03, 0.03], 0.5), 0.0,
            self.bodies.light, rng.uniform(0.35, 0.7), rng.uniform(0, 0.6) * (rng.random() < 0.5),
        )  # fmt: skip
        centre = rest.point_at(*tip, depth_m) + direction * width_m / 2
        path = Wobble.draw(rng, width_m * rng.uniform(0, 0.2) * np.ones(3), 0.7)
        return Thing(body, centre, width_m, path, Wobble.draw(rng, [0.0, 0.0], 0.5), salient=False, grounded=False)

    def _person(self, stage: Stage, column: float, depth_m: float, height_m: float, *, salient: bool) -> None:
        rng = self.rng
        mesh = dressed(
            self.style.people[int(rng.integers(len(self.style.people)))], rng, rng.uniform(0.3, 1) if salient else 0.15
        )
        texture = WHITE
        if rng.random() < 0.5:
            cloth = self.bodies.texture(0.2, 0.3, 128)
            texture = np.clip(cloth - cloth.mean() + 225, 0, 255).astype(np.float32)
        yaw = rng.uniform(-np.pi, np.pi)
        body = Solid(
            mesh, texture, "box", 2.0, np.array([yaw, *rng.normal(0, 0.04, 2)]),
            Wobble.draw(rng, [0.3, 0.05, 0.05], 0.5), 0.0, self.bodies.light, rng.uniform(0.35, 0.7), 0.0,
        )  # fmt: skip
        centre = self._on_ground(stage, column, depth_m, height_m * body.foot)
        person = self._thing(body, centre, height_m, salient=salient)
        # A contact shadow is as wide as a thing, and people are much taller than wide.
        stage.scene.things.append(replace(person, grounded=rng.random() < 0.15))

    def _belonging(self, stage: Stage, owner: Thing, height_m: float) -> None:
        """Something a person rides, pushes or holds; as salient as they are."""
        rng = self.rng
        body = self.bodies.body(salient=True)
        width_m = height_m * rng.uniform(0.25, 0.75)
        beside = np.array([rng.normal(0, 0.2) * height_m, 0.0, rng.uniform(-0.15, 0.1) * height_m])
        centre = owner.position + beside
        centre[1] = stage.ground_m - width_m * body.foot - (height_m * 0.3 if rng.random() < 0.3 else 0.0)
        stage.scene.things.append(Thing(body, centre, width_m, owner.path, _STILL, salient=True))

    def _painted_wall(self, stage: Stage, depth_m: float, height_m: float) -> Surface:
        """A wall across the picture, as vivid as any object."""
        rng, rest = self.rng, stage.rest
        half, tall_m = depth_m * 640 / rest.focal_px, height_m * rng.uniform(0.7, 2.5)
        top = self._on_ground(stage, 320 + rng.normal(0, 100), depth_m, tall_m)
        texture = self._decals(self.bodies.texture(rng.uniform(0.4, 1.0), rng.uniform(0.5, 1.0), 768))
        across = np.array([2 * half, 0.0, rng.normal(0, 0.2) * half])
        return Surface(top - across / 2, across, np.array([0.0, tall_m, 0.0]), texture, (rng.uniform(1, 3), 1.0))

    def _fence(self, stage: Stage, depth_m: float) -> Thing:
        """Bars or a mesh across the picture; what is behind shows through."""
        rng = self.rng
        width_m = rng.uniform(0.8, 1.5) * depth_m * 640 / stage.rest.focal_px
        body = fence(rng)
        centre = self._on_ground(stage, 320 + rng.normal(0, 80), depth_m, width_m * body.foot)
        still = Wobble(np.zeros(3), np.zeros((2, 3)), np.zeros((2, 3)))
        return Thing(body, centre, width_m, still, _STILL, salient=False, grounded=False)

    def _near_furniture(self, stage: Stage) -> list[Surface]:
        """The corner of a desk, a cupboard or a chair beside the camera."""
        rng, rest = self.rng, stage.rest
        depth_m = stage.subject_m * rng.uniform(0.7, 1.4)
        side = float(rng.choice([-1, 1]))
        column, row = 320 + side * rng.uniform(150, 330), rest.height * rng.uniform(0.3, 0.95)
        size = rng.uniform(0.5, 1.5, 3) * depth_m
        corner = rest.point_at(column, row, depth_m)
        turn = cv2.Rodrigues(np.array([0.0, rng.uniform(-0.6, 0.6), 0.0]))[0]
        across, back = turn @ np.array([side * size[0], 0, 0]), turn @ np.array([0, 0, size[2]])
        down = np.array([0, size[1], 0])
        texture = self.bodies.texture(0.3, 0.5)
        return [
            Surface(corner, across, down, texture * np.float32(0.8)),
            Surface(corner, across, back, texture),
            Surface(corner, back, down, texture * np.float32(0.6)),
        ]
