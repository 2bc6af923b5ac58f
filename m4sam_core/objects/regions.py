# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""A mask's regions: one for each thing, told apart in the image and, where that does not do, in depth.

All of it happens on a grid of about `GRID_PX` columns, for things are larger than that is coarse:

1. Depth inside the mask is completed from the nearest readings and smoothed, so that holes and flying pixels part
   nothing.
2. Where it steps, the mask is cut; the pieces grow back until they meet.
3. Pieces whose depths agree along their seam are one thing again, and so is a sliver with what it clings to: it is the
   rim of a mask that is a little too large. So is a small piece behind it that goes on beyond the mask: a leak.
4. Regions that do not touch are one thing when what lies between them is thin, nearer than both, and they go on behind
   it at the same distance.
"""

from __future__ import annotations

from collections import Counter
from itertools import combinations

import cv2
import numpy as np
from numpy.typing import NDArray

from m4sam_core.objects.depth import FloatArray, despeckled, filled

LabelArray = NDArray[np.int32]
BoolArray = NDArray[np.bool_]

GRID_PX = 256
_KERNEL = np.ones((5, 5), np.uint8)
_MARGIN_PX = 3  # of the grid: so much is looked at around the mask
_SEAM_GAPS = 1.2  # pieces whose seam steps by less than this many gaps are one thing
_SLIVER_RADIUS = 0.012  # of the grid's longer side; a piece that no larger disc fits into is a rim
_LEAK_AREA = 0.25  # of the thing it clings to; a larger piece is a thing
_LEAK_GOES_ON = 0.6  # share of the readings just outside a piece that are as far as it is
_BRIDGED_AT_MOST = 12  # regions considered for being parts of one thing, the largest ones
_BRIDGE_WIDTH = (0.1, 0.6)  # widest occluder: share of the grid's longer side, and of the smaller part's side
_BRIDGE_CONTACT = 0.4  # share of the smaller part's extent along which the occluder separates the two
BRIDGE_NEARER = 0.6  # share of the readings between the two that are nearer than both
BRIDGE_KNOWN = 0.2  # share of the pixels between the two that must have a reading


def grid_step(height: int, width: int) -> int:
    """Pixels of an image of that size per pixel of the grid."""
    return max(1, -(-max(height, width) // GRID_PX))


def gap_at(depth_m: FloatArray, gap_m: float) -> FloatArray:
    """The step that parts two things at a distance: `gap_m` up to 2 m, beyond it with the square of the distance."""
    return np.float32(gap_m) * np.maximum(1, (depth_m / 2) ** 2)


def find_regions(inside: BoolArray, depth_m: FloatArray | None, gap_m: float) -> LabelArray:
    """Number the things of a mask.

    Args:
        inside (h, w): the mask on the grid.
        depth_m (h, w): metres on the same grid, 0 where there is no reading; None without depth.
        gap_m: see `gap_at`.

    Returns:
        (h, w) int32: 1, 2, ... on the things, 0 elsewhere.
    """
    labels = np.zeros(inside.shape, np.int32)
    left, top, width, height = cv2.boundingRect(inside.view(np.uint8))
    if not width:
        return labels
    window = (
        slice(max(0, top - _MARGIN_PX), top + height + _MARGIN_PX),
        slice(max(0, left - _MARGIN_PX), left + width + _MARGIN_PX),
    )
    labels[window] = _in_window(inside[window], None if depth_m is None else depth_m[window], gap_m, max(inside.shape))
    return labels


def _in_window(inside: BoolArray, depth_m: FloatArray | None, gap_m: float, grid_px: int) -> LabelArray:
    patches = _components(inside)
    if depth_m is None or not (inside & (depth_m > 0)).any():
        return patches
    depth_m = despeckled(depth_m, gap_m)
    surface = np.asarray(cv2.medianBlur(filled(depth_m, inside), 5), np.float32)
    steps = cv2.dilate(surface, _KERNEL) - cv2.erode(surface, _KERNEL)
    gap = gap_at(surface, gap_m)
    solid = inside & (steps <= gap)
    if (solid == inside).all():
        pieces = patches
    else:
        pieces, surface = _cut(patches, solid, surface)
        pieces = _joined(pieces, surface, depth_m, gap_m, grid_px)
    return _bridged(pieces, depth_m, surface, gap_m, grid_px)


def _components(inside: BoolArray) -> LabelArray:
    _, labels = cv2.connectedComponents(inside.view(np.uint8), connectivity=8, ltype=cv2.CV_32S)
    return np.asarray(labels, np.int32)


def _cut(patches: LabelArray, solid: BoolArray, surface: FloatArray) -> tuple[LabelArray, FloatArray]:
    """Pieces of the patches, grown over the steps between them, and the depth each pixel was grown from."""
    _, cores = cv2.connectedComponents(solid.view(np.uint8), connectivity=4, ltype=cv2.CV_32S)
    if not solid.any():
        return patches, surface
    _, nearest = cv2.distanceTransformWithLabels(
        (~solid).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_3, labelType=cv2.DIST_LABEL_PIXEL
    )
    size = int(nearest.max()) + 1
    core_of, patch_of, depth_of = np.zeros(size, np.int32), np.zeros(size, np.int32), np.zeros(size, np.float32)
    core_of[nearest[solid]], patch_of[nearest[solid]] = cores[solid], patches[solid]
    depth_of[nearest[solid]] = surface[solid]
    # A patch without any core of its own stays one piece; nothing grows from one patch into another.
    own = patch_of[nearest] == patches
    pieces = np.where(own, core_of[nearest], patches + int(cores.max()))
    pieces[patches == 0] = 0
    return np.asarray(pieces, np.int32), np.where(own, depth_of[nearest], surface)


def _seams(pieces: LabelArray, surface: FloatArray, gap_m: float) -> list[tuple[int, int, int, float]]:
    """Where two pieces meet: both numbers, how many pixels long, and the median step in gaps."""
    found = []
    for first, second in (
        ((slice(-1), slice(None)), (slice(1, None), slice(None))),
        ((slice(None), slice(-1)), (slice(None), slice(1, None))),
    ):
        met = np.nonzero((pieces[first] != pieces[second]) & (pieces[first] > 0) & (pieces[second] > 0))
        one, other = pieces[first][met], pieces[second][met]
        here, there = surface[first][met], surface[second][met]
        step = np.abs(here - there) / gap_at(np.minimum(here, there), gap_m)
        found.append((np.minimum(one, other), np.maximum(one, other), step))
    low, high, step = (np.concatenate(parts) for parts in zip(*found, strict=True))
    keys, which = np.unique(low.astype(np.int64) << 32 | high, return_inverse=True)
    seams = []
    for index, key in enumerate(keys):
        steps = step[which == index]
        seams.append((int(key) >> 32, int(key) & 0xFFFFFFFF, len(steps), float(np.median(steps))))
    return seams


def _joined(pieces: LabelArray, surface: FloatArray, depth_m: FloatArray, gap_m: float, grid_px: int) -> LabelArray:
    """Pieces that agree along their seam, and slivers and leaks with what they cling to, are one again."""
    seams = _seams(pieces, surface, gap_m)
    joined = _Union(int(pieces.max()) + 1)
    for low, high, _, step in seams:
        if step <= _SEAM_GAPS:
            joined.join(low, high)
    pieces = joined.apply(pieces)
    beside: dict[int, Counter[int]] = {}
    for low, high, length, _ in seams:
        one, other = joined.root(low), joined.root(high)
        if one != other:
            beside.setdefault(one, Counter())[other] += length
            beside.setdefault(other, Counter())[one] += length
    radius = {piece: _inner_radius(pieces, piece) for piece in beside}
    for piece in sorted(radius, key=lambda piece: radius[piece]):
        holder = beside[piece].most_common(1)[0][0]
        thin = radius[piece] < max(1.0, _SLIVER_RADIUS * grid_px)
        if thin or _is_leak(pieces == piece, pieces == holder, pieces == 0, surface, depth_m, gap_m):
            joined.join(piece, holder)
    return joined.apply(pieces)


def _is_leak(
    piece: BoolArray, holder: BoolArray, outside: BoolArray, surface: FloatArray, depth_m: FloatArray, gap_m: float
) -> bool:
    """Whether a small piece is what stands behind a thing, into which the mask has run over.

    It is farther than the thing, and its surface goes on beyond the mask: a thing of its own would end there.
    """
    if np.count_nonzero(piece) > _LEAK_AREA * np.count_nonzero(holder):
        return False
    deep = np.asarray(np.median(surface[piece]), np.float32)
    gap = float(gap_at(deep, gap_m))
    if deep - np.median(surface[holder]) <= gap:
        return False
    rim = cv2.dilate(piece.view(np.uint8), _KERNEL).view(np.bool_) & outside & (depth_m > 0)
    goes_on = np.count_nonzero(rim & (np.abs(depth_m - deep) <= gap))
    return bool(goes_on > 0 and goes_on >= _LEAK_GOES_ON * np.count_nonzero(rim))


def _inner_radius(pieces: LabelArray, piece: int) -> float:
    """Radius of the largest disc that fits into a piece. Pixels."""
    inside = (pieces == piece).view(np.uint8)
    left, top, width, height = cv2.boundingRect(inside)
    cut = cv2.copyMakeBorder(inside[top : top + height, left : left + width], 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    return float(cv2.distanceTransform(cut, cv2.DIST_L2, cv2.DIST_MASK_3).max())


def _bridged(regions: LabelArray, depth_m: FloatArray, surface: FloatArray, gap_m: float, grid_px: int) -> LabelArray:
    """Parts of one thing behind a thin occluder are one."""
    areas = np.bincount(regions.ravel())
    areas[0] = 0
    order = [int(label) for label in np.argsort(-areas)[:_BRIDGED_AT_MOST] if areas[label] > 0]
    if len(order) < 2:
        return regions
    distance = {label: float(np.median(surface[regions == label])) for label in order}
    boxes = {label: cv2.boundingRect((regions == label).view(np.uint8)) for label in order}
    joined = _Union(int(regions.max()) + 1)
    for one, other in combinations(order, 2):
        near = min(distance[one], distance[other])
        gap = float(gap_at(np.asarray(near, np.float32), gap_m))
        widest = min(_BRIDGE_WIDTH[0] * grid_px, _BRIDGE_WIDTH[1] * float(np.sqrt(min(areas[one], areas[other]))))
        if abs(distance[one] - distance[other]) > gap or _apart(boxes[one], boxes[other]) > widest:
            continue
        if _occluded_between(regions, one, other, depth_m, near - gap / 2, widest):
            joined.join(one, other)
    return joined.apply(regions)


def _apart(one: tuple[int, int, int, int], other: tuple[int, int, int, int]) -> float:
    """Pixels between two boxes."""
    across = max(one[0], other[0]) - min(one[0] + one[2], other[0] + other[2])
    down = max(one[1], other[1]) - min(one[1] + one[3], other[1] + other[3])
    return float(max(across, down, 0))


def _occluded_between(
    regions: LabelArray, one: int, other: int, depth_m: FloatArray, nearer_than: float, widest: float
) -> bool:
    parts = [(regions == label) for label in (one, other)]
    away = [cv2.distanceTransform((~part).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5) for part in parts]
    between = (away[0] + away[1] <= widest + 1) & ~parts[0] & ~parts[1]
    known = between & (depth_m > 0)
    if np.count_nonzero(known) <= BRIDGE_KNOWN * np.count_nonzero(between):
        return False
    if np.count_nonzero(known & (depth_m < nearer_than)) < BRIDGE_NEARER * np.count_nonzero(known):
        return False
    contact = max(
        float(np.count_nonzero(between.any(axis=axis)))
        / max(1.0, min(float(np.count_nonzero(part.any(axis=axis))) for part in parts))
        for axis in (0, 1)
    )
    return contact >= _BRIDGE_CONTACT


class _Union:
    """Labels that turn out to be one."""

    def __init__(self, count: int) -> None:
        self._root = np.arange(count, dtype=np.int32)

    def join(self, one: int, other: int) -> None:
        low, high = sorted((int(self._root[one]), int(self._root[other])))
        self._root[self._root == high] = low

    def root(self, label: int) -> int:
        return int(self._root[label])

    def apply(self, labels: LabelArray) -> LabelArray:
        return self._root[labels]
