# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Depth as the objects need it: metres, NaN-free, 0 where there is no reading; holes filled from their neighbours."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from m4sam_core.rgbd.depth_values import UINT16_NO_READING

FloatArray = NDArray[np.float32]
NEAREST_M, FARTHEST_M = 1e-3, 1e3  # beyond it no depth camera measures; such numbers are marks or damage
_SPECKLE_PX = 3  # so many readings on their own are noise
_SPECKLE_STEPS_PER_M = 100


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
        values[depth == UINT16_NO_READING] = 0
    with np.errstate(invalid="ignore"):  # NaN compares false
        values[~((values >= NEAREST_M) & (values <= FARTHEST_M))] = 0
    return values


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
