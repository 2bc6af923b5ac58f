# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""The things of one frame at the image's own resolution: their pixels, before they have a position or an identity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from m4sam_core.objects.regions import LabelArray
from m4sam_core.objects.registered import Window

_SAMPLES = 800  # pixels that a position or a colour is computed from
SALIENT_ABOVE = 127


@dataclass(frozen=True)
class Thing:
    """One region of the mask.

    Attributes:
        window: rows and columns of the image, tightly around it.
        inside (h, w): its pixels in the window.
        area_px: their number.
        centre_px: their mean column and row.
    """

    window: Window
    inside: NDArray[np.bool_]
    area_px: int
    centre_px: tuple[float, float]

    @property
    def box_px(self) -> tuple[int, int, int, int]:
        """left, top, width, height."""
        rows, columns = self.window
        return columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start

    @property
    def step(self) -> int:
        """Every how many pixels it is sampled for figures that need no more."""
        return max(1, int((self.area_px / _SAMPLES) ** 0.5))

    def part(self, inside: NDArray[np.bool_]) -> Thing | None:
        """Those of its pixels that are in `inside` (h, w), None when there are none."""
        return _tight(self.inside & inside, self.window[0].start, self.window[1].start)

    def holds(self, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Which of the image's pixels are its own."""
        down, right = rows - self.window[0].start, columns - self.window[1].start
        height, width = self.inside.shape
        known = (down >= 0) & (down < height) & (right >= 0) & (right < width)
        return known & self.inside[np.clip(down, 0, height - 1), np.clip(right, 0, width - 1)]

    def touches_border(self, shape: tuple[int, int]) -> bool:
        """Whether the image cuts it off."""
        rows, columns = self.window
        return rows.start == 0 or columns.start == 0 or rows.stop == shape[0] or columns.stop == shape[1]

    @property
    def sampling(self) -> Window:
        """The part of its window of which every `step`-th place is sampled: the samples lie evenly about the middle.

        From the window's own corner, their mean would lie half a step beside the thing's.
        """
        rows, columns = (
            slice(part.start + (part.stop - part.start - 1) % self.step // 2, part.stop) for part in self.window
        )
        return rows, columns

    def sampled(self) -> NDArray[np.bool_]:
        """(h, w) its pixels at every `step`-th place of `sampling`."""
        down, right = (begun.start - part.start for begun, part in zip(self.sampling, self.window, strict=True))
        return self.inside[down :: self.step, right :: self.step]

    def mean_of(self, image: NDArray[np.generic]) -> NDArray[np.float64]:
        """Mean over its sampled pixels of an image (H, W) or (H, W, C)."""
        step = self.step
        rows, columns = self.sampling
        values = image[rows.start : rows.stop : step, columns.start : columns.stop : step][self.sampled()]
        if not len(values):  # a thing finer than the sampling
            values = image[self.window][self.inside]
        return np.asarray(values.mean(axis=0, dtype=np.float64))


def whole(parts: Sequence[Thing]) -> Thing:
    """One thing of its parts."""
    rows, columns = (
        slice(min(part.window[axis].start for part in parts), max(part.window[axis].stop for part in parts))
        for axis in (0, 1)
    )
    inside = np.zeros((rows.stop - rows.start, columns.stop - columns.start), np.bool_)
    for part in parts:
        top, left = part.window[0].start - rows.start, part.window[1].start - columns.start
        inside[top : top + part.inside.shape[0], left : left + part.inside.shape[1]] |= part.inside
    area = sum(part.area_px for part in parts)
    x, y = (sum(part.centre_px[axis] * part.area_px for part in parts) / area for axis in (0, 1))
    return Thing((rows, columns), inside, area, (x, y))


def cut_things(mask: NDArray[np.uint8], regions: LabelArray, step: int, least_px: float, most: int) -> list[Thing]:
    """The regions' things, the largest first.

    Args:
        mask (H, W): uint8, salient where > 127.
        regions (h, w): their numbers on the grid of every `step`-th pixel.
        step: of the grid. Pixels.
        least_px: smaller ones are left out. Pixels.
        most: how many at most.
    """
    if step > 1:
        # A pixel between two of the grid may belong to the region beside it.
        grown = cv2.dilate(regions.astype(np.float32), np.ones((3, 3), np.uint8)).astype(np.int32)
        regions = np.where(regions > 0, regions, grown)
    rough = np.bincount(regions.ravel()) * step * step
    spans = ndimage.find_objects(regions)
    things: list[Thing] = []
    for label in np.argsort(-rough[1:])[: 2 * most] + 1:
        span = spans[label - 1]
        # The grid may miss half of a thin thing.
        if span is None or rough[label] < least_px / 2:
            continue
        thing = _cut(mask, regions, int(label), span, step)
        if thing is not None and thing.area_px >= least_px:
            things.append(thing)
    things.sort(key=lambda thing: -thing.area_px)
    return things[:most]


def _cut(mask: NDArray[np.uint8], regions: LabelArray, label: int, span: Window, step: int) -> Thing | None:
    rows, columns = (slice(part.start * step, part.stop * step) for part in span)
    own = regions[span] == label
    salient = mask[rows, columns] > SALIENT_ABOVE
    if step > 1:
        own = own.repeat(step, axis=0).repeat(step, axis=1)[: salient.shape[0], : salient.shape[1]]
    return _tight(salient & own, rows.start, columns.start)


def _tight(inside: NDArray[np.bool_], top: int, left: int) -> Thing | None:
    """A thing of pixels in a window that begins at a place of the image."""
    x, y, width, height = cv2.boundingRect(inside.view(np.uint8))
    if not width:
        return None
    inside = inside[y : y + height, x : x + width]
    # Sums of columns and of rows take a twentieth of the time of cv2.moments, and are as exact.
    columns, rows = (
        cv2.reduce(inside.view(np.uint8), axis, cv2.REDUCE_SUM, dtype=cv2.CV_32S).ravel().astype(np.float64)
        for axis in (0, 1)
    )
    area = float(columns.sum())
    left, top = left + x, top + y
    centre = (left + float(columns @ np.arange(width)) / area, top + float(rows @ np.arange(height)) / area)
    window = (slice(top, top + height), slice(left, left + width))
    return Thing(window, inside, int(area), centre)
