# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Whether a run fits into memory, before it begins: what it surely takes, and about what it will take."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from m4sam_core.devices import free_memory
from m4sam_core.errors import DeviceError
from m4sam_core.model.hiera import HieraTrunk
from m4sam_training.train.log import LOGGER

if TYPE_CHECKING:
    from m4sam_core.model.m4sam import M4SAM
    from m4sam_training.train.config import TrainConfig

# Bytes kept for the backward pass for each token and channel of a block, in float32, as measured with Hiera-L, MoE-LoRA
# at 352 px (benchmarks/results/train_large.json and train_large_recompute.json: 4.86 and 0.99 GB for two frames).
_KEPT, _KEPT_RECOMPUTED = 75.1, 15.4


def check_memory(model: M4SAM, cfg: TrainConfig, device: torch.device, advice: str) -> None:
    """Refuse a run whose gradients and moments alone do not fit; warn of one whose activations may not.

    Args:
        model: with its starting weights, not yet on a GPU.
        cfg: batch size, clip length, precision.
        device: where it will be trained.
        advice: what to do about it.

    Raises:
        DeviceError: too little memory.
    """
    free = free_memory(device)
    if free is None:
        return
    sure = _held(model, device)
    if sure > free:
        raise DeviceError(
            f"{device}: expected {sure / 1e9:.1f} GB of free memory for gradients and AdamW's moments, got "
            f"{free / 1e9:.1f} GB; free it from other programs or take a smaller model"
        )
    likely = sure + kept_per_frame(model, cfg) * cfg.data.batch_size * cfg.data.clip_length
    if likely > free:
        LOGGER.warning(
            "memory may not do: about %.1f GB are needed, %.1f GB are free on %s; %s",
            likely / 1e9,
            free / 1e9,
            device,
            advice,
        )


def _held(model: M4SAM, device: torch.device) -> int:
    """Bytes of gradients and moments, and of the weights where they still have to be brought to the device."""
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    weights = sum(p.numel() for p in model.parameters()) if device.type == "cuda" else 0
    return 4 * (3 * trained + weights)


def kept_per_frame(model: M4SAM, cfg: TrainConfig) -> float:
    """About how many bytes the backward pass keeps of one RGB-D frame; 0 where nothing was measured to tell by."""
    each = _KEPT_RECOMPUTED if cfg.optim.recompute else _KEPT
    half = 0.5 if cfg.optim.amp != "off" else 1.0
    passes = 2 if cfg.model.depth == "encoded" and cfg.model.encoders == "shared" else 1
    cells = 0
    for trunk in model.trunk.single:
        if isinstance(trunk, HieraTrunk):
            side = cfg.model.input_size_px // 4
            for block in trunk.hiera.blocks:
                side = side // 2 if block.q_stride else side
                cells += side * side * block.dim_out
    return cells * passes * each * half
