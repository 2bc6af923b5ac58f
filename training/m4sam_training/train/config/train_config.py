# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""A whole training run: its sections, the presets that fill what is not given, and what must fit together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from m4sam_core.config import MODEL_PRESETS, Config, ModelConfig
from m4sam_core.errors import ConfigError
from m4sam_training.train.config.nested import merge
from m4sam_training.train.config.sections import (
    RENDERED,
    AugmentConfig,
    DataConfig,
    InitConfig,
    LossConfig,
    OptimConfig,
    RunConfig,
)
from m4sam_training.train.schedule import ScheduleConfig
from m4sam_training.train.weights.export import ExportConfig


class TrainConfig(Config):
    """A training run. Values given win over those of `preset`."""

    preset: Literal["release", "paper", "sam2_unet"] = Field(
        "release",
        description="What everything not given follows: the published code, the paper's text, or the baseline "
        "SAM2-UNet.",
    )
    model: ModelConfig = ModelConfig()
    init: InitConfig = InitConfig()
    data: DataConfig = DataConfig()
    augment: AugmentConfig = AugmentConfig()
    loss: LossConfig = LossConfig()
    optim: OptimConfig = OptimConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    export: ExportConfig = ExportConfig()
    run: RunConfig = RunConfig()

    @model_validator(mode="before")
    @classmethod
    def _fill_from_presets(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        name = values.get("preset", "release")
        if name not in TRAIN_PRESETS:
            raise ConfigError(f"preset: expected one of {', '.join(TRAIN_PRESETS)}, got {name!r}")
        merged = merge(TRAIN_PRESETS[name], values)
        model = merged.get("model")
        if isinstance(model, Mapping) and "preset" in model:
            merged["model"] = _expand_model(model)
        return merged

    @model_validator(mode="after")
    def _a_memory_to_train(self) -> TrainConfig:
        if self.optim.parts == "memory" and not self.model.memory.enabled:
            raise ValueError("optim.parts: expected all or picture with model.memory.enabled=false, got memory")
        return self

    @model_validator(mode="after")
    def _stages_are_for_rendered_clips(self) -> TrainConfig:
        if (self.data.layout == RENDERED) != bool(self.schedule.cycles):
            raise ValueError(
                f"schedule.cycles: expected stages with data.layout={RENDERED} and only with it, "
                f"got {len(self.schedule.cycles)} cycles with layout {self.data.layout!r}; see config/train/edge.yaml"
            )
        return self


TRAIN_PRESETS: dict[str, dict[str, Any]] = {
    "release": {"model": {"preset": "release"}},
    "paper": {
        "model": {"preset": "large", "adapter": {"combine": "paper", "full_qv": True, "alpha": 4.0}},
        "loss": {
            "bce": "weighted",
            "structure_mae": 0.0,
            "final_input": "logit",
            "coarse_weights": (1.0, 1.0, 1.0),
            "edge": {"start": 1.0, "gain": 0.0, "ramp_epochs": 0, "final": 1.0},
            "final": {"structure": 1.0, "focal": 0.0, "dice": 0.0, "mae": 0.0},
            "moe_weight": 1.0,
        },
        "optim": {"epochs": 50, "deep_update": "always"},
    },
    # SAM2-UNet (arXiv 2408.08870): weighted cross entropy and IoU on each of three masks, nothing else.
    "sam2_unet": {
        "model": {"preset": "sam2_unet"},
        "loss": {"bce": "weighted", "structure_mae": 0.0, "coarse_weights": (1.0, 1.0, 1.0)},
        "optim": {"epochs": 50},
    },
}


def _expand_model(model: Mapping[str, Any]) -> dict[str, Any]:
    name = model["preset"]
    if name not in MODEL_PRESETS:
        raise ConfigError(f"model.preset: expected one of {', '.join(MODEL_PRESETS)}, got {name!r}")
    return merge(MODEL_PRESETS[name], {key: value for key, value in model.items() if key != "preset"})
