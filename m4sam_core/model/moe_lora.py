# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Modality-aware MoE-LoRA (paper section 3.2; docs/model.md#encoder).

delta = alpha/r * B(a + D(a)), a = A x, where D sums the combined outputs of the stream's own expert group and of the
shared fusion group.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from m4sam_core.model.experts import (
    EXPERTS_PER_GROUP,
    NoisyTopKGate,
    Routing,
    combine,
    fusion_experts,
    modality_experts,
    route,
    run_expert,
    scaled_experts,
)
from m4sam_core.types import Modality

GROUPS = {Modality.RGB: ("rgb", "fusion"), Modality.DEPTH: ("depth", "fusion")}
_BUILDERS = {"fusion": fusion_experts, "scaled": scaled_experts}


class MoELoRA(nn.Module):
    """Weights of one adapter: A, B, the expert groups and their gates.

    Args:
        dim_in: channels of the adapted layer's input.
        dim_out: channels of the update.
        rank: r.
        alpha: scale; the update is multiplied by alpha / rank.
        top_k: experts selected per window and group.
        groups: names of the expert groups: rgb, depth, fusion, or scaled (Conv-LoRA).
        bn_momentum: momentum of the experts' batch normalisation.
        gate_noise: scale of the gates' exploration noise in training.
    """

    def __init__(
        self,
        dim_in: int,
        dim_out: int,
        *,
        rank: int,
        alpha: float,
        top_k: int,
        groups: Sequence[str] = ("rgb", "depth", "fusion"),
        bn_momentum: float = 0.1,
        gate_noise: float = 1.0,
    ) -> None:
        super().__init__()
        self.rank = rank
        self.scale = alpha / rank
        self.top_k = top_k
        self.lora_a = nn.Parameter(torch.empty(rank, dim_in))
        self.lora_b = nn.Parameter(torch.zeros(dim_out, rank))
        nn.init.kaiming_uniform_(self.lora_a, a=math.sqrt(5))
        self.experts = nn.ModuleDict(
            {name: _BUILDERS.get(name, modality_experts)(rank, bn_momentum) for name in groups}
        )
        self.gates = nn.ModuleDict({name: NoisyTopKGate(rank, top_k, gate_noise) for name in groups})

    def gate(self, group: str) -> NoisyTopKGate:
        """The gate of one expert group."""
        return cast("NoisyTopKGate", self.gates[group])

    def mix(self, a: Tensor, groups: Sequence[str], mode: Literal["release", "paper"]) -> tuple[Tensor, Tensor]:
        """alpha/r * (a + D(a)) expert by expert, as training needs it.

        Args:
            a (N, r, h, w): the low-rank projection, one attention window per sample.
            groups: the expert groups to sum.
            mode: see `experts.combine`.

        Returns:
            (N, r, h, w) and the scalar load-balancing loss.
        """
        pooled = a.mean(dim=(2, 3))
        total, loss = a, a.new_zeros(())
        for name in groups:
            routing: Routing = self.gate(name)(pooled)
            outputs = [
                run_expert(expert, a, routing.gates[:, index] > 0)
                for index, expert in enumerate(self.experts[name].children())
            ]
            total = total + combine(torch.stack(outputs, dim=1), routing.gates, mode)
            loss = loss + routing.loss()
        return self.scale * total, loss


@dataclass
class FoldedExperts:
    """All experts of n adapters for one modality as two convolutions (evaluation only).

    Attributes:
        first_weight (n*E*r, n*r, 5, 5), first_bias (n*E*r,): first layers, BN folded, block diagonal over adapters.
        second_weight (n*S*r, n*S*r, 3, 3), second_bias: second layers of the S experts per adapter that have one; they
            are the last S of the E.
        gate_weight (n*r, n*E): gates of every group, block diagonal over adapters.
        scale: alpha / r.
    """

    first_weight: Tensor
    first_bias: Tensor
    second_weight: Tensor
    second_bias: Tensor
    gate_weight: Tensor
    scale: float

    def mix(self, a: Tensor, adapters: int, top_k: int, mode: Literal["release", "paper"]) -> tuple[Tensor, Tensor]:
        """The same as `MoELoRA.mix` for n adapters side by side: a (N, n*r, h, w) -> (N, n*r, h, w), loss."""
        logits = a.mean(dim=(2, 3)) @ self.gate_weight
        routing = route(logits.unflatten(1, (adapters, -1, EXPERTS_PER_GROUP)), top_k)
        first = F.gelu(F.conv2d(a, self.first_weight, self.first_bias, padding=2)).unflatten(1, (adapters, -1))
        deep = self.second_bias.shape[0] // adapters
        shallow, inner = first[:, :, :-deep], first[:, :, -deep:].flatten(1, 2)
        second = F.gelu(F.conv2d(inner, self.second_weight, self.second_bias, padding=1)).unflatten(1, (adapters, deep))
        rank = a.shape[1] // adapters
        outputs = torch.cat([shallow, second], dim=2).unflatten(2, (-1, EXPERTS_PER_GROUP, rank))
        mixed = combine(outputs, routing.gates, mode).sum(dim=2).flatten(1, 2)
        return self.scale * (a + mixed), routing.loss()


def fold_experts(adapters: Sequence[MoELoRA], groups: Sequence[str]) -> FoldedExperts:
    """Fold BN into the experts of `groups` and lay n adapters out as dense convolutions."""
    first_w: list[Tensor] = []
    first_b: list[Tensor] = []
    second_w: list[Tensor] = []
    second_b: list[Tensor] = []
    gate_w: list[Tensor] = []
    for adapter in adapters:
        stacks = [_folded_layers(expert) for name in groups for expert in adapter.experts[name].children()]
        deep = [stack for stack in stacks if len(stack) == 2]
        first_w.append(torch.cat([_grow(stack[0][0], 5) for stack in stacks]))
        first_b.extend(stack[0][1] for stack in stacks)
        second_w.extend(_grow(stack[1][0], 3) for stack in deep)
        second_b.extend(stack[1][1] for stack in deep)
        gate_w.append(torch.cat([adapter.gate(name).w_gate for name in groups], dim=1))
    return FoldedExperts(
        first_weight=_block_diagonal(first_w),
        first_bias=torch.cat(first_b),
        second_weight=_block_diagonal(second_w),
        second_bias=torch.cat(second_b),
        gate_weight=torch.block_diag(*gate_w),
        scale=adapters[0].scale,
    )


def _folded_layers(expert: nn.Module) -> list[tuple[Tensor, Tensor]]:
    """(weight, bias) of each convolution of an expert, with the BN behind it folded in."""
    layers: list[tuple[Tensor, Tensor]] = []
    for module in expert.children():
        if isinstance(module, nn.Conv2d):
            weight = module.weight
            if module.groups > 1:
                weight = torch.diag_embed(weight[:, 0].permute(1, 2, 0)).permute(2, 3, 0, 1)
            bias = module.bias if module.bias is not None else weight.new_zeros(weight.shape[0])
            layers.append((weight, bias))
        elif isinstance(module, nn.BatchNorm2d):
            weight, bias = layers.pop()
            assert module.running_mean is not None
            assert module.running_var is not None
            scale = module.weight * torch.rsqrt(module.running_var + module.eps)
            layers.append((weight * scale.view(-1, 1, 1, 1), (bias - module.running_mean) * scale + module.bias))
    return layers


def _grow(weight: Tensor, size: int) -> Tensor:
    """Zero-pad a convolution kernel around its centre to size x size."""
    border = (size - weight.shape[-1]) // 2
    return F.pad(weight, (border, border, border, border))


def _block_diagonal(weights: Sequence[Tensor]) -> Tensor:
    """Block-diagonal convolution (sum O, sum I, k, k) of kernels (O, I, k, k)."""
    inputs = sum(weight.shape[1] for weight in weights)
    rows, offset = [], 0
    for weight in weights:
        rows.append(F.pad(weight, (0, 0, 0, 0, offset, inputs - offset - weight.shape[1])))
        offset += weight.shape[1]
    return torch.cat(rows)
