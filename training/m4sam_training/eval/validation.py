# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Scores on the val split while a run trains."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from m4sam_core.model.m4sam import M4SAM
from m4sam_core.rgbd.masks import MaskRule
from m4sam_training.data.index.split import indexed_split
from m4sam_training.data.layouts import get_layout
from m4sam_training.data.scan import available_splits
from m4sam_training.data.videos import Irregularity, grouped
from m4sam_training.eval.evaluate import evaluate
from m4sam_training.eval.predict_dataset import PredictConfig, predict_scan
from m4sam_training.train.config import RENDERED, TrainConfig
from m4sam_training.train.log import LOGGER
from m4sam_training.train.trainer import Validate

_SPLIT = "val"
SCORES = ("S", "E_mean", "F_adaptive", "MAE")


def validation(cfg: TrainConfig, data: Path) -> Validate | None:
    """What the trainer calls after an epoch; None where validation is off or the dataset has nothing for it.

    What is irregular in the split is logged once.

    Args:
        cfg: layout, depth and `run.validate_every_epochs`.
        data: the dataset's folder.
    """
    if not cfg.run.validate_every_epochs or cfg.data.layout == RENDERED:
        return None
    table, scan = get_layout(cfg.data.layout), None
    if _SPLIT in table.splits and _SPLIT in available_splits(data, cfg.data.layout):
        rule = MaskRule.parse(cfg.data.mask_values)
        read = cfg.data.depth_kind, rule, cfg.data.depth_coding
        scan = indexed_split(data, cfg.data.layout, _SPLIT, *read, annotated_only=True)
    if scan is None or not scan.frame_count:
        LOGGER.warning(
            "no validation: %s has no annotated frame in a split val; make one: m4sam bag to-dataset --split val",
            data,
        )
        return None

    if cfg.data.split == _SPLIT:
        LOGGER.warning("validation on the split that is trained on: its scores say nothing about other recordings")
    told = set[str]()

    def tell(lines: Iterable[str]) -> None:
        for line in lines:
            if line not in told:
                told.add(line)
                LOGGER.warning("validation: %s", line)

    tell([*scan.flaws(), *filter(None, [scan.warning()])])

    def score(model: M4SAM) -> dict[str, float]:
        dropped: list[Irregularity] = []
        predictions = predict_scan(model, scan, PredictConfig(depth_kind=cfg.data.depth_kind), dropped)
        values = evaluate(predictions, "m4sam", dropped).as_dict()
        tell(grouped(dropped))
        return {name: values[name] for name in SCORES}

    return score
