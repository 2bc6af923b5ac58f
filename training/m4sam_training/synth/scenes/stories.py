# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Clips in which only the past can tell what is salient: at some time the thing asked for stands among its like."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from m4sam_training.synth.builder import Stage
from m4sam_training.synth.geometry import Route, Vector, Wobble
from m4sam_training.synth.scene import Asked, Body, Scene, SceneStyle, Thing
from m4sam_training.synth.scenes.situations import SituationBuilder
from m4sam_training.synth.solids import Solid
from m4sam_training.synth.sprites import random_sprite
from m4sam_training.synth.texture import FloatImage

_AWAY = np.array([0.0, 0.0, -60.0])  # behind the camera: not in the picture
STORIES = {
    "joined": 0.22,
    "retreats": 0.08,
    "equals": 0.22,
    "vivid": 0.08,
    "hidden": 0.1,
    "leaves": 0.16,
    "outshone": 0.14,
}


def draw_story(
    style: SceneStyle,
    rng: np.random.Generator,
    aspect: float,
    stamps: npt.NDArray[np.float64],
    *,
    copies: bool = True,
) -> Scene:
    """A scene of a kind of `STORIES`, drawn by these shares.

    joined: one thing alone, then others of its kind around it. retreats: it is nearer at first. equals: all are there
    from the beginning. vivid: something brighter comes beside it. hidden: as joined, and a board passes before it.
    leaves: it goes away, the others stay. outshone: something nearer and larger comes, which is asked for from then on.
    Without `copies` equals differ in colour or kind, so that looks can tell them apart and not their places alone.
    """
    builder = StoryBuilder(style, rng, aspect)
    builder.copies = copies
    return builder.story(str(rng.choice(list(STORIES), p=list(STORIES.values()))), stamps)


@dataclass(frozen=True)
class _Place:
    """Where one of the equals stands."""

    column: float
    depth_m: float
    width_m: float


class StoryBuilder(SituationBuilder):
    """Draws scenes with equals.

    Attributes:
        copies: whether some of them are copies of each other.
    """

    copies = True

    def story(self, kind: str, stamps: npt.NDArray[np.float64]) -> Scene:
        """A scene of that kind; its turns lie between the frames' stamps.

        Args:
            kind: see `draw_story`.
            stamps (T,): seconds, at least two.
        """
        rng = self.rng
        stage = self._furnished(self.stage()) if rng.random() < 0.7 else self._table_stage()
        bodies = self._equals(int(rng.choice([2, 3, 4], p=[0.45, 0.35, 0.2])))
        places = self._places(stage, len(bodies))
        intro = int(rng.integers(1, max(2, min(len(stamps), 5) // 2 + 1)))
        turn_s = self._between(stamps, intro)
        things = [self._standing(stage, body, place) for body, place in zip(bodies, places, strict=True)]
        if kind in ("joined", "hidden", "leaves"):
            things[1:] = [self._appearing(thing, turn_s) for thing in things[1:]]
        if kind == "retreats":
            things[0] = self._retreating(things[0], turn_s, stamps)
            things[1:] = [self._appearing(thing, turn_s) if rng.random() < 0.5 else thing for thing in things[1:]]
        if kind == "vivid":
            things[1:] = [self._appearing(replace(t, body=_brighter(t.body)), turn_s) for t in things[1:]]
        asked: Asked = "any" if kind == "equals" else "first"
        until_s = np.inf
        if kind == "hidden":
            stage.scene.things.append(self._board(things[0], stamps, intro))
        if kind == "leaves":
            until_s = self._between(stamps, max(intro + 1, len(stamps) - int(rng.integers(1, max(3, len(stamps) - 3)))))
            things[0] = self._leaving(things[0], until_s)
        if kind == "outshone":
            until_s = turn_s
            things[1:] = [self._appearing(self._stronger(stage, places[0]), turn_s)]
        stage.scene.things[:0] = things
        stage.scene.asked, stage.scene.until_s = asked, until_s
        if rng.random() < 0.5:
            self._background(stage, 0.4)
        return stage.scene

    def _between(self, stamps: npt.NDArray[np.float64], index: int) -> float:
        """A moment between frame `index - 1` and frame `index`; after the last one if there is none."""
        if index >= len(stamps):
            return float(stamps[-1]) + 1.0
        return float((stamps[index - 1] + stamps[index]) / 2)

    def _equals(self, count: int) -> list[Body]:
        """Bodies as striking as each other: copies, the same in other colours, or of other kinds."""
        rng = self.rng
        first = self._striking()
        shares = [0.2, 0.4, 0.4] if self.copies else [0.0, 0.5, 0.5]
        how = str(rng.choice(["copies", "colours", "kinds"], p=shares))
        if how == "kinds":
            return [first, *(self._striking() for _ in range(count - 1))]
        return [first, *(first if how == "copies" else _recoloured(first, rng) for _ in range(count - 1))]

    def _places(self, stage: Stage, count: int) -> list[_Place]:
        """Beside each other, equally far and large."""
        rng = self.rng
        step_px = 560 / count
        side_px = step_px * rng.uniform(0.35, 0.85)
        columns = 40 + step_px * (np.arange(count) + 0.5) + rng.normal(0, 0.08 * step_px, count)
        return [
            _Place(
                float(column),
                stage.subject_m * rng.uniform(0.93, 1.07),
                side_px * rng.uniform(0.9, 1.1) * stage.subject_m / stage.rest.focal_px,
            )
            for column in rng.permutation(columns)
        ]

    def _standing(self, stage: Stage, body: Body, place: _Place) -> Thing:
        centre = self._on_ground(stage, place.column, place.depth_m, place.width_m * body.foot)
        thing = self._thing(body, centre, place.width_m, salient=True)
        return replace(thing, path=Wobble.draw(self.rng, place.width_m * self.rng.uniform(0, 0.3) * np.ones(3), 0.6))

    def _appearing(self, thing: Thing, from_s: float) -> Thing:
        return replace(thing, path=_route(thing, [from_s - 1e-4, from_s], [_AWAY, np.zeros(3)]))

    def _leaving(self, thing: Thing, until_s: float) -> Thing:
        return replace(thing, path=_route(thing, [until_s - 1e-4, until_s], [np.zeros(3), _AWAY]))

    def _retreating(self, thing: Thing, turn_s: float, stamps: npt.NDArray[np.float64]) -> Thing:
        """Nearer to the camera until the turn."""
        near = -thing.position * self.rng.uniform(0.25, 0.45) * np.array([0.6, 0.2, 1.0])
        begin = max(turn_s - float(stamps[1] - stamps[0]) / 2, 0.0)
        return replace(thing, path=_route(thing, [begin, turn_s + 1e-3], [near, np.zeros(3)]))

    def _board(self, thing: Thing, stamps: npt.NDArray[np.float64], intro: int) -> Thing:
        """Something dull that passes before a thing, for one or two frames."""
        rng = self.rng
        first = int(rng.integers(intro, max(intro + 1, len(stamps) - 1)))
        begin, end = self._between(stamps, first), self._between(stamps, first + int(rng.integers(1, 3)))
        body = random_sprite(rng, self.bodies.light, 0.1, 0.2)
        board = Thing(
            body, thing.position * 0.8, thing.width_m * 1.7, thing.path, thing.swing, salient=False, grounded=False
        )
        return replace(
            board, path=_route(board, [begin - 1e-4, begin, end - 1e-4, end], [_AWAY, np.zeros(3), np.zeros(3), _AWAY])
        )

    def _stronger(self, stage: Stage, place: _Place) -> Thing:
        """Nearer, larger and more vivid than what stands there."""
        rng = self.rng
        depth_m = place.depth_m * rng.uniform(0.5, 0.7)
        width_m = place.width_m * rng.uniform(1.2, 1.8) * depth_m / place.depth_m * 1.3
        column = place.column + rng.choice([-1, 1]) * rng.uniform(120, 260)
        centre = stage.rest.point_at(
            float(np.clip(column, 120, 520)), stage.rest.height * rng.uniform(0.4, 0.7), depth_m
        )
        return self._thing(self._striking(), centre, width_m, salient=True)


def _route(thing: Thing, times_s: list[float], offsets: list[Vector]) -> Route:
    wobble = thing.path if isinstance(thing.path, Wobble) else Wobble(np.zeros(3), np.zeros((2, 3)), np.zeros((2, 3)))
    return Route(np.array(times_s), np.stack(offsets), wobble)


def _recoloured(body: Body, rng: np.random.Generator) -> Body:
    """The same thing in other hues."""
    turn, light = int(rng.integers(25, 155)), np.float32(rng.uniform(0.8, 1.15))
    if isinstance(body, Solid):
        tints = _hue(body.mesh.tints[None] * 255, turn)[0] / 255
        mesh = replace(body.mesh, tints=tints.astype(np.float32))
        return replace(body, mesh=mesh, texture=_hue(body.texture, turn) * light)
    return replace(body, rgb=np.clip(_hue(body.rgb, turn) * light, 0, 255).astype(np.float32))


def _hue(rgb: FloatImage, turn: int) -> FloatImage:
    hsv = cv2.cvtColor(np.clip(rgb, 0, 255).astype(np.uint8), cv2.COLOR_RGB2HSV)
    hsv[..., 0] = (hsv[..., 0].astype(int) + turn) % 180
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB).astype(np.float32)


def _brighter(body: Body) -> Body:
    """The same thing with stronger colours."""
    if isinstance(body, Solid):
        return replace(body, texture=_vivid(body.texture))
    return replace(body, rgb=_vivid(body.rgb))


def _vivid(rgb: FloatImage) -> FloatImage:
    grey = rgb.mean(axis=2, keepdims=True)
    return np.clip(grey + (rgb - grey) * np.float32(1.8) + 15, 0, 255).astype(np.float32)
