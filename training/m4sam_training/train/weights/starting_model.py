# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""The weights a training run starts from."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import torch

from m4sam_core.build import build_model
from m4sam_core.config import HieraConfig
from m4sam_core.download import FILES
from m4sam_core.errors import CheckpointError, ConfigError
from m4sam_core.model.efficientnet_lite import EfficientNetLiteTrunk
from m4sam_core.model.m4sam import M4SAM
from m4sam_core.model_files import cache_dir, resolve_model
from m4sam_core.release import load_model, load_sam2_trunk
from m4sam_training.train.checkpointing import load_adapter
from m4sam_training.train.config import TrainConfig
from m4sam_training.train.config.nested import differences
from m4sam_training.train.loading import weights_seed
from m4sam_training.train.weights.export import scale_final_logits
from m4sam_training.train.weights.imagenet_trunk import imagenet_file, load_imagenet_trunk


def starting_model(cfg: TrainConfig) -> M4SAM:
    """A model with the weights a run starts from: seeded, then `cfg.init`.

    Raises:
        CheckpointError: a file cannot be used or was made for another architecture.
    """
    torch.manual_seed(weights_seed(cfg.run))
    model = build_model(cfg.model, cfg.init.fresh)
    if cfg.optim.train_trunk:
        model.requires_grad_(True)
    if cfg.init.trunk is not None:
        _load_trunk(model, cfg.init.trunk)
    if cfg.init.checkpoint is not None:
        loaded = load_model(_file(cfg.init.checkpoint))
        other = differences(cfg.model.model_dump(), loaded.cfg.model_dump())
        if other - ({"memory.agreement"} if cfg.init.agreement else set()):
            raise CheckpointError(
                f"init.checkpoint: expected the architecture in `model`, got {cfg.init.checkpoint} with another one: "
                f"{', '.join(sorted(other))}; make them equal"
            )
        if cfg.init.logit_scale != 1:
            loaded = scale_final_logits(loaded, 1 / cfg.init.logit_scale)
        model.load_state_dict({**model.state_dict(), **loaded.state_dict()})
        if cfg.init.mask_gain != 1:
            _let_masks_in(model, cfg.init.mask_gain)
    if cfg.init.adapter is not None:
        load_adapter(_file(cfg.init.adapter), model)
    return model


def _let_masks_in(model: M4SAM, gain: float) -> None:
    """Enlarge the weights through which masks enter memory values: the last input channel of the value path.

    X_F is some ten times as large as a mask, so that where training never needs the mask it drowns.
    """
    with torch.no_grad():
        model.get_parameter("value_path.encoder.0.weight")[:, -1] *= gain


def _load_trunk(model: M4SAM, name: str) -> None:
    if not any(isinstance(trunk, EfficientNetLiteTrunk) for trunk in model.trunk.single):
        load_sam2_trunk(model, _file(name))
        return
    for trunk in model.trunk.single:
        load_imagenet_trunk(cast("EfficientNetLiteTrunk", trunk), imagenet_file() if name == "imagenet" else name)


def check_trunk(cfg: TrainConfig) -> None:
    """Refuse to train around a frozen trunk that knows nothing.

    Raises:
        ConfigError: a SAM2.1 trunk would keep its random weights.
    """
    init, trunk = cfg.init, cfg.model.trunk
    if (
        isinstance(trunk, HieraConfig)
        and trunk.size != "nano"
        and not (init.trunk or init.checkpoint or init.random_trunk)
    ):
        raise ConfigError(
            f"init.trunk: expected SAM2.1 weights for the frozen {trunk.size} trunk, got none; run "
            f"`m4sam download sam2.1_{trunk.size}` and add --set init.trunk=sam2.1_{trunk.size}, "
            "or --set init.random_trunk=true for a trial"
        )


def _file(name: str) -> Path:
    """A file of `m4sam download`, by the name it has there, or whatever `resolve_model` finds."""
    if name in FILES and (cache_dir() / FILES[name].file).is_file():
        return cache_dir() / FILES[name].file
    return resolve_model(name)
