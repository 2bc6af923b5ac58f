# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""The training split a run's settings ask for."""

from __future__ import annotations

from pathlib import Path

from m4sam_core.rgbd.masks import MaskRule
from m4sam_training.data.datasets import VideoClipDataset
from m4sam_training.data.transforms import ClipAugmentation
from m4sam_training.train.config import TrainConfig


def training_clips(cfg: TrainConfig, data: Path) -> VideoClipDataset:
    """The clips to train on.

    Args:
        cfg: layout, split, clip length, augmentation, size and seed.
        data: the dataset's folder.

    Raises:
        ConfigError: the dataset is not there, holds nothing usable, or a corruption does not exist.
    """
    return VideoClipDataset(
        data,
        cfg.data.layout,
        cfg.data.split,
        clip_length=cfg.data.clip_length,
        size_px=cfg.model.input_size_px,
        transform=ClipAugmentation(cfg.augment) if cfg.augment.enabled else None,
        depth_kind=cfg.data.depth_kind,
        seed=cfg.run.seed,
        masks=MaskRule.parse(cfg.data.mask_values),
        coding=cfg.data.depth_coding,
    )
