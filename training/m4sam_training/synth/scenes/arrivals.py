# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Rooms into which things come through the picture's border, or move fast: what is new there is meant as well."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from m4sam_training.synth.builder import SceneBuilder
from m4sam_training.synth.geometry import Pose, Route, Vector, Wobble
from m4sam_training.synth.scene import Scene, SceneStyle, Thing

_FAST_HZ = 1.6
_PAN_RAD = 0.45


def draw_arrival(style: SceneStyle, rng: np.random.Generator, aspect: float, stamps: npt.NDArray[np.float64]) -> Scene:
    """A room of at least two salient things: some come in, go or move fast, or the camera pans over them."""
    return ArrivalBuilder(style, rng, aspect).arrival(stamps)


class ArrivalBuilder(SceneBuilder):
    """Draws rooms in which something happens."""

    def arrival(self, stamps: npt.NDArray[np.float64]) -> Scene:
        """A scene; what comes or goes does so within the frames' stamps.

        Args:
            stamps (T,): seconds, at least two.
        """
        rng = self.rng
        scene = self.build()
        rest = Pose.look(
            np.zeros(3), np.array([scene.pitch, 0.0, 0.0]), scene.focal_ratio * 640, 640, round(640 / self.aspect)
        )
        salient = [place for place, thing in enumerate(scene.things) if thing.salient]
        happening = rng.permutation(salient)[: int(rng.integers(1, len(salient)))]
        for place in happening:
            thing = scene.things[place]
            draw = rng.random()
            if draw < 0.55:
                thing = self._coming(rest, thing, stamps, back=False)
            elif draw < 0.7:
                thing = self._coming(rest, thing, stamps, back=True)
            else:
                thing = replace(thing, path=self._fast(thing))
            scene.things[place] = thing
        if rng.random() < 0.3:
            turn = np.array([0.2, 1.0, 0.1]) * rng.uniform(0.3, 1.0) * _PAN_RAD
            scene.camera_turn = Wobble.draw(rng, turn, 0.8)
        return scene

    def _place_salient(self, scene: Scene, rest: Pose, subject_m: float, ground_m: float) -> None:
        while sum(thing.salient for thing in scene.things) < 2:
            super()._place_salient(scene, rest, subject_m, ground_m)

    def _coming(self, rest: Pose, thing: Thing, stamps: npt.NDArray[np.float64], *, back: bool) -> Thing:
        """In through the nearer side, or out again."""
        rng = self.rng
        begin = float(rng.uniform(stamps[0], stamps[-1]))
        end = begin + float(stamps[1] - stamps[0]) * rng.uniform(1.2, 5.0)
        outside, here = self._outside(rest, thing), np.zeros(3)
        wobble = thing.path if isinstance(thing.path, Wobble) else self._fast(thing)
        return replace(
            thing, path=Route(np.array([begin, end]), np.stack([here, outside] if back else [outside, here]), wobble)
        )

    def _outside(self, rest: Pose, thing: Thing) -> Vector:
        """From a thing's place to beyond the picture's side; seldom its lower edge."""
        column, row, depth_m = rest.project(thing.position)
        metres = max(depth_m, 0.2) / rest.focal_px
        if self.rng.random() < 0.15:
            return np.array([0.0, (rest.height - row) * metres + thing.width_m, 0.0])
        side = 1.0 if column > rest.width / 2 else -1.0
        if self.rng.random() < 0.25:
            side = -side
        border = rest.width if side > 0 else 0
        return np.array([(border - column) * metres + side * thing.width_m, 0.0, 0.0])

    def _fast(self, thing: Thing) -> Wobble:
        reach = thing.width_m * self.rng.uniform(0.8, 3.0)
        return Wobble.draw(self.rng, reach * np.array([1.0, 0.3, 0.4]), _FAST_HZ)
