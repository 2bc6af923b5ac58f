# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""The main object: what attention rests on, without fluttering between things that stand out alike."""

from __future__ import annotations

from collections.abc import Mapping

_SMOOTHING = 0.4  # share of a frame's salience in the running one


class Attention:
    """Chooses the main object, with hysteresis.

    Args:
        ratio: how much more another must stand out.
        frames: for how many frames in a row; also how long a main object out of sight keeps its place.
    """

    def __init__(self, ratio: float, frames: int) -> None:
        self.ratio, self.frames = ratio, frames
        self.main: int | None = None
        self._salience: dict[int, float] = {}
        self._rival_frames = 0

    def begin_scene(self) -> None:
        """Nothing is known any more."""
        self.main, self._salience, self._rival_frames = None, {}, 0

    def update(self, salience: Mapping[int, float]) -> int | None:
        """The main object's id.

        Args:
            salience: how much each thing in sight stands out, by id.

        Returns:
            the id, in sight or (for a few frames) not; None when nothing has been seen yet.
        """
        self._salience = {
            thing: value if thing not in self._salience else self._blend(thing, value)
            for thing, value in salience.items()
        }
        if not salience:
            return self.main
        rival = max(self._salience, key=lambda thing: self._salience[thing])
        if self.main is None:
            self.main = rival
        present = self._salience.get(self.main, 0.0)
        if rival == self.main or self._salience[rival] < self.ratio * present:
            self._rival_frames = 0
        else:
            self._rival_frames += 1
            if self._rival_frames >= self.frames:
                self.main, self._rival_frames = rival, 0
        return self.main

    def _blend(self, thing: int, value: float) -> float:
        return self._salience[thing] + _SMOOTHING * (value - self._salience[thing])
