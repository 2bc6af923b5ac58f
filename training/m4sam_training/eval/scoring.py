# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Saliency scores of frames, by PySODMetrics, and their averages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from m4sam_core.errors import InputError
from m4sam_core.host.optional import require
from m4sam_training.eval.protocols import Protocol
from m4sam_training.eval.toolboxes import BETA_SQUARED, adaptive_scores, alignment, best_f_of_means, stretched

_DVSOD_TRUTH = 128  # its evaluator takes 128 for background


@dataclass(frozen=True)
class FrameScore:
    """Scores of one frame; curves run from threshold 255 down to 0, as PySODMetrics has them.

    Attributes:
        video: name of the video.
        stem: name of the frame.
        s_measure: structure measure.
        mae: mean absolute error.
        e_adaptive: E-measure at twice the mean of the map.
        f_adaptive: F-measure there, beta^2 = 0.3.
        e_dvsod: adaptive E as DViSal's evaluator defines it.
        f_dvsod: adaptive F as DViSal's evaluator defines it.
        e_soft: alignment of the map as it is, without a threshold.
        e_curve (256,): E-measure at every threshold.
        f_curve (256,): F-measure at every threshold.
        precision (256,): precision at every threshold.
        recall (256,): recall at every threshold.
    """

    video: str
    stem: str
    s_measure: float
    mae: float
    e_adaptive: float
    f_adaptive: float
    e_dvsod: float
    f_dvsod: float
    e_soft: float
    e_curve: np.ndarray
    f_curve: np.ndarray
    precision: np.ndarray
    recall: np.ndarray


class FrameScorer:
    """Scores frames one by one with PySODMetrics."""

    def __init__(self, minmax: bool = True) -> None:
        """Prepare the measures.

        Args:
            minmax: stretch each prediction to [0, 1] first (a flat one is left alone).

        Raises:
            ConfigError: PySODMetrics is not installed.
        """
        require("py_sod_metrics", "eval", "pysodmetrics")
        import py_sod_metrics

        self._metrics: Any = py_sod_metrics
        self._minmax = minmax

    def score(self, video: str, stem: str, prediction: np.ndarray, ground_truth: np.ndarray) -> FrameScore:
        """Score one frame.

        Args:
            video: name of the video.
            stem: name of the frame.
            prediction (H, W): uint8 saliency, 255 = certain.
            ground_truth (H, W): uint8 mask, salient where > 127.

        Raises:
            InputError: the sizes differ or the prediction is not uint8.
        """
        if prediction.shape != ground_truth.shape or prediction.dtype != np.uint8:
            raise InputError(
                f"{video}/{stem}: expected a uint8 prediction of the ground truth's size {ground_truth.shape}, "
                f"got {prediction.dtype} {prediction.shape}"
            )
        metrics = self._metrics
        options: dict[str, Any] = {"with_dynamic": True, "with_adaptive": True}
        handlers = {
            "f": metrics.FmeasureHandler(**options, beta=BETA_SQUARED),
            "precision": metrics.PrecisionHandler(with_dynamic=True, with_adaptive=False),
            "recall": metrics.RecallHandler(with_dynamic=True, with_adaptive=False),
        }
        steppers = (metrics.Smeasure(), metrics.MAE(), metrics.Emeasure(), metrics.FmeasureV2(handlers))
        for stepper in steppers:
            self._step(stepper, prediction, ground_truth > 127)
        s_measure, mae, e_measure, f_measure = (stepper.get_results() for stepper in steppers)
        salient, unit = ground_truth > 127, stretched(prediction, minmax=self._minmax)
        e_dvsod, f_dvsod = adaptive_scores(unit, ground_truth > _DVSOD_TRUTH)
        return FrameScore(
            video=video,
            stem=stem,
            s_measure=float(s_measure["sm"]),
            mae=float(mae["mae"]),
            e_adaptive=float(e_measure["em"]["adp"]),
            f_adaptive=float(f_measure["f"]["adaptive"]),
            e_dvsod=e_dvsod,
            f_dvsod=f_dvsod,
            e_soft=alignment(unit, salient),
            e_curve=e_measure["em"]["curve"],
            f_curve=f_measure["f"]["dynamic"],
            precision=f_measure["precision"]["dynamic"],
            recall=f_measure["recall"]["dynamic"],
        )

    def _step(self, stepper: Any, prediction: np.ndarray, salient: np.ndarray) -> None:
        if self._minmax:
            stepper.step(prediction, salient.astype(np.uint8) * 255, normalize=True)
        else:
            stepper.step(prediction / 255, salient, normalize=False)


def summary(scores: Sequence[FrameScore], average: str = "frame") -> dict[str, float]:
    """Mean scores: S, E_mean, E_max, E_adaptive, F_mean, F_max, F_adaptive, MAE, and those of `toolboxes`.

    The maxima are those of the mean curve, not the mean of the maxima; F_mean_pr is the best F of mean precision and
    recall.

    Args:
        scores: at least one frame.
        average: "frame": all frames alike; "video": the mean of every video's mean.

    Raises:
        InputError: no frame.
    """
    if not scores:
        raise InputError("scores: expected at least one scored frame, got none; check the split and the masks")
    if average == "video":
        rows = [summary(frames) for frames in by_video(scores).values()]
        return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
    e_curve = np.mean([score.e_curve for score in scores], axis=0)
    f_curve = np.mean([score.f_curve for score in scores], axis=0)
    return {
        "S": float(np.mean([score.s_measure for score in scores])),
        "E_mean": float(e_curve.mean()),
        "E_max": float(e_curve.max()),
        "E_adaptive": float(np.mean([score.e_adaptive for score in scores])),
        "F_mean": float(f_curve.mean()),
        "F_max": float(f_curve.max()),
        "F_adaptive": float(np.mean([score.f_adaptive for score in scores])),
        "MAE": float(np.mean([score.mae for score in scores])),
        "E_dvsod": float(np.mean([score.e_dvsod for score in scores])),
        "F_dvsod": float(np.mean([score.f_dvsod for score in scores])),
        "E_soft": float(np.mean([score.e_soft for score in scores])),
        "F_mean_pr": best_f_of_means(
            np.mean([score.precision for score in scores], axis=0), np.mean([score.recall for score in scores], axis=0)
        ),
    }


def by_video(scores: Sequence[FrameScore]) -> dict[str, list[FrameScore]]:
    """Scores grouped by video, in order of appearance."""
    groups: dict[str, list[FrameScore]] = {}
    for score in scores:
        groups.setdefault(score.video, []).append(score)
    return groups


def row(protocol: Protocol, scores: Sequence[FrameScore]) -> dict[str, float]:
    """The protocol's columns of some frames' scores (scored with the protocol's `minmax`)."""
    values = summary(scores, protocol.average)
    return {name: values[name] for name in protocol.columns}


def to_uint8(mask_prob: np.ndarray, minmax: bool) -> np.ndarray:
    """A probability map (H, W) in [0, 1] as the 8-bit mask that is saved and scored.

    Args:
        mask_prob (H, W): float.
        minmax: stretch to the full range first; a flat map is left alone.
    """
    if minmax:
        low, high = float(mask_prob.min()), float(mask_prob.max())
        if high > low:
            mask_prob = (mask_prob - low) / (high - low)
    return np.rint(np.clip(mask_prob, 0, 1) * 255).astype(np.uint8)
