# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Objects against the truth of generated clips: position of the visible surface, identity, and the main object."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from m4sam_core.objects import CameraModel, ObjectFinder, SceneObjects
from m4sam_training.bench.object_clips import (
    FIRST_SEED,
    FPS,
    TrueFrame,
    camera_of,
    crossing,
    occluded,
    render,
    room,
    scenes_of_several,
    still,
    wavering,
)
from m4sam_training.data.corruptions import DEPTH_CORRUPTIONS, CorruptedStream

SEVERITY = 3
CLEAN = "none"
_LEAST_AREA = 0.002  # of the image; less of an object is not asked for
_STILL_S = 10.0


@dataclass
class PositionScore:
    """Errors of the centroid, relative to the distance.

    Attributes:
        errors: of the objects that have a position.
        without: objects that were found and said to have none.
        missed: objects that were not found at all.
    """

    errors: list[float] = field(default_factory=list)
    without: int = 0
    missed: int = 0

    def as_dict(self) -> dict[str, float | int | None]:
        """For JSON; errors in percent of the distance."""
        known = np.asarray(self.errors) * 100
        median, p95 = np.percentile(known, [50, 95]) if known.size else (None, None)
        total = known.size + self.without + self.missed
        return {
            "objects": total,
            "median_pct": None if median is None else round(float(median), 3),
            "p95_pct": None if p95 is None else round(float(p95), 3),
            "without_position": self.without,
            "missed": self.missed,
        }


@dataclass
class IdentityScore:
    """Whether objects keep their first id.

    Attributes:
        frames: sightings of things that were found, from the first one on in which a thing had an id to itself.
        kept: those in which it had that id, and no larger thing had it too.
        merged: sightings in which a larger thing had its id too: they touched and were taken for one.
        reused: ids that a new thing got though another had held them.
        by_clip: share kept, per clip.
    """

    frames: int = 0
    kept: int = 0
    merged: int = 0
    reused: int = 0
    by_clip: list[float] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "consistency": round(self.kept / max(self.frames, 1), 4),
            "worst_clip": round(min(self.by_clip, default=1.0), 4),
            "frames": self.frames,
            "merged": self.merged,
            "ids_reused": self.reused,
        }


def bench_objects(clips: int, frames: int, advance: Callable[[str], object]) -> dict[str, Any]:
    """Every measurement.

    Args:
        clips: of each kind.
        frames: of each clip.
        advance: called with what begins.

    Returns:
        `position` by fault, `identity` without and with occlusions and crossings, `attention`.
    """
    positions = {name: PositionScore() for name in (CLEAN, *DEPTH_CORRUPTIONS)}
    identity = {"free": IdentityScore(), "occluded": IdentityScore(), "crossing": IdentityScore()}
    for clip in range(clips):
        advance(f"clip {clip + 1} of {clips}")
        scene = room(FIRST_SEED + clip)
        seen = list(render(scene, FIRST_SEED + clip, frames))
        camera = camera_of(scene)
        for name, score in positions.items():
            found = list(_follow(seen, camera, None if name == CLEAN else CorruptedStream(name, SEVERITY, clip)))
            _score_positions(seen, found, score)
            if name == CLEAN:
                _score_identity(seen, found, identity["free"])
        hidden = occluded(seen)
        _score_identity(hidden, list(_follow(hidden, camera, None)), identity["occluded"])
    for clip, scene in enumerate(scenes_of_several(clips)):
        advance(f"crossing {clip + 1} of {clips}")
        crossed = crossing(scene)
        seen = list(render(crossed, FIRST_SEED + clip, frames))
        _score_identity(seen, list(_follow(seen, camera_of(crossed), None)), identity["crossing"])
    advance("main object")
    return {
        "position": {name: score.as_dict() for name, score in positions.items()},
        "identity": {name: score.as_dict() for name, score in identity.items()},
        "attention": _attention(clips),
    }


# ------------------------------------------------------------------------------------------ scores


def _follow(seen: list[TrueFrame], camera: CameraModel, fault: CorruptedStream | None) -> Iterator[SceneObjects]:
    finder = ObjectFinder()
    for frame in seen:
        depth = frame.depth if fault is None else fault(frame.depth)
        yield finder.update(frame.mask, None, depth, frame.stamp_s, camera=camera, rgb=frame.rgb)


def _asked(frame: TrueFrame) -> Iterator[tuple[int, NDArray[np.bool_]]]:
    """The things large enough to be asked for, with their pixels."""
    for number in frame.centroids:
        inside = frame.owner == number
        if np.count_nonzero(inside) >= _LEAST_AREA * inside.size:
            yield number, inside


def _id_at(labels: NDArray[np.uint16], inside: NDArray[np.bool_]) -> int:
    """The id that most of a thing's pixels carry, 0 when it was not found."""
    return int(np.bincount(labels[inside]).argmax())


def _score_positions(seen: list[TrueFrame], found: list[SceneObjects], score: PositionScore) -> None:
    for frame, answer in zip(seen, found, strict=True):
        by_id = {item.id: item for item in answer.objects}
        for number, inside in _asked(frame):
            item = by_id.get(_id_at(answer.labels, inside))
            if item is None:
                score.missed += 1
            elif item.centroid_m is None:
                score.without += 1
            else:
                truth = frame.centroids[number]
                score.errors.append(float(np.linalg.norm(truth - item.centroid_m) / np.linalg.norm(truth)))


def _score_identity(seen: list[TrueFrame], found: list[SceneObjects], score: IdentityScore) -> None:
    first: dict[int, int] = {}
    frames = kept = 0
    for frame, answer in zip(seen, found, strict=True):
        asked = dict(_asked(frame))
        held = {number: held for number, inside in asked.items() if (held := _id_at(answer.labels, inside))}
        for number, given in held.items():
            alone = sum(other == given for other in held.values()) == 1
            if number not in first and alone:
                score.reused += given in first.values()
                first[number] = given
            owner = alone or _owner(given, answer, asked) == number
            score.merged += not owner
            if number in first:
                frames += 1
                kept += owner and given == first[number]
    score.frames += frames
    score.kept += kept
    if frames:
        score.by_clip.append(kept / frames)


def _owner(given: int, answer: SceneObjects, asked: dict[int, NDArray[np.bool_]]) -> int:
    """The thing with most of an id's pixels; of two that are taken for one, the smaller has no id."""
    return max(asked, key=lambda number: int(np.count_nonzero(answer.labels[asked[number]] == given)))


def _attention(clips: int) -> dict[str, Any]:
    """Changes of the main object in ten seconds of a still scene, and frames until it follows attention."""
    changes, delays = [], []
    for clip, several in enumerate(scenes_of_several(clips)):
        scene = still(several)
        frame = next(render(scene, FIRST_SEED + clip, 1))
        numbers = sorted(frame.centroids, key=lambda number: -int(np.count_nonzero(frame.owner == number)))
        camera, rng = camera_of(scene), np.random.default_rng(clip)
        finder, mains = ObjectFinder(), []
        for index in range(round(_STILL_S * FPS)):
            mask = wavering(frame.owner > 0, rng)
            found = finder.update(mask, None, frame.depth, index / FPS, camera=camera, rgb=frame.rgb)
            mains.append(None if found.main is None else found.main.id)
        changes.append(sum(one != other for one, other in itertools.pairwise(mains)))
        if len(numbers) >= 2:
            delays.append(_delay(frame, numbers[0], numbers[1], camera, rng))
    return {"most_changes_in_10_s": max(changes), "frames_to_follow": max(delays, default=None), "moves": len(delays)}


def _delay(frame: TrueFrame, before: int, after: int, camera: CameraModel, rng: np.random.Generator) -> int:
    finder, stamp = ObjectFinder(), 0
    for stamp in range(15):
        finder.update(wavering(frame.owner == before, rng), None, frame.depth, stamp / FPS, camera=camera)
    for later in range(1, 60):
        mask = wavering(frame.owner == after, rng)
        found = finder.update(mask, None, frame.depth, (stamp + later) / FPS, camera=camera)
        if found.main is not None:
            return later
    return 60
