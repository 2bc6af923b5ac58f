# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Depth as the objects need it: metres, NaN-free, 0 where there is no reading; holes filled from their neighbours.

And whether it can be believed from frame to frame: a map whose whole scale jumps gives no positions.
"""

from __future__ import annotations

from collections import deque
from typing import Any, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from m4sam_core.rgbd.depth_values import UINT16_NO_READING

FloatArray = NDArray[np.float32]
Number = TypeVar("Number", bound=np.generic)
NEAREST_M, FARTHEST_M = 1e-3, 1e3  # beyond it no depth camera measures; such numbers are marks or damage
_SPECKLE_PX = 3  # so many readings on their own are noise
_SPECKLE_STEPS_PER_M = 100
_FRAMES = 8
_UNSTEADY = 0.04  # median surprise of the scene's scale between frames, relative
_SPEED_M_S = 1.5  # of a robot's camera: what it changes the scale by before its speed is known is no surprise
_ACCELERATION_M_S2 = 2.0  # of a robot's camera: what it may change in the scale between frames is no surprise
_GRID = 24
_LEAST_SHARED = 20


def metres(depth: NDArray[Any], unit_m: float) -> FloatArray:
    """Distances along the optical axis.

    Args:
        depth (h, w): uint16 counts of `unit_m`, or floating metres.
        unit_m: of a count. Metres.

    Returns:
        (h, w) float32 metres; 0 where there is no reading (0, 65535, negative, NaN, out of any camera's range).
    """
    with np.errstate(over="ignore"):  # a double beyond float32 becomes infinite, which is no reading
        values = depth.astype(np.float32)
    if depth.dtype == np.uint16:
        values *= np.float32(unit_m)
    with np.errstate(invalid="ignore"):  # NaN compares false
        kept = values >= NEAREST_M
        kept &= values <= FARTHEST_M
    if depth.dtype == np.uint16:
        kept &= depth != UINT16_NO_READING
    kept |= values.view(np.uint32) == 0
    return values if kept.all() else only_where(kept, values)


def only_where(kept: NDArray[np.bool_], values: NDArray[Number], otherwise: float = 0) -> NDArray[Number]:
    """`np.where(kept, values, otherwise)`, in a quarter of its time.

    Args:
        kept (h, w): where values stay.
        values (h, w): numbers of 1, 2, 4 or 8 bytes.
        otherwise: what stands elsewhere.

    Returns:
        (h, w) of the values' type.
    """
    bits = values.view(f"u{values.itemsize}")
    chosen = kept.astype(bits.dtype)
    np.negative(chosen, out=chosen)  # all ones, or none
    blank = np.asarray(otherwise, values.dtype).view(bits.dtype)
    if not blank:
        return np.bitwise_and(bits, chosen, out=chosen).view(values.dtype)
    found = bits & chosen
    found |= np.bitwise_and(np.invert(chosen, out=chosen), blank, out=chosen)
    return found.view(values.dtype)


def is_metric(depth: NDArray[Any]) -> bool:
    """Whether a map holds distances; 8-bit maps hold an order only."""
    return depth.dtype == np.uint16 or np.issubdtype(depth.dtype, np.floating)


def despeckled(depth_m: FloatArray, gap_m: float) -> FloatArray:
    """Without readings that stand alone in depth, so that `filled` spreads none of them over a hole.

    Args:
        depth_m (h, w): metres, 0 where there is no reading.
        gap_m: neighbours further apart than this do not support each other. Metres.

    Returns:
        (h, w) float32 metres; as given where most readings stand alone, for then it is the sensor that is sparse.
    """
    counts = np.minimum(depth_m * np.float32(_SPECKLE_STEPS_PER_M), 32000).astype(np.int16)
    cv2.filterSpeckles(counts, 0, _SPECKLE_PX, max(1, round(gap_m * _SPECKLE_STEPS_PER_M)))
    kept = (counts > 0) & (depth_m > 0)
    if 2 * np.count_nonzero(kept) < np.count_nonzero(depth_m):
        return depth_m
    return np.where(kept, depth_m, np.float32(0))


def filled(depth_m: FloatArray, inside: NDArray[np.bool_]) -> FloatArray:
    """Every pixel gets the nearest reading inside a region, so that neither holes nor the background part anything.

    Args:
        depth_m (h, w): metres, 0 where there is no reading.
        inside (h, w): the region.

    Returns:
        (h, w) float32 metres, all 0 when there is no reading inside.
    """
    known = inside & (depth_m > 0)
    if not known.any():
        return np.zeros_like(depth_m)
    _, nearest = cv2.distanceTransformWithLabels(
        (~known).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_3, labelType=cv2.DIST_LABEL_PIXEL
    )
    readings = np.zeros(int(nearest.max()) + 1, np.float32)
    readings[nearest[known]] = depth_m[known]
    return readings[nearest]


class DepthSteadiness:
    """Watches the scene's scale: the median ratio of a frame's readings to those of the frame before.

    A camera that moves changes it little and smoothly; a sensor that loses its calibration or flickers makes it jump
    to and fro, for the whole scene at once.
    """

    NOTE = "depth: expected a steady scale, got one that jumps from frame to frame; objects have no position"

    def __init__(self) -> None:
        self._last: FloatArray | None = None
        self._last_change: float | None = None
        self._last_s = self._last_step_s = 0.0
        self._surprises: deque[float] = deque(maxlen=_FRAMES)

    def update(self, depth_m: FloatArray, stamp_s: float) -> bool:
        """Take the next frame; returns whether its depth can be believed.

        Args:
            depth_m (h, w): metres, 0 where there is no reading.
            stamp_s: its time. Seconds.
        """
        rows, columns = (np.linspace(0, side - 1, min(_GRID, side)).astype(int) for side in depth_m.shape)
        sample = depth_m[np.ix_(rows, columns)]
        last, self._last = self._last, sample
        step_s, self._last_s = stamp_s - self._last_s, stamp_s
        longest_s, self._last_step_s = max(step_s, self._last_step_s), step_s
        if last is None or last.shape != sample.shape:
            self._last_change = None
            return self._steady
        shared = (last > 0) & (sample > 0)
        if np.count_nonzero(shared) < _LEAST_SHARED:
            self._last_change = None
            return self._steady
        change = float(np.log(np.median(sample[shared] / last[shared])))
        if self._last_change is None:
            moved, surprise = _SPEED_M_S * step_s, abs(change)
        else:
            moved, surprise = _ACCELERATION_M_S2 * longest_s**2, abs(change - self._last_change)
        self._surprises.append(surprise - moved / float(np.median(sample[shared])))
        self._last_change = change
        return self._steady

    @property
    def _steady(self) -> bool:
        return not self._surprises or float(np.median(self._surprises)) < _UNSTEADY
