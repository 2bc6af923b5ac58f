# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""AdamW's parameter groups, and the learning rate of a step."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import nn

from m4sam_core.model.adapters import BottleneckAdapter
from m4sam_training.train.schedule import place

if TYPE_CHECKING:
    from m4sam_core.model.m4sam import M4SAM
    from m4sam_training.train.config import OptimConfig, TrainConfig


def make_optimizer(model: M4SAM, cfg: OptimConfig) -> torch.optim.AdamW:
    """AdamW with the groups `rest` and `adapter` (what is trained inside the trunk, bottlenecks apart).

    Each is split in two where parameters of one axis, such as biases and scales, are not to decay. The learning rates
    are the base ones; call `set_learning_rates` per step.
    """
    inside = {id(parameter) for parameter in model.trunk.parameters()}
    for module in model.trunk.modules():
        if isinstance(module, BottleneckAdapter):  # the release trains them at the rate of the rest
            inside -= {id(parameter) for parameter in module.parameters()}
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = []
    for name, rate, in_trunk in (("rest", cfg.lr, False), ("adapter", cfg.lr_adapter, True)):
        members = [p for p in trainable if (id(p) in inside) == in_trunk]
        decaying = [p for p in members if cfg.decay_scalars or p.ndim > 1]
        spared = [p for p in members if not (cfg.decay_scalars or p.ndim > 1)]
        groups += [
            {"name": name, "lr": rate, "params": params, "weight_decay": decay}
            for params, decay in ((decaying, cfg.weight_decay), (spared, 0.0))
            if params
        ]
    return torch.optim.AdamW(groups, betas=cfg.betas, fused=cfg.fused or None)


def learning_rates(cfg: TrainConfig, epoch: int, step: int, processes: int) -> dict[str, float]:
    """Learning rate of each group at a step.

    Args:
        cfg: base rates, floor, and the number of epochs or the cycles.
        epoch: 0-based; decides where there are no cycles.
        step: 0-based; decides where there are.
        processes: number of training processes, a factor when `scale_lr_by_processes`.
    """
    optim = cfg.optim
    scale = processes if optim.scale_lr_by_processes else 1
    if cfg.schedule.cycles:
        share = place(cfg.schedule, step).rate_share
    else:
        share = (1 + math.cos(math.pi * min(epoch, optim.epochs) / optim.epochs)) / 2
    return {
        name: optim.lr_min + (base * scale - optim.lr_min) * share
        for name, base in (("rest", optim.lr), ("adapter", optim.lr_adapter))
    }


def set_learning_rates(optimizer: torch.optim.Optimizer, rates: dict[str, float]) -> None:
    """Give each group of `make_optimizer` its rate by name."""
    for group in optimizer.param_groups:
        group["lr"] = rates[group["name"]]


def gradient_norm(model: nn.Module, clip: float) -> torch.Tensor:
    """Total norm of all gradients, clipped in place to `clip` when that is above 0.

    Returns:
        Scalar: the norm before clipping.
    """
    if clip > 0:
        return nn.utils.clip_grad_norm_(model.parameters(), clip)
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    # A CPU adds tens of millions of squares one after another: in float32 that is off by 2e-3.
    dtype = torch.float64 if gradients[0].device.type == "cpu" else torch.float32
    return torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(g, dtype=dtype) for g in gradients]))
