# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""What the network asks of a trunk; every trunk is one implementation of this."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from m4sam_core.model.layers import equal_parts
from m4sam_core.types import Modality

BOTH = (Modality.RGB, Modality.DEPTH)


class Trunk(nn.Module, ABC):
    """A frozen pyramid encoder shared by both modalities, with its adapters.

    Attributes:
        dims: channels of the four levels at stride 4, 8, 16 and 32.
        recompute: in training, keep only what goes into each block and compute the rest again in the backward pass;
            less memory, same numbers, about a third more time. Ignored by a trunk without blocks.
    """

    dims: tuple[int, int, int, int]
    recompute: bool = False

    @abstractmethod
    def encode(self, x: Tensor, modalities: Sequence[Modality]) -> tuple[list[Tensor], Tensor]:
        """Encode S equal parts of a batch, each part through its modality's adapters.

        Args:
            x (S*N, 3, H, W): normalised input, H and W multiples of 32.
            modalities: the modality of each of the S parts.

        Returns:
            four levels (S*N, dims[i], H/4/2^i, W/4/2^i), and the scalar load-balancing loss.
        """

    def forward(self, x: Tensor, modalities: Sequence[Modality] = BOTH) -> tuple[list[Tensor], Tensor]:
        """See `encode`."""
        return self.encode(x, modalities)

    def fold(self) -> None:
        """Prepare for inference: precompute what depends on weights alone. Undone by `train()` and by loading."""

    @property
    def single(self) -> tuple[Trunk, ...]:
        """The pyramid encoders it consists of, each with weights of its own to load."""
        return (self,)


class DualTrunk(Trunk):
    """A trunk of its own for each modality, one pass after the other: the dual encoder that M4-SAM does without.

    Args:
        rgb: encodes rgb.
        depth: encodes depth; as deep and wide.
    """

    def __init__(self, rgb: Trunk, depth: Trunk) -> None:
        super().__init__()
        self.encoders = nn.ModuleDict({Modality.RGB.value: rgb, Modality.DEPTH.value: depth})
        self.dims = rgb.dims

    def encode(self, x: Tensor, modalities: Sequence[Modality]) -> tuple[list[Tensor], Tensor]:
        """See `Trunk.encode`."""
        passes = []
        for part, modality in zip(equal_parts(x, len(modalities)), modalities, strict=True):
            trunk = cast("Trunk", self.encoders[modality.value])
            trunk.recompute = self.recompute
            passes.append(trunk(part, (modality,)))
        levels = [torch.cat(parts) for parts in zip(*(levels for levels, _ in passes), strict=True)]
        return levels, torch.stack([loss for _, loss in passes]).sum()

    def fold(self) -> None:
        """Fold both."""
        for trunk in self.single:
            trunk.fold()

    @property
    def single(self) -> tuple[Trunk, ...]:
        """The rgb and the depth encoder."""
        return tuple(cast("Trunk", trunk) for trunk in self.encoders.values())


def freeze(module: nn.Module) -> None:
    """Exclude every parameter of `module` from training."""
    for parameter in module.parameters():
        parameter.requires_grad_(False)
