# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Types that cross module borders. Tensors are torch float unless a docstring says otherwise."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


class Modality(enum.Enum):
    """Which stream the shared trunk is looking at; chooses the expert group of every adapter."""

    RGB = "rgb"
    DEPTH = "depth"


@dataclass
class MemoryFeatures:
    """What the memory needs of N frames (docs/model.md#memory). h = H/8, w = W/8, E = 2*Ck + 1 at least.

    Attributes:
        fused (N, Cx, h, w): X_F, the memory feature.
        embed (N, Ce, h, w): e, the key encoder's output, which the fuser reads again.
        query (N, h*w, E): the frame as one that reads: its product with `key` is XMem's similarity.
        key (N, h*w, E): the frame as one that is read.
        detail (N, C, H/4, W/4): X_D^1, for a mask decoder that looks at it.
    """

    fused: Tensor
    embed: Tensor
    query: Tensor
    key: Tensor
    detail: Tensor

    def frames(self, index: slice | Tensor) -> MemoryFeatures:
        """The chosen frames only."""
        return MemoryFeatures(
            self.fused[index], self.embed[index], self.query[index], self.key[index], self.detail[index]
        )


@dataclass
class FrameFeatures:
    """All that depends on single frames: the decoder's coarse outputs and what the memory needs (docs/model.md).

    N is B*T when a clip is encoded at once, B for a single time step.

    Attributes:
        coarse_logits: (out1, out2, out), coarse to fine, each (N, 1, H, W); (out,) when encoded without `aux`.
        edge_logits: (edge1, edge2, edge_out), coarse to fine, each (N, 1, H, W); () when encoded without `aux`.
        moe_loss: scalar, load-balancing loss summed over every gate (zero without MoE).
        memory: None for a network without memory.
    """

    coarse_logits: tuple[Tensor, ...]
    edge_logits: tuple[Tensor, ...]
    moe_loss: Tensor
    memory: MemoryFeatures | None = None

    def frames(self, index: slice | Tensor) -> FrameFeatures:
        """The chosen frames only; the loss stays that of the whole batch."""

        def pick(x: Tensor) -> Tensor:
            return x[index]

        return FrameFeatures(
            coarse_logits=tuple(map(pick, self.coarse_logits)),
            edge_logits=tuple(map(pick, self.edge_logits)),
            moe_loss=self.moe_loss,
            memory=None if self.memory is None else self.memory.frames(index),
        )


@dataclass
class ClipOutput:
    """Result of `unroll_clip` on a clip of B videos and T frames.

    Attributes:
        mask_prob (B, T, 1, H, W): final saliency probability in [0, 1].
        mask_logits (B, T, 1, H, W): its logits.
        coarse_logits: (out1, out2, out), coarse to fine, each (B, T, 1, H, W).
        edge_logits: (edge1, edge2, edge_out), coarse to fine, each (B, T, 1, H, W).
        moe_loss: scalar load-balancing loss.
    """

    mask_prob: Tensor
    mask_logits: Tensor
    coarse_logits: tuple[Tensor, ...]
    edge_logits: tuple[Tensor, ...]
    moe_loss: Tensor
