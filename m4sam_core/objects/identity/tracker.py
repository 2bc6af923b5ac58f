# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Identity over time: which thing of this frame is which of before.

One assignment per frame (Hungarian) over overlap, motion in the image, distance in space and size. A thing out of sight
is expected where it was going, ever less surely, until it is forgotten; ids only ever count up.

Two things of a moment ago that are one patch now: when they have never been seen apart, they were parts of one thing
all along and one of the ids ends; otherwise they touch, and keep their ids.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from m4sam_core.objects.identity.costs import assigned
from m4sam_core.objects.identity.track import RANGE_M, Sighting, Track, gaps_px, shares_inside

LAST_ID = 65535  # what a mono16 label can hold
_PART_SIZE = 1.2  # the parts of a thing together, in its largest size lately
_PART_REACH = 1.5  # how far apart they may be, in its extent
_SWALLOWED = 0.6  # share of a thing's box that lies in the patch that has taken it in
_TOGETHER = 0.75  # a patch of several things has at least so much of their areas


class Tracker:
    """The things of one camera's stream."""

    def __init__(self, remember_s: float) -> None:
        self.remember_s = remember_s
        self.tracks: list[Track] = []
        self._next_id = 1

    def number_after(self, last_id: int) -> None:
        """The next new thing gets the id after this one."""
        self._next_id = last_id + 1

    def begin_scene(self) -> None:
        """Forget every thing. Numbering goes on, and begins again at 1 only when the numbers are nearly used up."""
        self.tracks = []
        if self._next_id > LAST_ID // 2:
            self._next_id = 1

    def match(
        self, sightings: Sequence[Sighting], stamp_s: float, connected: Callable[[int, int], bool]
    ) -> list[Track | None]:
        """Which thing each sighting is; the same one twice where it is seen in parts.

        Args:
            sightings: of a frame.
            stamp_s: its time, not before the last one. Seconds.
            connected: whether what is between two sightings, by index, lets them be parts of one thing.

        Returns:
            the track of each, None for a new thing.
        """
        self.tracks = [track for track in self.tracks if stamp_s - track.last_s <= self.remember_s]
        found: list[Track | None] = [None] * len(sightings)
        # The things seen a moment ago first: one that comes back must not take the place of one that never left.
        for waiting in (False, True):
            candidates = [track for track in self.tracks if (track.missed > 1) == waiting]
            open_ones = [index for index, track in enumerate(found) if track is None]
            for row, column in assigned(candidates, [sightings[index] for index in open_ones], stamp_s, sightings):
                found[open_ones[column]] = candidates[row]
            if not waiting:
                self._join_parts(found, sightings, connected)
                self._end_parts(found, sightings, stamp_s)
        return found

    def touching(
        self, matched: Sequence[Track | None], sightings: Sequence[Sighting], stamp_s: float
    ) -> dict[int, list[Track]]:
        """The sightings, by index, that are a patch of several things known apart, with all of these."""
        return {
            index: [track, *others]
            for index, track, others in self._swallowed(matched, sightings, stamp_s)
            if track is not None and others
        }

    def follow(
        self, matched: Sequence[Track | None], sightings: Sequence[Sighting], stamp_s: float, near_px: float
    ) -> list[Track | None]:
        """Take a frame's sightings into the tracks.

        Args:
            matched: what `match` found, each track once.
            sightings: whole things.
            stamp_s: time of the frame. Seconds.
            near_px: things no farther apart than this may be parts of one. Pixels.

        Returns:
            the track of each, None where the scene has used up every id.
        """
        for track in self.tracks:
            track.missed += 1
        followed: list[Track | None] = []
        begun: list[Track] = []
        for known, sighting in zip(matched, sightings, strict=True):
            if known is not None:
                known.follow(sighting, stamp_s)
                followed.append(known)
            elif self._next_id > LAST_ID:
                followed.append(None)
            else:
                begun.append(Track.begun(self._next_id, sighting, stamp_s))
                self._next_id += 1
                followed.append(begun[-1])
        self.tracks += begun
        self._note_neighbours(begun, near_px)
        return followed

    def _swallowed(
        self, matched: Sequence[Track | None], sightings: Sequence[Sighting], stamp_s: float
    ) -> list[tuple[int, Track, list[Track]]]:
        """Sightings that belong to a track and have taken in others that were seen a moment ago."""
        held = {track.id for track in matched if track is not None}
        lost = [track for track in self.tracks if track.missed == 0 and track.id not in held]
        takers = [(index, track) for index, track in enumerate(matched) if track is not None and track.missed == 0]
        if not lost or not takers:
            return []
        expected = np.array(
            [[*(track.box[:2] + track.expected(stamp_s) - track.centre), *track.box[2:]] for track in lost]
        )
        patches = np.array([sightings[index].box_px for index, _ in takers], float)
        inside = shares_inside(expected, patches)
        seen_px: dict[int, int] = {}
        for index, track in takers:
            seen_px[track.id] = seen_px.get(track.id, 0) + sightings[index].area_px
        found: list[tuple[int, Track, list[Track]]] = []
        taken: set[int] = set()
        for column, (index, track) in enumerate(takers):
            others, area = [], track.area
            for row in np.argsort(-inside[:, column]):
                other = lost[row]
                if other.id in taken or inside[row, column] < _SWALLOWED or not _same_distance(track, other):
                    continue
                if seen_px[track.id] >= _TOGETHER * (area + other.area):
                    others.append(other)
                    taken.add(other.id)
                    area += other.area
            if others:
                found.append((index, track, others))
        return found

    def _end_parts(self, found: list[Track | None], sightings: Sequence[Sighting], stamp_s: float) -> None:
        """Things that turn out to have been parts of one are one, under the oldest id."""
        for _, track, others in self._swallowed(found, sightings, stamp_s):
            parts = [other for other in others if other.id in track.clung or track.id in other.clung]
            oldest = min([track, *parts], key=lambda part: part.id)
            for part in (track, *parts):
                if part is not oldest:
                    self.tracks.remove(part)
            found[:] = [oldest if known is track else known for known in found]

    def _join_parts(
        self, found: list[Track | None], sightings: Sequence[Sighting], connected: Callable[[int, int], bool]
    ) -> None:
        """New sightings that are the other end of a thing, or a part that the mask has lost its hold of."""
        parts: dict[int, list[int]] = {}
        for index, track in enumerate(found):
            if track is not None:
                parts.setdefault(track.id, []).append(index)
        by_id = {track.id: track for track in found if track is not None}
        joined = True
        while joined:
            joined = False
            for index, sighting in enumerate(sightings):
                if found[index] is not None:
                    continue
                for number, members in parts.items():
                    seen = [sightings[member] for member in members]
                    if _may_be_part(by_id[number], seen, sighting) and any(connected(m, index) for m in members):
                        found[index] = by_id[number]
                        members.append(index)
                        joined = True
                        break

    def _note_neighbours(self, begun: Sequence[Track], near_px: float) -> None:
        """Who is near whom from the first moment on; who has been seen apart once is no part of the other."""
        present = [track for track in self.tracks if track.missed == 0]
        if not present:
            return
        boxes = np.array([track.box for track in present])
        near = gaps_px(boxes, boxes) <= near_px
        numbers = np.array([track.id for track in present])
        new = {track.id for track in begun}
        for row, track in enumerate(present):
            beside = set(numbers[near[row]].tolist()) - {track.id}
            if track.id in new:
                track.clung = beside
            else:
                track.clung -= set(numbers[~near[row]].tolist())


def _same_distance(one: Track, other: Track) -> bool:
    """Whether two things may be surfaces of one; without positions the image has to tell."""
    if one.place is None or other.place is None:
        return True
    return bool(abs(one.place[2] - other.place[2]) <= _range_at(min(one.place[2], other.place[2])))


def _range_at(distance_m: float) -> float:
    return RANGE_M * max(1.0, distance_m / 2)


def _may_be_part(track: Track, seen: Sequence[Sighting], other: Sighting) -> bool:
    """Whether a new sighting is more of a thing of which too little is seen.

    The thing was larger lately than what is seen of it now by about as much, and goes on at the same distance.
    """
    whole = [sighting for sighting in seen if sighting.centroid_m is not None]
    if track.place is None or other.centroid_m is None or not whole:
        return False
    deep = float(np.average([s.centroid_m[2] for s in whole if s.centroid_m], weights=[s.area_px for s in whole]))
    if abs(other.centroid_m[2] - deep) > _range_at(deep) / 2:
        return False
    together = (sum(sighting.area_px for sighting in seen) + other.area_px) * deep**2
    away = min(float(np.linalg.norm(np.subtract(other.centre_px, sighting.centre_px))) for sighting in seen)
    return together <= _PART_SIZE * track.size and away <= _PART_REACH * track.extent_px
