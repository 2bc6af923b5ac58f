# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""The part of a picture that counts: a rectangle, less the pixels of a mask, e.g. the robot's own grippers.

Both are taken out before anything looks at the frame, so that they stretch no depth range, change no scene and are no
object; the mask that comes out is 0 there (docs/node.md#the-robots-own-body).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from m4sam_core.config import RoiConfig
from m4sam_core.errors import InputError

LEAST_SIDE_PX = 8  # of a picture in which anything can be found

Pixels = TypeVar("Pixels", bound=np.generic)

_FILL_STEP_PX = 8  # ignored colour is filled from surroundings of this grain
_SHAPE_TOLERANCE = 0.02  # relative, between the side ratios of mask and picture


@dataclass(frozen=True, eq=False)
class Region:
    """What of one picture counts.

    Attributes:
        height: rows of the whole picture. Pixels.
        width: columns of the whole picture. Pixels.
        rows: of the rectangle.
        columns: of the rectangle.
        ignored (h, w): bool, inside the rectangle, True for pixels that do not count; None when all do.
    """

    height: int
    width: int
    rows: slice
    columns: slice
    ignored: NDArray[np.bool_] | None = None

    @property
    def is_whole(self) -> bool:
        """Everything counts."""
        return self.ignored is None and self.shape == (self.height, self.width)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the rectangle. Pixels."""
        return self.rows.stop - self.rows.start, self.columns.stop - self.columns.start

    @property
    def place(self) -> tuple[int, ...]:
        """Size of the picture and corners of the rectangle; tells two views apart, whatever is ignored in them."""
        return self.height, self.width, self.rows.start, self.rows.stop, self.columns.start, self.columns.stop

    def take_rgb(self, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The rectangle of (H, W, 3) colour; ignored pixels take the colour of what surrounds them."""
        if self.is_whole:
            return rgb
        window = rgb[self.rows, self.columns]
        return np.ascontiguousarray(window) if self.ignored is None else _filled(window, self.ignored)

    def take_depth(self, depth: NDArray[Any] | None) -> NDArray[Any] | None:
        """The rectangle of depth, which may have another resolution; ignored pixels have no reading (0)."""
        if self.is_whole or not isinstance(depth, np.ndarray) or depth.ndim < 2 or 0 in depth.shape[:2]:
            return depth
        rows, columns = depth.shape[:2]
        window = depth[_scaled(self.rows, self.height, rows), _scaled(self.columns, self.width, columns)]
        if self.ignored is None:
            return window
        height, width = window.shape[:2]
        ignored = cv2.resize(self.ignored.view(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
        window = window.copy()
        window[ignored > 0] = 0
        return window

    def restore(self, image: NDArray[Pixels]) -> NDArray[Pixels]:
        """A map (h, w) of the rectangle as one (H, W) of the whole picture, 0 where nothing counts."""
        if self.is_whole:
            return image
        whole = np.zeros((self.height, self.width), image.dtype)
        whole[self.rows, self.columns] = image if self.ignored is None else np.where(self.ignored, 0, image)
        return whole

    @property
    def left_out(self) -> NDArray[np.bool_] | None:
        """(H, W) bool, True for every pixel of the picture that does not count; None when all do."""
        if self.is_whole:
            return None
        return self.restore(np.ones(self.shape, np.uint8)) == 0


def region_of(height: int, width: int, roi: RoiConfig, ignored: Sequence[NDArray[Any] | None] = ()) -> Region:
    """What counts of a picture of that size.

    Args:
        height: rows. Pixels.
        width: columns. Pixels.
        roi: the rectangle; what reaches over the picture's border is cut off.
        ignored: masks (h, w), None for none, not 0 for pixels that do not count; of another size they are scaled.

    Raises:
        InputError: too little of the rectangle is inside, or the mask has the shape of another camera's picture.
    """
    rows, columns = _inside(roi.y, roi.height, height), _inside(roi.x, roi.width, width)
    if min(rows.stop - rows.start, columns.stop - columns.start) < LEAST_SIDE_PX:
        raise InputError(
            f"roi: expected a part of the {width}x{height} picture of at least {LEAST_SIDE_PX} px a side, got "
            f"x {roi.x}, y {roi.y}, width {roi.width}, height {roi.height}; mend roi.*"
        )
    masks = [_sized(mask, height, width)[rows, columns] for mask in ignored if mask is not None]
    inside: NDArray[np.bool_] | None = np.logical_or.reduce(masks) if masks else None
    if inside is None or not inside.any():
        return Region(height, width, rows, columns)
    if inside.all():
        raise InputError("ignore_mask: expected pixels that count inside roi, got a mask that ignores all of them")
    return Region(height, width, rows, columns, inside)


def _inside(start: int, length: int, side: int) -> slice:
    return slice(min(start, side), min(start + length, side) if length else side)


def _scaled(part: slice, side: int, other: int) -> slice:
    begin, end = (round(edge * other / side) for edge in (part.start, part.stop))
    return slice(begin, max(end, begin + 1))


def _sized(ignored: NDArray[Any], height: int, width: int) -> NDArray[np.bool_]:
    if ignored.ndim != 2 or 0 in ignored.shape:
        raise InputError(f"ignore_mask: expected one channel (H, W), got shape {tuple(ignored.shape)}")
    rows, columns = ignored.shape
    if abs(rows * width - columns * height) > _SHAPE_TOLERANCE * rows * width:
        raise InputError(
            f"ignore_mask: expected the shape of the {width}x{height} picture, got {columns}x{rows}; "
            "make it from a picture of this camera"
        )
    if (rows, columns) == (height, width):
        return ignored != 0
    plane = (ignored != 0).view(np.uint8)
    return cv2.resize(plane, (width, height), interpolation=cv2.INTER_NEAREST) > 0


def _filled(rgb: NDArray[np.uint8], ignored: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Colour without ignored pixels: a smooth continuation of their surroundings, in which nothing stands out."""
    height, width = ignored.shape
    size = (max(1, width // _FILL_STEP_PX), max(1, height // _FILL_STEP_PX))
    counts = (~ignored).astype(np.float32)
    share = cv2.resize(counts, size, interpolation=cv2.INTER_AREA)
    colour = cv2.resize(rgb.astype(np.float32) * counts[..., None], size, interpolation=cv2.INTER_AREA)
    # Ever wider surroundings, until every ignored pixel has some; near ones count most.
    total, weight = colour.copy(), share.copy()
    for sigma in (1.0, 3.0, 9.0, 27.0):
        near = np.float32(1e-3) ** np.float32(sigma / 9)
        total += near * cv2.GaussianBlur(colour, (0, 0), sigma)
        weight += near * cv2.GaussianBlur(share, (0, 0), sigma)
    mean = (rgb[~ignored].mean(axis=0)).astype(np.float32)
    fill = (total + np.float32(1e-12) * mean) / (weight + np.float32(1e-12))[..., None]
    smooth = cv2.resize(fill, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.where(ignored[..., None], np.clip(smooth, 0, 255).astype(np.uint8), rgb)
