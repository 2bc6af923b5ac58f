# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Convolution experts and their gates (docs/model.md#encoder).

An expert is a short stack of convolutions on the r channels of a low-rank adapter, laid out as an image of one
attention window. Training runs each expert with batch statistics of the windows routed to it; evaluation folds all
experts of one modality into two dense convolutions, which is why every expert is a plain `nn.Sequential` of
convolution, BN and GELU.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EXPERTS_PER_GROUP = 3


class RoutedBatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation whose training statistics cover only the samples marked active.

    A dense form of dispatch: inactive samples are normalised too, with statistics they had no part in, and are masked
    by the caller. When no sample is active, or `track_running_stats` is off, the running statistics stay as they are.
    """

    def forward(self, x: Tensor, active: Tensor | None = None) -> Tensor:
        """Normalise x (N, C, h, w); `active` (N,) bool is needed in training only."""
        if not self.training or active is None:
            return super().forward(x)
        dtype = x.dtype
        # Statistics of half-precision activations are taken in full precision, as torch's own BN does.
        x = x.to(torch.promote_types(dtype, torch.float32))
        weight = active.to(x.dtype).view(-1, 1, 1, 1)
        pixels = x.shape[2] * x.shape[3]
        count = weight.sum() * pixels
        safe = count.clamp(min=1.0)
        mean = (x * weight).sum(dim=(0, 2, 3)) / safe
        centred = x - mean.view(1, -1, 1, 1)
        variance = (centred.square() * weight).sum(dim=(0, 2, 3)) / safe
        if self.track_running_stats:
            self.follow(mean, variance, count)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return (centred * scale.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1)).to(dtype)

    @torch.no_grad()
    def follow(self, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        """Move the running statistics towards mean (C,) and biased variance (C,) of `count` values, if any."""
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        unbiased = variance * (count / (count - 1.0).clamp(min=1.0))
        step = torch.where(count > 0, count.new_tensor(self.momentum or 0.0), count.new_tensor(0.0))
        step = step.to(self.running_mean.dtype)
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), step)
        self.running_var.lerp_(unbiased.to(self.running_var.dtype), step)
        self.num_batches_tracked.add_((count > 0).to(self.num_batches_tracked.dtype))


def _conv_bn_gelu(rank: int, kernel: int, momentum: float, *, depthwise: bool = False) -> list[nn.Module]:
    groups = rank if depthwise else 1
    conv = nn.Conv2d(rank, rank, kernel, padding=kernel // 2, groups=groups, bias=False)
    return [conv, RoutedBatchNorm2d(rank, momentum=momentum), nn.GELU()]


def _conv_gelu(rank: int, kernel: int) -> list[nn.Module]:
    return [nn.Conv2d(rank, rank, kernel, padding=kernel // 2), nn.GELU()]


def modality_experts(rank: int, momentum: float) -> nn.ModuleList:
    """The three experts of the rgb and of the depth group."""
    return nn.ModuleList(
        [
            nn.Sequential(*_conv_bn_gelu(rank, 3, momentum)),
            nn.Sequential(*_conv_bn_gelu(rank, 5, momentum)),
            nn.Sequential(*_conv_bn_gelu(rank, 3, momentum, depthwise=True), *_conv_gelu(rank, 1)),
        ]
    )


def fusion_experts(rank: int, momentum: float) -> nn.ModuleList:
    """The three experts of the fusion group, shared by both modalities."""
    return nn.ModuleList(
        [
            nn.Sequential(*_conv_bn_gelu(rank, 1, momentum), *_conv_bn_gelu(rank, 3, momentum)),
            nn.Sequential(*_conv_bn_gelu(rank, 5, momentum), *_conv_gelu(rank, 1)),
            nn.Sequential(*_conv_bn_gelu(rank, 3, momentum, depthwise=True), *_conv_gelu(rank, 3)),
        ]
    )


class Zoom(nn.Module):
    """Bicubic resize of (N, C, h, w) by a factor.

    Args:
        factor: above 1 enlarges.
    """

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, C, factor*h, factor*w)."""
        size = [round(side * self.factor) for side in x.shape[-2:]]
        return F.interpolate(x, size, mode="bicubic", align_corners=False)


def scaled_experts(rank: int, momentum: float) -> nn.ModuleList:  # noqa: ARG001 (the builders' signature)
    """Conv-LoRA's experts: a 3x3 convolution at one, two and three times the resolution; no normalisation."""
    return nn.ModuleList(
        [
            nn.Sequential(*_conv_gelu(rank, 3)),
            nn.Sequential(Zoom(2), *_conv_gelu(rank, 3), Zoom(1 / 2)),
            nn.Sequential(Zoom(3), *_conv_gelu(rank, 3), Zoom(1 / 3)),
        ]
    )


def run_expert(expert: nn.Module, a: Tensor, active: Tensor) -> Tensor:
    """One expert on a (N, r, h, w), with batch statistics over the `active` (N,) windows when training."""
    for layer in expert.children():
        a = layer(a, active) if isinstance(layer, RoutedBatchNorm2d) else layer(a)
    return a


@dataclass
class Routing:
    """Which experts each window uses.

    Attributes:
        gates (N, ..., 3): gate values, zero for experts not selected, the selected ones sum to 1.
        load (..., 3): expected number of windows per expert.
    """

    gates: Tensor
    load: Tensor

    def loss(self) -> Tensor:
        """Load-balancing loss: 1e-2 * (cv2(importance) + cv2(load)), summed over the leading axes of the gates."""
        return 1e-2 * (_cv2(self.gates.sum(dim=0)) + _cv2(self.load)).sum()


def _cv2(x: Tensor) -> Tensor:
    """Squared coefficient of variation over the last axis."""
    return x.var(dim=-1, unbiased=True) / (x.mean(dim=-1).square() + 1e-10)


def route(logits: Tensor, top_k: int) -> Routing:
    """Noise-free top-k routing of logits (N, ..., 3); the load is the count of gates above zero."""
    values, index = logits.topk(top_k, dim=-1)
    zeros = logits.detach() * 0  # an export with an open batch would keep zeros_like at the size that was traced
    gates = zeros.scatter(-1, index, values.softmax(dim=-1))
    return Routing(gates, (gates > 0).to(gates.dtype).sum(dim=0))


class NoisyTopKGate(nn.Module):
    """Noisy top-k gate of one expert group (Shazeer et al. 2017).

    Args:
        rank: channels of the pooled window descriptor.
        top_k: experts selected per window.
        noise: scale of the exploration noise in training; 0 keeps the smooth load but draws nothing.
    """

    def __init__(self, rank: int, top_k: int, noise: float) -> None:
        super().__init__()
        self.top_k = top_k
        self.noise = noise
        self.w_gate = nn.Parameter(torch.zeros(rank, EXPERTS_PER_GROUP))
        self.w_noise = nn.Parameter(torch.zeros(rank, EXPERTS_PER_GROUP))

    def forward(self, pooled: Tensor) -> Routing:
        """Route windows described by pooled (N, r)."""
        logits = pooled @ self.w_gate
        if not self.training:
            return route(logits, self.top_k)
        deviation = F.softplus(pooled @ self.w_noise) + 1e-2
        noisy = logits + torch.randn_like(logits) * deviation * self.noise if self.noise > 0 else logits
        routing = route(noisy, self.top_k)
        if self.top_k < EXPERTS_PER_GROUP:
            routing.load = self._smooth_load(logits, noisy, deviation)
        return routing

    def _smooth_load(self, logits: Tensor, noisy: Tensor, deviation: Tensor) -> Tensor:
        """Probability of each expert to be among the top k under a fresh noise draw, summed over windows."""
        ranked = noisy.topk(self.top_k + 1, dim=-1).values
        threshold_if_in, threshold_if_out = ranked[:, self.top_k, None], ranked[:, self.top_k - 1, None]
        threshold = torch.where(noisy > threshold_if_in, threshold_if_in, threshold_if_out)
        return torch.special.ndtr((logits - threshold) / deviation).sum(dim=0)


def combine(outputs: Tensor, gates: Tensor, mode: Literal["release", "paper"]) -> Tensor:
    """Combine expert outputs of every window.

    Args:
        outputs (N, ..., 3, r, h, w): one output per expert.
        gates (N, ..., 3): gate values; an expert whose gate is exactly 0 is dropped.
        mode: release: log(sum exp) of the kept experts; paper: gate-weighted sum.

    Returns:
        (N, ..., r, h, w)
    """
    gates = gates[..., None, None, None]
    if mode == "paper":
        return (outputs * gates).sum(dim=-4)
    return torch.logsumexp(outputs.masked_fill(gates <= 0, float("-inf")), dim=-4)
