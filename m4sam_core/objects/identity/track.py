# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""What is compared: a thing seen in a frame, and a thing known over time."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from m4sam_core.objects.types import Vector3

FloatArray = NDArray[np.float64]

_MOTION_GAIN = 0.4  # share of a surprise that goes into the speed
_COAST_S = 0.4  # a thing out of sight keeps its speed for about so long
_SIZE_MEMORY_S = 10.0  # time in which the largest size seen is forgotten by 1/e
_COLOUR_GAIN = 0.2  # share of a frame's colour in the running one
RANGE_M = 0.25  # difference in distance that costs half of what is allowed, up to 2 m; grows with the distance


@dataclass(frozen=True)
class Sighting:
    """A thing of one frame, before it has an identity.

    Attributes:
        box_px: left, top, width, height. Pixels.
        centre_px: mean column and row of its pixels.
        area_px: its pixels.
        centroid_m: position, None without.
        colour: (3,) mean colour, None without; any scale in [0, 1].
    """

    box_px: tuple[int, int, int, int]
    centre_px: tuple[float, float]
    area_px: int
    centroid_m: Vector3 | None
    colour: tuple[float, float, float] | None = None


@dataclass
class Track:
    """A thing over time.

    Attributes:
        id: never given to another thing of the scene.
        first_s, last_s: when it was first and last seen. Seconds.
        frames: how often it was seen.
        missed: frames since it was last seen; 1 while the next one is being taken in.
        box: (4,) as last seen. Pixels.
        centre: (2,) as last seen. Pixels.
        area: as last seen. Pixels.
        speed: (2,) pixels per second.
        place: (3,) metres as last seen, None when it never had a position.
        size: its area times distance squared, a measure of its extent; the most seen lately.
        clung: ids of the things that it has always been seen close to: they may be parts of it.
    """

    id: int
    first_s: float
    last_s: float
    box: FloatArray
    centre: FloatArray
    area: int
    speed: FloatArray = field(default_factory=lambda: np.zeros(2))
    place: FloatArray | None = None
    size: float = 0.0
    visibility: float = 1.0
    colour: FloatArray | None = None
    clung: set[int] = field(default_factory=set)
    frames: int = 1
    missed: int = 0

    @classmethod
    def begun(cls, number: int, sighting: Sighting, stamp_s: float) -> Track:
        """A thing seen for the first time."""
        box, centre = np.array(sighting.box_px, float), np.array(sighting.centre_px)
        track = cls(number, stamp_s, stamp_s, box, centre, sighting.area_px)
        track._note_place(sighting, 0.0)
        return track

    @property
    def extent_px(self) -> float:
        """Side of a square of its area at its present distance, or of its box where that is larger. Pixels."""
        distance = 1.0 if self.place is None else float(self.place[2])
        return float(np.sqrt(max(self.box[2] * self.box[3], self.size / max(distance, 1e-3) ** 2, 1.0)))

    def expected(self, stamp_s: float) -> FloatArray:
        """(2,) where its centre should be, in pixels; the speed dies away while it is out of sight."""
        ahead = max(0.0, stamp_s - self.last_s)
        return self.centre + self.speed * _COAST_S * (1 - float(np.exp(-ahead / _COAST_S)))

    def follow(self, sighting: Sighting, stamp_s: float) -> None:
        """It has been seen again."""
        passed = stamp_s - self.last_s
        if passed > 0:
            moved = (np.array(sighting.centre_px) - self.centre) / passed
            gain = _MOTION_GAIN if self.frames > 1 else 1.0
            self.speed = self.speed + gain * (moved - self.speed) if self.missed <= 2 else np.zeros(2)
        self.box, self.centre = np.array(sighting.box_px, float), np.array(sighting.centre_px)
        self.area = sighting.area_px
        self._note_place(sighting, passed)
        self.last_s, self.missed = stamp_s, 0
        self.frames += 1

    def _note_place(self, sighting: Sighting, passed_s: float) -> None:
        distance = 1.0
        if sighting.centroid_m is not None:
            self.place = np.array(sighting.centroid_m)
        if self.place is not None:
            distance = float(self.place[2])
        size = sighting.area_px * distance**2
        self.size = max(size, self.size * float(np.exp(-passed_s / _SIZE_MEMORY_S)))
        self.visibility = min(1.0, size / max(self.size, 1e-9))
        if sighting.colour is not None:
            colour = np.array(sighting.colour)
            self.colour = colour if self.colour is None else self.colour + _COLOUR_GAIN * (colour - self.colour)


def gaps_px(boxes: FloatArray, others: FloatArray) -> FloatArray:
    """(N, M) pixels between boxes (left, top, width, height), 0 where they overlap."""
    low, high = _common(boxes, others)
    return np.asarray(np.maximum(low - high, 0).max(axis=2))


def shared_px(boxes: FloatArray, others: FloatArray) -> FloatArray:
    """(N, M) pixels that boxes have in common."""
    low, high = _common(boxes, others)
    return np.asarray(np.prod(np.maximum(high - low, 0), axis=2))


def _common(boxes: FloatArray, others: FloatArray) -> tuple[FloatArray, FloatArray]:
    """(N, M, 2): where the later of two boxes begins, and where the first to end does."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    return low, np.minimum(boxes[:, None, :2] + boxes[:, None, 2:], others[None, :, :2] + others[None, :, 2:])


def shares_inside(boxes: FloatArray, others: FloatArray) -> FloatArray:
    """(N, M) share of each of N boxes that lies within each of M others."""
    both = shared_px(boxes, others)
    return np.asarray(both / np.maximum(np.prod(boxes[:, 2:], axis=1)[:, None], 1e-9))
