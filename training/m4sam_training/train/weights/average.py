"""The mean of the weights over time, which is steadier than where a run happens to stand."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from m4sam_core.model.m4sam import M4SAM


class WeightAverage:
    """An exponential mean of a model's weights and statistics.

    Args:
        model: where it begins.
        decay: share that is kept at each step; 0: no mean is kept, and none is there to be had.
    """

    def __init__(self, model: M4SAM, decay: float) -> None:
        self.decay = decay
        self.state: dict[str, Tensor] = (
            {name: value.detach().clone() for name, value in model.state_dict().items()} if decay else {}
        )

    def follow(self, model: M4SAM) -> None:
        """Take in the weights after a step."""
        if not self.state:
            return
        with torch.no_grad():
            for name, value in model.state_dict().items():
                if value.is_floating_point():
                    self.state[name].lerp_(value.detach(), 1 - self.decay)
                else:
                    self.state[name].copy_(value)

    def of(self, model: M4SAM) -> M4SAM:
        """The model with the mean for its weights; the model itself if no mean is kept."""
        if not self.state:
            return model
        copied = copy.deepcopy(model)
        copied.load_state_dict(self.state)
        return copied
