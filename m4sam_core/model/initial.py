# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""How fresh weights are drawn where the release does not take torch's defaults (docs/training.md#initial-weights)."""

from __future__ import annotations

import math

from torch import nn

from m4sam_core.model.memory import KeyPath, MaskDecoder, SensoryUpdate, ValuePath
from m4sam_core.model.moe_lora import MoELoRA


def draw_as_release(model: nn.Module) -> None:
    """Draw the memory's weights anew as the release does, and clear the biases it clears, in place.

    The standard deviations are measured on the release; that they are those of normal draws is our reading. What is
    not named here, the adapters' A and B and the gates included, keeps what its module gave it.

    Args:
        model: any network; its value paths, key paths, sensory updates, mask decoders and adapters are looked for.
    """
    modules = list(model.modules())
    for module in modules:
        if isinstance(module, KeyPath):
            nn.init.orthogonal_(module.key.weight)
            _clear(module.key)
        elif isinstance(module, SensoryUpdate):
            nn.init.xavier_normal_(module.transform.weight)
            _clear(module.transform)
        elif isinstance(module, MaskDecoder):
            for layer in [*module.steps, module.head]:
                if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
                    nn.init.xavier_normal_(layer.weight, gain=math.sqrt(2))
                    _clear(layer)
        elif isinstance(module, MoELoRA):
            for layer in module.experts.modules():
                if isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1):
                    _clear(layer)
    # Last: the deep update is a sensory update inside the value path, and drawn like the rest of that path.
    for module in modules:
        if isinstance(module, ValuePath):
            for layer in module.modules():
                if isinstance(layer, nn.Conv2d):
                    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
                    _clear(layer)


def _clear(layer: nn.Conv2d | nn.ConvTranspose2d) -> None:
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
