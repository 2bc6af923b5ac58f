# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Whether depth shows what the picture shows (docs/decisions/0012-depth-that-does-not-line-up.md).

Where depth jumps, the picture usually has an outline too. Depth that is late while something moves, or that was never
registered to colour, has its outlines elsewhere, and misleads the model more than no depth would.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from m4sam_core.vision.depth import PreparedDepth, disbelieved
from m4sam_core.vision.images import glance, resize_rgb

_WIDTH_PX = 160  # both images are compared at this width
_REACH_PX, _STEP_PX = 12, 3  # shifts tried, of those pixels: 7.5 % of the width to each side
_LEAST_JUMP = 0.08  # between neighbours, of the nearer one's distance
_LEAST_EDGES, _MOST_EDGES = 150, 1500
_FITS = 0.6  # share of the best shift's advantage over the median shift that depth must have where it lies
_PEAK, _PEAK_DEVIATIONS = 0.15, 1.2  # least advantage, of the mean outline strength and of the shifts' spread
_SHIFTS = np.arange(-_REACH_PX, _REACH_PX + 1, _STEP_PX)
_DOWN, _RIGHT = np.repeat(_SHIFTS, len(_SHIFTS)), np.tile(_SHIFTS, len(_SHIFTS))  # every pair of them
_WEIGHT = 0.4  # of the newest frame in the running doubt
_DROP, _TRUST = 0.6, 0.1  # doubt at which depth is left out, and below which it is used again
_NOTE = (
    "depth: its outlines keep missing those of rgb (they fit better about {:.0f} px away); "
    "is it late, or not registered to colour?"
)


class DepthAlignment:
    """Watches one stream; leaves depth out while it keeps missing the outlines of the picture.

    Two frames in a row have to disagree, and four or five to agree again. A frame with few outlines, or without one
    clear best shift, says nothing; nor does one whose best shift is a single step: that is the shadow which a
    structured-light or stereo camera leaves beside near things.
    """

    def __init__(self) -> None:
        self._doubt = 0.0
        self._note: str | None = None  # while depth is left out; the same all the time, so that logs say it once

    def update(self, rgb: NDArray[np.uint8], depth: PreparedDepth) -> PreparedDepth:
        """Take note of a frame; give back the same depth, or none with the reason.

        Args:
            rgb (H, W, 3): uint8, of any size.
            depth: of the same frame.
        """
        if depth.rgb_only:
            return depth
        away_px = misalignment(rgb, depth)
        if away_px is not None:
            self._doubt += _WEIGHT * ((away_px > 0) - self._doubt)
            if self._doubt < _TRUST:
                self._note = None
            elif self._doubt > _DROP and self._note is None:
                self._note = _NOTE.format(away_px)
        if self._note is None:
            return depth
        return disbelieved(*depth.shape, depth.valid_ratio, self._note)


def misalignment(rgb: NDArray[np.uint8], depth: PreparedDepth) -> float | None:
    """How far away depth would fit better: 0 where it lies, None when this frame cannot tell.

    Args:
        rgb (H, W, 3): uint8, of any size.
        depth: of the same frame, with readings.

    Returns:
        pixels of depth.
    """
    height, width = depth.shape
    size = max(2 * _REACH_PX + 2, round(_WIDTH_PX * height / width)), _WIDTH_PX
    unit = depth.unit_at(np.arange(size[0]) * height // size[0], np.arange(size[1]) * width // size[1])
    rows, columns = _jumps(cv2.medianBlur(np.where(unit > 0, depth.distances(unit), np.float32(0)), 5))
    if len(rows) < _LEAST_EDGES:
        return None
    outlines = _outlines(resize_rgb(glance(rgb), size)[0].permute(1, 2, 0).numpy())
    places = (rows * size[1] + columns)[None, :] + (_DOWN * size[1] + _RIGHT)[:, None]
    strength = np.take(outlines, places).mean(axis=1)
    best, here = int(strength.argmax()), strength[len(strength) // 2]
    middle = float(np.median(strength))
    spread, advantage = 1.48 * float(np.median(np.abs(strength - middle))), strength[best] - middle
    if advantage < max(_PEAK * float(outlines.mean()), _PEAK_DEVIATIONS * spread):
        return None
    if here - middle >= _FITS * advantage:
        return 0.0
    if max(abs(_DOWN[best]), abs(_RIGHT[best])) <= _STEP_PX:
        return None
    return float(np.hypot(_DOWN[best], _RIGHT[best])) * width / _WIDTH_PX


def _jumps(distance: NDArray[np.float32]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows and columns where depth jumps between two readings, far enough from the border to be shifted."""
    jumps = np.zeros(distance.shape, bool)
    for here, there in ((np.s_[:-1], np.s_[1:]), (np.s_[:, :-1], np.s_[:, 1:])):
        near = np.minimum(distance[here], distance[there])
        jumps[here] |= (near > 0) & (np.abs(distance[there] - distance[here]) > _LEAST_JUMP * near)
    inner = slice(_REACH_PX, -_REACH_PX)
    rows, columns = np.nonzero(jumps[inner, inner])
    every = len(rows) // _MOST_EDGES + 1
    return rows[::every] + _REACH_PX, columns[::every] + _REACH_PX


def _outlines(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(H, W) strength of the picture's outlines, compressed, so that a few strong ones do not decide alone."""
    smooth = cv2.GaussianBlur(rgb.astype(np.float32), (0, 0), 0.8)
    across, down = cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1)
    red, green, blue = cv2.split(across * across + down * down)
    steepest = cv2.max(cv2.max(red, green), blue)
    return np.asarray(cv2.dilate(np.sqrt(np.sqrt(steepest)), np.ones((3, 3), np.uint8)), np.float32)
