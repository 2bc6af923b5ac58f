# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Batch normalisation over all processes, on any backend.

torch's SyncBatchNorm needs CUDA; this one is plain differentiable arithmetic around an all-reduce, so two CPU processes
train exactly like one. On CUDA torch's own is used where nothing but plain batch normalisation is asked for.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn

from m4sam_core.model.experts import RoutedBatchNorm2d
from m4sam_core.model.m4sam import M4SAM


class _SumOverProcesses(torch.autograd.Function):
    """All-reduce whose gradient is the all-reduce of the gradients."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor) -> Tensor:  # noqa: ARG004 (autograd's signature)
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> Tensor:  # noqa: ARG004 (same)
        total = gradient.contiguous().clone()
        dist.all_reduce(total)
        return total


def _sum_over_processes(x: Tensor) -> Tensor:
    total: Tensor = _SumOverProcesses.apply(x)  # type: ignore[no-untyped-call]  # torch types no Function.apply
    return total


class SyncedBatchNorm2d(RoutedBatchNorm2d):
    """`RoutedBatchNorm2d` whose training statistics cover the samples of every process.

    Every process must call it equally often; a process may bring no active sample at all.
    """

    def forward(self, x: Tensor, active: Tensor | None = None) -> Tensor:
        """Normalise x (N, C, h, w); `active` (N,) bool, None for all, says which samples count."""
        if not self.training:
            return super().forward(x)
        dtype = x.dtype
        x = x.float()
        weight = x.new_ones(x.shape[0]) if active is None else active.to(x.dtype)
        weight = weight.view(-1, 1, 1, 1)
        local = torch.cat([(x * weight).sum(dim=(0, 2, 3)), (weight.sum() * x.shape[2] * x.shape[3]).view(1)])
        total = _sum_over_processes(local)
        count = total[-1].detach()
        mean = total[:-1] / count.clamp(min=1.0)
        centred = x - mean.view(1, -1, 1, 1)
        squares = _sum_over_processes((centred.square() * weight).sum(dim=(0, 2, 3)))
        variance = squares / count.clamp(min=1.0)
        if self.track_running_stats:
            self.follow(mean, variance, count)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return (centred * scale.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1)).to(dtype)


def synchronise_batch_norm(model: M4SAM, where: Literal["outside_encoder", "all", "off"]) -> None:
    """Replace batch normalisations in place; names and values of the state dict stay the same.

    Args:
        model: an M4SAM; what lies in `model.trunk` is the encoder.
        where: outside_encoder leaves the experts' statistics to each process, as in the release.
    """
    if where == "off":
        return
    inside = set() if where == "all" else set(model.trunk.modules())
    for parent in model.modules():
        for name, child in parent.named_children():
            if isinstance(child, nn.BatchNorm2d) and child not in inside:
                setattr(parent, name, _synchronised(child))


def _synchronised(old: nn.BatchNorm2d) -> nn.Module:
    plain = not isinstance(old, RoutedBatchNorm2d)
    if plain and old.weight.is_cuda:
        return nn.SyncBatchNorm.convert_sync_batchnorm(old)
    new = SyncedBatchNorm2d(old.num_features, eps=old.eps, momentum=old.momentum)
    new.weight, new.bias = old.weight, old.bias
    new.running_mean, new.running_var = old.running_mean, old.running_var
    new.num_batches_tracked = old.num_batches_tracked
    return new.train(old.training)
