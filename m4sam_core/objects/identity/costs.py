# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""How unlike a known thing and a thing just seen are: overlap, motion in the image, size, distance, colour."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from m4sam_core.objects.identity.track import RANGE_M, FloatArray, Sighting, Track, gaps_px, shared_px

_WORST = 1.0  # cost from which two things are not the same
_FAIR = 0.5  # cost up to which a pair is preferred to none
_POOR = 0.1  # what is beyond counts so much
_DRIFT_PER_S = 1.0  # how far a hidden thing may be off, in its own sizes per second
_LARGEST_DRIFT = 2.5  # the same, at most; in its own sizes
_COLOUR_WEIGHT = 0.5
_BEHIND = 0.6  # how far off a thing counts at most that comes out from behind what hid it
_BESIDE = 0.1  # of the size of what hides it: so near it a thing went out of sight
_SMALLER, _LARGER = 0.1, 0.3  # per e-fold of its side; things get hidden, but they do not grow


def assigned(
    tracks: Sequence[Track], sightings: Sequence[Sighting], stamp_s: float, before: Sequence[Sighting]
) -> list[tuple[int, int]]:
    """The best pairs of track and sighting (Hungarian), without those that cannot be the same.

    Args:
        tracks: known.
        sightings: of a frame, not yet known.
        stamp_s: its time. Seconds.
        before: everything in the frame that may hide a thing.
    """
    if not tracks or not sightings:
        return []
    cost = _costs(tracks, sightings, stamp_s, before)
    # Poor pairs count little more than none, so that no good pair is broken up to make two poor ones.
    poor = _FAIR + _POOR * np.minimum(np.maximum(cost - _FAIR, 0), _WORST)
    rows, columns = linear_sum_assignment(np.minimum(cost, poor))
    return [(int(row), int(column)) for row, column in zip(rows, columns, strict=True) if cost[row, column] < _WORST]


def _costs(
    tracks: Sequence[Track], sightings: Sequence[Sighting], stamp_s: float, before: Sequence[Sighting]
) -> FloatArray:
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
    # Where the middle of a thing is of which only an edge was seen going, or is seen coming back, is that much unsure.
    last = np.sqrt(np.maximum(old[:, 2] * old[:, 3], 1))[:, None]
    unseen = np.maximum(was - last, 0) / 2 + np.maximum(was - now, 0) / 2
    away = np.where((hidden > 0)[:, None], np.maximum(away - unseen, 0), away)
    in_image = np.minimum(away / (np.maximum(was, now) * slack), 2.0)
    in_image = np.where(_behind(tracks, sightings, before), np.minimum(in_image, _BEHIND), in_image)
    cost = 0.5 * in_image + 0.3 * (1 - overlap) + np.maximum(_SMALLER * np.log(was / now), _LARGER * np.log(now / was))
    cost += _range_costs(tracks, sightings, slack)
    cost += _colour_costs(tracks, sightings)
    return np.where((overlap <= 0) & (in_image > 1), _WORST, cost)


def _behind(tracks: Sequence[Track], sightings: Sequence[Sighting], before: Sequence[Sighting]) -> NDArray[np.bool_]:
    """(tracks, sightings): whether a thing went out of sight beside something nearer and this comes out beside it."""
    old, new, near = (
        np.array(depths, float)
        for depths in (
            [np.nan if track.place is None or track.missed == 0 else track.place[2] for track in tracks],
            [np.nan if s.centroid_m is None else s.centroid_m[2] for s in sightings],
            [np.nan if s.centroid_m is None else s.centroid_m[2] for s in before],
        )
    )
    went, come, hides = (
        np.array(boxes, float).reshape(-1, 4)
        for boxes in ([track.box for track in tracks], [s.box_px for s in sightings], [s.box_px for s in before])
    )
    reach = _BESIDE * np.sqrt(hides[:, 2] * hides[:, 3])[None]
    gone = (gaps_px(went, hides) <= reach) & (near[None] < old[:, None])
    back = (gaps_px(come, hides) <= reach) & (near[None] < new[:, None])
    return (gone[:, None] & back[None]).any(axis=2)


def _range_costs(tracks: Sequence[Track], sightings: Sequence[Sighting], slack: FloatArray) -> FloatArray:
    """By distance from the camera where both have one, else a middling cost; what is beside it the image knows."""
    old = np.array([np.nan if track.place is None else np.linalg.norm(track.place) for track in tracks])
    new = np.array([np.nan if s.centroid_m is None else np.linalg.norm(s.centroid_m) for s in sightings])
    scale = RANGE_M * np.maximum(1, old / 2)[:, None] * slack
    return np.nan_to_num(0.5 * np.minimum(np.abs(old[:, None] - new[None]) / scale, 2.0), nan=0.2)


def _colour_costs(tracks: Sequence[Track], sightings: Sequence[Sighting]) -> FloatArray:
    unknown = np.full(3, np.nan)
    old = np.array([unknown if track.colour is None else track.colour for track in tracks])
    new = np.array([unknown if s.colour is None else s.colour for s in sightings])
    apart = np.linalg.norm(old[:, None] - new[None], axis=2)
    return np.nan_to_num(_COLOUR_WEIGHT * np.minimum(apart, 1.0), nan=0.0)


def _overlaps(old: FloatArray, new: FloatArray) -> FloatArray:
    """(N, M) intersection over union of boxes (left, top, width, height)."""
    both = shared_px(old, new)
    either = np.prod(old[:, 2:], axis=1)[:, None] + np.prod(new[:, 2:], axis=1)[None] - both
    return np.asarray(both / np.maximum(either, 1e-9))
