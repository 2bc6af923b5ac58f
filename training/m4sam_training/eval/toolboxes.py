# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Measures that the public evaluators of two datasets define otherwise than PySODMetrics."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from m4sam_core.errors import InputError

BETA_SQUARED = 0.3
_TINY = 1e-20
UnitMap = npt.NDArray[np.float64]


def stretched(prediction: npt.NDArray[np.uint8], *, minmax: bool) -> UnitMap:
    """An 8-bit map (H, W) in [0, 1], stretched to the full range if asked for; a flat map is left alone."""
    unit = prediction.astype(np.float64) / 255
    low, high = float(unit.min()), float(unit.max())
    return (unit - low) / (high - low) if minmax and high > low else unit


def alignment(prediction: UnitMap, salient: npt.NDArray[np.bool_]) -> float:
    """Enhanced alignment of a map and a mask, both freed of their means, over (pixels - 1); no case is special.

    Args:
        prediction (H, W): in [0, 1], binary or soft.
        salient (H, W): the ground truth.

    Raises:
        InputError: fewer than two pixels.
    """
    if prediction.size < 2:
        raise InputError(f"E-measure: expected a map of at least two pixels, got {prediction.shape}")
    ours = prediction - prediction.mean()
    theirs = salient - salient.mean()
    agreement = 2 * ours * theirs / (ours**2 + theirs**2 + _TINY)
    return float(((agreement + 1) ** 2 / 4).sum() / (prediction.size - 1))


def adaptive_scores(prediction: UnitMap, salient: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """E (map above the threshold) and F (map at or above it) at twice the map's mean, as DVSOD-Evaluation has them.

    Args:
        prediction (H, W): in [0, 1], stretched.
        salient (H, W): the ground truth.
    """
    threshold = min(2 * float(prediction.mean()), 1.0)
    found = prediction >= threshold
    hits = float((found & salient).sum())
    precision, recall = hits / max(float(found.sum()), _TINY), hits / max(float(salient.sum()), _TINY)
    f_measure = (1 + BETA_SQUARED) * precision * recall / max(BETA_SQUARED * precision + recall, _TINY)
    return alignment((prediction > threshold).astype(np.float64), salient), f_measure


def best_f_of_means(precision: npt.NDArray[np.float64], recall: npt.NDArray[np.float64]) -> float:
    """Best F over the thresholds, from precision and recall averaged over frames before.

    Args:
        precision (K,): mean precision at every threshold.
        recall (K,): mean recall there.
    """
    curve = (1 + BETA_SQUARED) * precision * recall / np.maximum(BETA_SQUARED * precision + recall, _TINY)
    return float(curve.max())
