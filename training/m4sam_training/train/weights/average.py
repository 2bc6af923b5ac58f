# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""The mean of the weights over time, which is steadier than where a run happens to stand."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn

from m4sam_training.train.weights.parts import MEMORY_PARTS

AnyModule = TypeVar("AnyModule", bound=nn.Module)


class WeightAverage:
    """An exponential mean of a model's weights and statistics.

    Args:
        model: where it begins.
        decay: share that is kept at each step; 0: no mean is kept, and none is there to be had.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.state: dict[str, Tensor] = (
            {name: value.detach().clone() for name, value in model.state_dict().items()} if decay else {}
        )

    def follow(self, model: nn.Module) -> None:
        """Take in the weights after a step."""
        if not self.state:
            return
        with torch.no_grad():
            for name, value in model.state_dict().items():
                if value.is_floating_point():
                    self.state[name].lerp_(value.detach(), 1 - self.decay)
                else:
                    self.state[name].copy_(value)

    def of(self, model: AnyModule) -> AnyModule:
        """The model with the mean for its weights; the model itself if no mean is kept."""
        if not self.state:
            return model
        copied = copy.deepcopy(model)
        copied.load_state_dict(self.state)
        return copied


def mixed(model: AnyModule, start: Mapping[str, Tensor], keep: float, memory_keeps: float) -> AnyModule:
    """A copy whose weights and statistics lie between the model's and those it started from.

    A short run on new clips forgets some of the old ones; half-way it often keeps both (weight-space ensembles).

    Args:
        model: as it is trained.
        start: what it started from; empty: the model itself is returned.
        keep: share of `start`.
        memory_keeps: the same for `MEMORY_PARTS`.
    """
    if not start:
        return model
    copied = copy.deepcopy(model)
    with torch.no_grad():
        for name, value in copied.state_dict().items():
            if value.is_floating_point():
                value.lerp_(start[name], memory_keeps if name.startswith(MEMORY_PARTS) else keep)
    return copied
