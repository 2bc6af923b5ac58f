# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""The M4-SAM network: stateless verbs over frames. Time lives in `m4sam_core.stream`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from m4sam_core.model.decoder import Decoder, GatedFusion
from m4sam_core.model.layers import equal_parts, resize
from m4sam_core.model.memory import (
    Fuser,
    KeyPath,
    MaskDecoder,
    SensoryUpdate,
    ValuePath,
    memory_key,
    memory_query,
    read,
)
from m4sam_core.model.trunk import BOTH, Trunk
from m4sam_core.types import FrameFeatures, MemoryFeatures, Modality

if TYPE_CHECKING:
    from m4sam_core.config import ModelConfig

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
MEMORY_STRIDE = 8


@dataclass
class MemoryModules:
    """The memory's parts, wired by `build_model`."""

    gated_fusion: GatedFusion | None
    key_path: KeyPath
    value_path: ValuePath
    fuser: Fuser
    sensory_update: SensoryUpdate
    mask_decoder: MaskDecoder


class M4SAM(nn.Module):
    """RGB-D saliency network with a memory (paper section 3; docs/model.md).

    Args:
        cfg: the settings it was built from; they travel with the weights.
        trunk: shared pyramid encoder.
        fusions: one cross-modal fusion per level.
        receptive: one receptive-field block per level.
        decoder: hierarchical decoder.
        memory: the memory's parts, or None for the network without memory.
        input_size_px: see `ModelConfig.input_size_px`.
        rgb_norm: see `ModelConfig.rgb_norm`.
        prior_norm: see `MemoryConfig.prior_norm`.
        feature: parts of X_F, in order; see `MemoryConfig.feature`.
        encodes_depth: off: the depth features are the rgb features, and depth is not looked at.
    """

    def __init__(
        self,
        cfg: ModelConfig,
        *,
        trunk: Trunk,
        fusions: Sequence[nn.Module],
        receptive: Sequence[nn.Module],
        decoder: Decoder,
        memory: MemoryModules | None,
        input_size_px: int,
        rgb_norm: Literal["minmax", "imagenet"],
        prior_norm: Literal["batch", "sample"],
        feature: Sequence[str],
        encodes_depth: bool,
    ) -> None:
        super().__init__()
        self.cfg = cfg
        self.input_size_px = input_size_px
        self.rgb_norm = rgb_norm
        self.prior_norm = prior_norm
        self.feature = tuple(feature)
        self.encodes_depth = encodes_depth
        self.trunk = trunk
        self.fusions = nn.ModuleList(fusions)
        self.receptive = nn.ModuleList(receptive)
        self.decoder = decoder
        self.has_memory = memory is not None
        if memory is not None:
            self.sensory_dim = memory.sensory_update.sensory_dim
            self.gated_fusion = memory.gated_fusion
            self.key_path = memory.key_path
            self.value_path = memory.value_path
            self.fuser = memory.fuser
            self.sensory_update = memory.sensory_update
            self.mask_decoder = memory.mask_decoder

    # ------------------------------------------------------------------------------------- encoding

    def encode(self, rgb: Tensor, depth: Tensor, *, aux: bool = True) -> FrameFeatures:
        """Everything that depends on single frames.

        Args:
            rgb (N, 3, H, W): colour in [0, 1], at the model's input size.
            depth (N, 1, H, W): depth in [0, 1], larger = farther, holes 0.
            aux: also compute what only training looks at: the coarser masks and the edges.

        Returns:
            features of the N frames.
        """
        size = (rgb.shape[-2], rgb.shape[-1])
        pairs, moe_loss = self._encode_pairs(rgb, depth)
        fused = [
            receptive(fusion(*pair))
            for pair, fusion, receptive in zip(pairs, self.fusions, self.receptive, strict=True)
        ]
        decoded = self.decoder(fused)
        coarse = self.decoder.coarse(decoded, size) if aux else self.decoder.finest(decoded, size)
        edges = self.decoder.edges(decoded, size) if aux else ()
        if not self.has_memory:
            return FrameFeatures(coarse, edges, moe_loss)
        feature = self._memory_feature(fused, decoded, (size[0] // MEMORY_STRIDE, size[1] // MEMORY_STRIDE))
        embed, key, shrinkage, selection = self.key_path(feature)
        if self.fuser.agreement is not None:
            embed = torch.cat([embed, torch.sigmoid(resize(coarse[-1], embed.shape[-2:]))], dim=1)
        memory = MemoryFeatures(
            fused=feature,
            embed=embed,
            query=memory_query(key, selection),
            key=memory_key(key, shrinkage),
            detail=decoded[-1],
        )
        return FrameFeatures(coarse, edges, moe_loss, memory)

    def _encode_pairs(self, rgb: Tensor, depth: Tensor) -> tuple[list[tuple[Tensor, Tensor]], Tensor]:
        """Rgb and depth features of every level, and the load-balancing loss."""
        rgb = self._normalise(rgb)
        if not self.encodes_depth:
            levels, moe_loss = self.trunk(rgb, (Modality.RGB,))
            return [(level, level) for level in levels], moe_loss
        levels, moe_loss = self.trunk(torch.cat([rgb, depth.expand(-1, 3, -1, -1)]), BOTH)
        parts = (equal_parts(level, len(BOTH)) for level in levels)
        return [(of_rgb, of_depth) for of_rgb, of_depth in parts], moe_loss

    def _normalise(self, rgb: Tensor) -> Tensor:
        if self.rgb_norm == "imagenet":
            mean, std = (rgb.new_tensor(x).view(1, 3, 1, 1) for x in (IMAGENET_MEAN, IMAGENET_STD))
            return (rgb - mean) / std
        return _minmax(rgb)

    def _memory_feature(self, fused: list[Tensor], decoded: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """X_F (N, C, h, w): what the memory sees (docs/model.md#gated-fusion)."""
        levels = {"x_e1": fused[0], "x_d2": decoded[1], "x_d1": decoded[2]}
        if self.gated_fusion is not None:
            levels["gated"] = self.gated_fusion(fused)
        return torch.cat([resize(levels[name], size, align_corners=True) for name in self.feature], dim=1)

    # --------------------------------------------------------------------------------------- memory

    def prior(self, features: FrameFeatures) -> Tensor:
        """Pseudo-guided prior (N, 1, H, W) in [0, 1]: the stretched finest coarse mask (docs/model.md#recurrence)."""
        return pseudo_prior(features.coarse_logits[-1], self.prior_norm)

    def initial_sensory(self, memory: MemoryFeatures) -> Tensor:
        """The sensory state of a new scene: zeros (N, Cs, h, w)."""
        n, _, height, width = memory.fused.shape
        return memory.fused.new_zeros(n, self.sensory_dim, height, width)

    def encode_value(
        self, memory: MemoryFeatures, mask_prob: Tensor, sensory: Tensor, deep_update: bool
    ) -> tuple[Tensor, Tensor]:
        """The memory value of one time step.

        Args:
            memory: features of B frames.
            mask_prob (B, 1, H, W): the mask to remember, in [0, 1].
            sensory (B, Cs, h, w): sensory state.
            deep_update: whether the sensory state follows the value.

        Returns:
            value (B, h*w, Cv) and the sensory state.
        """
        mask = resize(mask_prob, memory.fused.shape[-2:])
        value = self.value_path(memory.fused, mask)
        if deep_update:
            sensory = self.value_path.deep_update(value, sensory)
        if self.fuser.agreement is not None:
            value = torch.cat([value, mask], dim=1)
        return value.flatten(2).transpose(1, 2), sensory

    def read(self, memory: MemoryFeatures, key: Tensor, value: Tensor) -> Tensor:
        """What the memory says of B frames.

        Args:
            memory: features of B frames.
            key (B, M, E): the keys of what is remembered.
            value (B, M, Cv): its values, from `encode_value`.

        Returns:
            readout (B, Cv, h, w)
        """
        out = read(memory.query, key, value)
        return out.transpose(1, 2).unflatten(2, memory.fused.shape[-2:])

    def recall(self, memory: MemoryFeatures, key: Tensor, value: Tensor, sensory: Tensor) -> tuple[Tensor, Tensor]:
        """Read the memory and segment: final mask logits (B, 1, H, W) of B frames and the sensory state after them.

        Args:
            memory: features of B frames.
            key (B, M, E): the keys of what is remembered.
            value (B, M, Cv): its values.
            sensory (B, Cs, h, w): sensory state.
        """
        return self.segment(memory, self.read(memory, key, value), sensory)

    def segment(self, memory: MemoryFeatures, readout: Tensor, sensory: Tensor) -> tuple[Tensor, Tensor]:
        """Final mask logits (B, 1, H, W) of B frames and the sensory state after them."""
        fused = self.fuser(memory.embed, readout, sensory)
        sensory = self.sensory_update(fused, sensory)
        return self.mask_decoder(fused, memory.detail), sensory

    def fold(self) -> None:
        """Prepare for inference: fold what depends on weights alone, lay kernels out for fast convolutions."""
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack this form
        self.trunk.fold()


def pseudo_prior(coarse_logits: Tensor, norm: Literal["batch", "sample"]) -> Tensor:
    """The mask of a coarse decoder, (N, 1, H, W) logits, stretched to [0, 1] over each sample or the batch."""
    prob = torch.sigmoid(coarse_logits)
    if norm == "batch":
        low, high = prob.amin(), prob.amax()
        return (prob - low) / (high - low)
    return _minmax(prob)


def _minmax(x: Tensor) -> Tensor:
    """Stretch each image of x (N, C, H, W) to [0, 1]; a flat one becomes 0."""
    low, high = (end(x.flatten(1), dim=1).view(-1, 1, 1, 1) for end in (torch.amin, torch.amax))
    span = high - low
    return torch.where(span > 0, (x - low) / torch.where(span > 0, span, torch.ones_like(span)), torch.zeros_like(x))
