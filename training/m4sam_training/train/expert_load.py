# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""How the windows of a training run spread over the experts."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from m4sam_core.model.experts import NoisyTopKGate, Routing


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
