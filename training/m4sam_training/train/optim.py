"""AdamW's parameter groups and the cosine over epochs (docs/model.md#recipe)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from m4sam_core.model.m4sam import M4SAM
    from m4sam_training.train.config import OptimConfig


def make_optimizer(model: M4SAM, cfg: OptimConfig) -> torch.optim.AdamW:
    """AdamW with two groups, `rest` and `adapter` (the trainable parameters inside the trunk).

    The learning rates are those of `learning_rates` for epoch 0 and one process; call `set_learning_rates` per epoch.
    """
    inside = {id(parameter) for parameter in model.trunk.parameters()}
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"name": "rest", "lr": cfg.lr, "params": [p for p in trainable if id(p) not in inside]},
        {"name": "adapter", "lr": cfg.lr_adapter, "params": [p for p in trainable if id(p) in inside]},
    ]
    return torch.optim.AdamW([group for group in groups if group["params"]], weight_decay=cfg.weight_decay)


def learning_rates(cfg: OptimConfig, epoch: int, processes: int) -> dict[str, float]:
    """Learning rate of each group in an epoch.

    Args:
        cfg: base rates, number of epochs, floor.
        epoch: 0-based.
        processes: number of training processes, a factor when `scale_lr_by_processes`.
    """
    scale = processes if cfg.scale_lr_by_processes else 1
    share = (1 + math.cos(math.pi * min(epoch, cfg.epochs) / cfg.epochs)) / 2
    return {
        name: cfg.lr_min + (base * scale - cfg.lr_min) * share
        for name, base in (("rest", cfg.lr), ("adapter", cfg.lr_adapter))
    }


def set_learning_rates(optimizer: torch.optim.Optimizer, rates: dict[str, float]) -> None:
    """Give each group of `make_optimizer` its rate by name."""
    for group in optimizer.param_groups:
        group["lr"] = rates[group["name"]]


def gradient_norm(optimizer: torch.optim.Optimizer, clip: float) -> torch.Tensor:
    """Total norm of all gradients, clipped in place to `clip` when that is above 0.

    Returns:
        Scalar: the norm before clipping.
    """
    gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    # A CPU adds tens of millions of squares one after another: in float32 that is off by 2e-3.
    dtype = torch.float64 if gradients[0].device.type == "cpu" else torch.float32
    norms = torch.stack([torch.linalg.vector_norm(gradient, dtype=dtype) for gradient in gradients])
    total = torch.linalg.vector_norm(norms)
    if clip > 0:
        scale = (clip / (total + 1e-6)).clamp(max=1.0)
        torch._foreach_mul_(gradients, scale.to(gradients[0].dtype))
    return total
