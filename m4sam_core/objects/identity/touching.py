# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Things known apart that touch now, at one distance, so that mask and depth show one patch: its pixels shared out.

Each pixel goes to the thing in whose expected outline it lies deepest, weighed with how usual its colour is there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from m4sam_core.objects.things import Thing

_LEVELS_LOG2 = 2  # four levels per channel, 64 colours
_BINS = 1 << 3 * _LEVELS_LOG2
_GAIN = 0.2  # share of a frame in the running histogram
_UNSEEN = 0.02  # what a colour counts that a thing has not shown
_COLOUR_PX = 9  # colours are judged over squares of this side
_OUTLINE = 0.05  # how sure the expected outline is, in the thing's size
_SPECK = 0.1  # share of a thing; smaller islands belong to what is around them


@dataclass(frozen=True)
class Look:
    """What a thing looked like when it was last seen.

    Attributes:
        thing: its pixels.
        colours (64,): how much of it had which colour, sum 1; None without colour.
    """

    thing: Thing
    colours: NDArray[np.float64] | None

    @classmethod
    def of(cls, thing: Thing, rgb: NDArray[np.uint8] | None, before: Look | None) -> Look:
        """Of a thing in a frame (H, W, 3), colours blended with those of before."""
        if rgb is None:
            return cls(thing, None if before is None else before.colours)
        rows, columns = thing.sampling
        step = thing.step
        pixels = rgb[rows.start : rows.stop : step, columns.start : columns.stop : step][thing.sampled()]
        if not len(pixels):  # finer than the sampling
            pixels = rgb[thing.window][thing.inside]
        counts = np.bincount(_bins(pixels), minlength=_BINS) / len(pixels)
        if before is not None and before.colours is not None:
            counts = before.colours + _GAIN * (counts - before.colours)
        return cls(thing, counts)


@dataclass(frozen=True)
class Claim:
    """A thing that has part in a patch: what it looked like, and how far it should have moved since, in pixels."""

    look: Look
    shift_px: tuple[int, int]


def shared_out(
    patch: Thing, claims: Sequence[Claim], rgb: NDArray[np.uint8] | None, least_px: float
) -> list[Thing | None]:
    """The part of each claim in a patch.

    Args:
        patch: one region of the mask.
        claims: the things in it.
        rgb (H, W, 3): the frame's colours, None without.
        least_px: smaller parts are none.

    Returns:
        for each claim its pixels, None where it has too few; what it would have had belongs to the others.
    """
    scores = np.stack([_score(patch, claim, rgb) for claim in claims])
    owner = _without_specks(np.where(patch.inside, scores.argmax(axis=0), -1), len(claims))
    parts = [patch.part(owner == index) for index in range(len(claims))]
    small = [part is None or part.area_px < least_px for part in parts]
    if not any(small):
        return list(parts)
    rest = [claim for claim, gone in zip(claims, small, strict=True) if not gone]
    if not rest:
        return [patch, *[None] * (len(claims) - 1)]
    others = iter([patch] if len(rest) == 1 else shared_out(patch, rest, rgb, least_px))
    return [None if gone else next(others) for gone in small]


def _score(patch: Thing, claim: Claim, rgb: NDArray[np.uint8] | None) -> NDArray[np.float32]:
    """How much each pixel of the patch's window belongs to a thing."""
    outline = np.zeros(patch.inside.shape, np.uint8)
    rows, columns = claim.look.thing.window
    top, left = (
        rows.start + claim.shift_px[1] - patch.window[0].start,
        columns.start + claim.shift_px[0] - patch.window[1].start,
    )
    inside = claim.look.thing.inside
    height, width = patch.inside.shape
    down = slice(max(0, top), min(height, top + inside.shape[0]))
    right = slice(max(0, left), min(width, left + inside.shape[1]))
    if down.stop > down.start and right.stop > right.start:
        outline[down, right] = inside[down.start - top : down.stop - top, right.start - left : right.stop - left]
    scale = np.float32(max(2.0, _OUTLINE * claim.look.thing.area_px**0.5))
    depth = cv2.distanceTransform(outline, cv2.DIST_L2, cv2.DIST_MASK_3)
    depth -= np.minimum(cv2.distanceTransform(1 - outline, cv2.DIST_L2, cv2.DIST_MASK_3), 1e4)
    score = np.asarray(depth / scale, np.float32)
    if rgb is None or claim.look.colours is None:
        return score
    usual = np.log(claim.look.colours + _UNSEEN).astype(np.float32)[_bins(rgb[patch.window])]
    square = (_COLOUR_PX, _COLOUR_PX)
    weight = cv2.blur(patch.inside.astype(np.float32), square)
    return score + cv2.blur(usual * patch.inside, square) / np.maximum(weight, np.float32(1e-3))


def _bins(rgb: NDArray[np.uint8]) -> NDArray[np.intp]:
    """Which of the 64 colours each pixel (..., 3) has."""
    levels = (rgb >> (8 - _LEVELS_LOG2)).astype(np.intp)
    return (levels[..., 0] << 2 * _LEVELS_LOG2) | (levels[..., 1] << _LEVELS_LOG2) | levels[..., 2]


def _without_specks(owner: NDArray[np.intp], count: int) -> NDArray[np.intp]:
    """Islands of a part go to the part with most pixels around them."""
    owner = owner.copy()
    for index in range(count):
        _, numbers, stats, _ = cv2.connectedComponentsWithStats((owner == index).view(np.uint8), connectivity=4)
        areas = stats[1:, cv2.CC_STAT_AREA]
        for island in np.flatnonzero(areas < _SPECK * areas.sum()) + 1:
            inside = numbers == island
            rim = cv2.dilate(inside.view(np.uint8), np.ones((3, 3), np.uint8)).view(np.bool_) & ~inside
            beside = owner[rim & (owner >= 0) & (owner != index)]
            if beside.size:
                owner[inside] = np.bincount(beside).argmax()
    return owner
