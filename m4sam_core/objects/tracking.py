# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Identity over time: which thing of this frame is which of before.

One assignment per frame (Hungarian) over overlap, motion in the image, distance in space and size. A thing out of sight
is expected where it was going, ever less surely, until it is forgotten; ids only ever count up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from m4sam_core.objects.types import Vector3

FloatArray = NDArray[np.float64]

LAST_ID = 65535  # what a mono16 label can hold
_REFUSED = 1e6
_WORST = 1.0  # cost from which two things are not the same
_MOTION_GAIN = 0.4  # share of a surprise that goes into the speed
_COAST_S = 0.4  # a thing out of sight keeps its speed for about so long
_DRIFT_PER_S = 1.0  # how far a hidden thing may be off, in its own sizes per second
_LARGEST_DRIFT = 2.5  # the same, at most; in its own sizes
_SIZE_MEMORY_S = 10.0  # time in which the largest size seen is forgotten by 1/e
_RANGE_M = 0.25  # difference in distance that costs half of what is allowed, up to 2 m; grows with the distance
_COLOUR_WEIGHT = 0.5
_PART_SIZE = 1.2  # the parts of a half-hidden thing together, in its largest size lately
_PART_REACH = 1.5  # how far apart they may be, in its extent


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
        speed: (2,) pixels per second.
        place: (3,) metres as last seen, None when it never had a position.
        size: its area times distance squared, a measure of its extent; the most seen lately.
    """

    id: int
    first_s: float
    last_s: float
    box: FloatArray
    centre: FloatArray
    speed: FloatArray = field(default_factory=lambda: np.zeros(2))
    place: FloatArray | None = None
    size: float = 0.0
    visibility: float = 1.0
    colour: FloatArray | None = None
    frames: int = 1
    missed: int = 0

    @property
    def extent_px(self) -> float:
        """Side of a square of its area at its present distance, or of its box where that is larger. Pixels."""
        distance = 1.0 if self.place is None else float(self.place[2])
        return float(np.sqrt(max(self.box[2] * self.box[3], self.size / max(distance, 1e-3) ** 2, 1.0)))

    def expected(self, stamp_s: float) -> FloatArray:
        """(2,) where its centre should be, in pixels; the speed dies away while it is out of sight."""
        ahead = max(0.0, stamp_s - self.last_s)
        return self.centre + self.speed * _COAST_S * (1 - float(np.exp(-ahead / _COAST_S)))


class Tracker:
    """The things of one camera's stream."""

    def __init__(self, remember_s: float) -> None:
        self.remember_s = remember_s
        self.tracks: list[Track] = []
        self._next_id = 1

    def begin_scene(self) -> None:
        """Forget every thing. Numbering goes on, and begins again at 1 only when the numbers are nearly used up."""
        self.tracks = []
        if self._next_id > LAST_ID // 2:
            self._next_id = 1

    def match(self, sightings: Sequence[Sighting], stamp_s: float) -> list[Track | None]:
        """Which thing each sighting is; the same one twice where it is seen on both sides of what hides it.

        Args:
            sightings: of a frame.
            stamp_s: its time, not before the last one. Seconds.

        Returns:
            the track of each, None for a new thing.
        """
        self.tracks = [track for track in self.tracks if stamp_s - track.last_s <= self.remember_s]
        found: list[Track | None] = [None] * len(sightings)
        # The things seen a moment ago first: one that comes back must not take the place of one that never left.
        for waiting in (False, True):
            candidates = [track for track in self.tracks if (track.missed > 1) == waiting]
            open_ones = [index for index, track in enumerate(found) if track is None]
            for row, column in _assignment(candidates, [sightings[index] for index in open_ones], stamp_s):
                found[open_ones[column]] = candidates[row]
        whole = [(track, sighting) for track, sighting in zip(found, sightings, strict=True) if track is not None]
        for index, sighting in enumerate(sightings):
            if found[index] is None:
                parts = (track for track, seen in whole if _is_part(track, seen, sighting))
                found[index] = next(parts, None)
        return found

    def follow(
        self, matched: Sequence[Track | None], sightings: Sequence[Sighting], stamp_s: float
    ) -> list[Track | None]:
        """Take a frame's sightings into the tracks.

        Args:
            matched: what `match` found, each track once.
            sightings: whole things.
            stamp_s: time of the frame. Seconds.

        Returns:
            the track of each, None where the scene has used up every id.
        """
        for track in self.tracks:
            track.missed += 1
        followed: list[Track | None] = []
        for known, sighting in zip(matched, sightings, strict=True):
            if known is None:
                followed.append(self._begin(sighting, stamp_s))
            else:
                _follow(known, sighting, stamp_s)
                followed.append(known)
        return followed

    def _begin(self, sighting: Sighting, stamp_s: float) -> Track | None:
        if self._next_id > LAST_ID:
            return None
        track = Track(self._next_id, stamp_s, stamp_s, np.array(sighting.box_px, float), np.array(sighting.centre_px))
        self._next_id += 1
        _note_place(track, sighting, 0.0)
        self.tracks.append(track)
        return track


def _follow(track: Track, sighting: Sighting, stamp_s: float) -> None:
    passed = stamp_s - track.last_s
    if passed > 0:
        moved = (np.array(sighting.centre_px) - track.centre) / passed
        gain = _MOTION_GAIN if track.frames > 1 else 1.0
        track.speed = track.speed + gain * (moved - track.speed) if track.missed <= 2 else np.zeros(2)
    track.box, track.centre = np.array(sighting.box_px, float), np.array(sighting.centre_px)
    _note_place(track, sighting, passed)
    track.last_s, track.missed = stamp_s, 0
    track.frames += 1


def _is_part(track: Track, seen: Sighting, other: Sighting) -> bool:
    """Whether a new sighting is the other end of a thing that something hides the middle of.

    The thing was larger lately than what is seen of it now by about as much, and goes on at the same distance.
    """
    if track.place is None or seen.centroid_m is None or other.centroid_m is None:
        return False
    deep, apart = seen.centroid_m[2], np.subtract(seen.centre_px, other.centre_px)
    if abs(other.centroid_m[2] - deep) > _RANGE_M / 2 * max(1.0, deep / 2):
        return False
    together = (seen.area_px + other.area_px) * deep**2
    return bool(together <= _PART_SIZE * track.size and np.linalg.norm(apart) <= _PART_REACH * track.extent_px)


def _note_place(track: Track, sighting: Sighting, passed_s: float) -> None:
    distance = 1.0
    if sighting.centroid_m is not None:
        track.place = np.array(sighting.centroid_m)
    if track.place is not None:
        distance = float(track.place[2])
    size = sighting.area_px * distance**2
    track.size = max(size, track.size * float(np.exp(-passed_s / _SIZE_MEMORY_S)))
    track.visibility = min(1.0, size / max(track.size, 1e-9))
    if sighting.colour is not None:
        colour = np.array(sighting.colour)
        track.colour = colour if track.colour is None else track.colour + 0.2 * (colour - track.colour)


def _assignment(tracks: Sequence[Track], sightings: Sequence[Sighting], stamp_s: float) -> list[tuple[int, int]]:
    if not tracks or not sightings:
        return []
    cost = _costs(tracks, sightings, stamp_s)
    rows, columns = linear_sum_assignment(np.where(cost < _WORST, cost, _REFUSED))
    return [(int(row), int(column)) for row, column in zip(rows, columns, strict=True) if cost[row, column] < _WORST]


def _costs(tracks: Sequence[Track], sightings: Sequence[Sighting], stamp_s: float) -> FloatArray:
    """(tracks, sightings): 0 for the same place and size, `_WORST` and above for what cannot be the same."""
    old = np.array([track.box for track in tracks])
    new = np.array([sighting.box_px for sighting in sightings], float)
    shift = np.array([track.expected(stamp_s) - track.centre for track in tracks])
    hidden = np.array([max(0.0, stamp_s - track.last_s) if track.missed > 0 else 0.0 for track in tracks])
    slack = 1 + np.minimum(hidden * _DRIFT_PER_S, _LARGEST_DRIFT)[:, None]
    overlap = _overlaps(old + np.concatenate([shift, np.zeros_like(shift)], axis=1), new)
    centres = np.array([track.centre for track in tracks]) + shift
    away = np.linalg.norm(centres[:, None] - np.array([s.centre_px for s in sightings])[None], axis=2)
    # A thing half hidden is still as large as it was, so what comes out on the other side may be it.
    was = np.array([track.extent_px for track in tracks])[:, None]
    now = np.sqrt(np.maximum(new[:, 2] * new[:, 3], 1))[None]
    in_image = np.minimum(away / (np.maximum(was, now) * slack), 2.0)
    cost = 0.5 * in_image + 0.3 * (1 - overlap) + 0.1 * np.abs(np.log(was / now))
    cost += _range_costs(tracks, sightings, slack)
    cost += _colour_costs(tracks, sightings)
    return np.where((overlap <= 0) & (in_image > 1), _WORST, cost)


def _range_costs(tracks: Sequence[Track], sightings: Sequence[Sighting], slack: FloatArray) -> FloatArray:
    """By distance from the camera where both have one, else a middling cost; what is beside it the image knows."""
    old = np.array([np.nan if track.place is None else np.linalg.norm(track.place) for track in tracks])
    new = np.array([np.nan if s.centroid_m is None else np.linalg.norm(s.centroid_m) for s in sightings])
    scale = _RANGE_M * np.maximum(1, old / 2)[:, None] * slack
    return np.nan_to_num(0.5 * np.minimum(np.abs(old[:, None] - new[None]) / scale, 2.0), nan=0.2)


def _colour_costs(tracks: Sequence[Track], sightings: Sequence[Sighting]) -> FloatArray:
    unknown = np.full(3, np.nan)
    old = np.array([unknown if track.colour is None else track.colour for track in tracks])
    new = np.array([unknown if s.colour is None else s.colour for s in sightings])
    apart = np.linalg.norm(old[:, None] - new[None], axis=2)
    return np.nan_to_num(_COLOUR_WEIGHT * np.minimum(apart, 1.0), nan=0.0)


def _overlaps(old: FloatArray, new: FloatArray) -> FloatArray:
    """(N, M) intersection over union of boxes (left, top, width, height)."""
    low = np.maximum(old[:, None, :2], new[None, :, :2])
    high = np.minimum(old[:, None, :2] + old[:, None, 2:], new[None, :, :2] + new[None, :, 2:])
    both = np.prod(np.maximum(high - low, 0), axis=2)
    either = np.prod(old[:, 2:], axis=1)[:, None] + np.prod(new[:, 2:], axis=1)[None] - both
    return np.asarray(both / np.maximum(either, 1e-9))
