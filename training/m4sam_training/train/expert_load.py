# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""How the windows of a training run spread over the experts, and which experts got none."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor, nn

from m4sam_core.model.experts import EXPERTS_PER_GROUP, NoisyTopKGate, Routing
from m4sam_core.model.moe_lora import MoELoRA


class ExpertLoad:
    """Counts windows per expert and group from the gates of a model while it trains.

    Args:
        model: any module; its `NoisyTopKGate`s are watched, a model without any gives an empty report.
    """

    def __init__(self, model: nn.Module) -> None:
        self._counts: dict[str, Tensor] = {}
        for name, module in model.named_modules():
            if isinstance(module, NoisyTopKGate):
                group = name.rsplit(".", 1)[-1]
                module.register_forward_hook(lambda _m, _i, routing, group=group: self._add(group, routing))

    @torch.no_grad()
    def _add(self, group: str, routing: Routing) -> None:
        used = (routing.gates > 0).flatten(0, -2).sum(dim=0)
        self._counts[group] = self._counts[group] + used if group in self._counts else used

    def take(self) -> dict[str, list[float]]:
        """Share of selections per expert and group since the last call, e.g. {"rgb": [0.4, 0.3, 0.3]}."""
        shares = {}
        for group, count in self._counts.items():
            shares[group] = (count / count.sum().clamp(min=1)).tolist()
        self._counts = {}
        return shares


class IdleExperts:
    """Takes the gradient from experts that saw no window, so that AdamW leaves them and their moments alone.

    Experts are computed densely here: one without windows gets a gradient of zeros, by which AdamW would still decay
    its weights and forget its moments. In the release such an expert is never run.

    Args:
        model: any module; the gates of its `MoELoRA`s are watched.
    """

    def __init__(self, model: nn.Module) -> None:
        self._experts: list[nn.Module] = []
        self._used: dict[int, Tensor] = {}
        for module in model.modules():
            if isinstance(module, MoELoRA):
                for group in module.gates:
                    first = len(self._experts)
                    self._experts += module.experts[group].children()
                    module.gate(group).register_forward_hook(lambda _m, _i, routing, n=first: self._add(n, routing))

    @torch.no_grad()
    def _add(self, first: int, routing: Routing) -> None:
        used = (routing.gates > 0).flatten(0, -2).any(dim=0)
        self._used[first] = self._used[first] | used if first in self._used else used

    def forget(self) -> None:
        """Begin a new step."""
        self._used = {}

    def leave_alone(self, processes: int) -> None:
        """Drop the gradients of what no window reached since `forget`, in any process; all of them must call it."""
        if not self._used:
            return
        seen = sorted(self._used)  # gates that were run: the same ones in every process
        used = torch.cat([self._used[first] for first in seen])
        if processes > 1:
            used = used.to(torch.uint8)
            dist.all_reduce(used, op=dist.ReduceOp.MAX)
        experts = [expert for first in seen for expert in self._experts[first : first + EXPERTS_PER_GROUP]]
        for expert, busy in zip(experts, used.tolist(), strict=True):
            if not busy:
                for parameter in expert.parameters():
                    parameter.grad = None
