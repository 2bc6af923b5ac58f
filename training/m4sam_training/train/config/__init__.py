# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Every setting of a training run; one schema for YAML files, `--set key=value` and presets (docs/training.md)."""

from m4sam_training.train.config.reading import load_train_config
from m4sam_training.train.config.sections import (
    RENDERED,
    AugmentConfig,
    DataConfig,
    FinalWeightConfig,
    InitConfig,
    LossConfig,
    OptimConfig,
    OutlineWeightConfig,
    RunConfig,
)
from m4sam_training.train.config.train_config import TRAIN_PRESETS, TrainConfig

__all__ = [
    "TrainConfig",
    "TRAIN_PRESETS",
    "load_train_config",
    "InitConfig",
    "DataConfig",
    "RENDERED",
    "AugmentConfig",
    "LossConfig",
    "OutlineWeightConfig",
    "FinalWeightConfig",
    "OptimConfig",
    "RunConfig",
]
