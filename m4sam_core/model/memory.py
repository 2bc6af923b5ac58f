# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Memory modules: key path, value path, read, fuser and mask decoder (docs/model.md#memory). None keeps state."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from m4sam_core.model.layers import ConvBN

_AGREEMENT_DIM = 16
_TILE = (1024, 512)  # queries, keys: their similarities take 2 MB


class KeyOutput(NamedTuple):
    """What the key path says of N frames, each (N, C, h, w): see `types.FrameFeatures`."""

    embed: Tensor
    key: Tensor
    shrinkage: Tensor
    selection: Tensor


class KeyPath(nn.Module):
    """Keys, shrinkage and selection from the memory feature X_F.

    Args:
        feature_dim: channels of X_F.
        embed_dim: channels of the embedding e.
        key_dim: channels of keys.
    """

    def __init__(self, feature_dim: int, embed_dim: int, key_dim: int) -> None:
        super().__init__()
        self.encoder = nn.Sequential(ConvBN(feature_dim, embed_dim, relu=True), ConvBN(embed_dim, embed_dim, relu=True))
        self.key = nn.Conv2d(embed_dim, key_dim, 3, padding=1)
        self.shrinkage = nn.Conv2d(embed_dim, 1, 3, padding=1)
        self.selection = nn.Conv2d(embed_dim, key_dim, 3, padding=1)

    def forward(self, feature: Tensor) -> KeyOutput:
        """X_F (N, C, h, w) -> embed, key, shrinkage >= 1, selection in (0, 1)."""
        embed = self.encoder(feature)
        shrinkage = self.shrinkage(embed).square() + 1
        return KeyOutput(embed, self.key(embed), shrinkage, torch.sigmoid(self.selection(embed)))


class SensoryUpdate(nn.Module):
    """Convolutional gated update of the sensory state (a GRU as in XMem).

    Args:
        input_dim: channels of the input that drives the update.
        sensory_dim: channels of the state.
    """

    def __init__(self, input_dim: int, sensory_dim: int) -> None:
        super().__init__()
        self.sensory_dim = sensory_dim
        self.transform = nn.Conv2d(input_dim + sensory_dim, 3 * sensory_dim, 3, padding=1)

    def forward(self, x: Tensor, sensory: Tensor) -> Tensor:
        """X (B, input, h, w), sensory (B, Cs, h, w) -> new sensory (B, Cs, h, w)."""
        forget, update, new = self.transform(torch.cat([x, sensory], dim=1)).chunk(3, dim=1)
        update = torch.sigmoid(update)
        return torch.sigmoid(forget) * sensory * (1 - update) + update * torch.tanh(new)


class ValuePath(nn.Module):
    """Memory values from X_F and a mask, and the deep update of the sensory state.

    Args:
        feature_dim: channels of X_F.
        value_dim: channels of values; the inner width is half of it.
        sensory_dim: channels of the sensory state.
    """

    def __init__(self, feature_dim: int, value_dim: int, sensory_dim: int) -> None:
        super().__init__()
        inner = value_dim // 2
        self.encoder = nn.Sequential(
            nn.Conv2d(feature_dim + 1, inner, 3, padding=1),
            nn.BatchNorm2d(inner),
            nn.ReLU(),
            nn.Conv2d(inner, inner, 3, padding=1),
            nn.BatchNorm2d(inner),
            nn.ReLU(),
        )
        self.project = nn.Sequential(nn.Conv2d(inner, value_dim, 1), nn.BatchNorm2d(value_dim), nn.ReLU())
        self.deep_update = SensoryUpdate(value_dim, sensory_dim)

    def forward(self, feature: Tensor, mask_prob: Tensor) -> Tensor:
        """Feature (B, C, h, w), mask_prob (B, 1, h, w) in [0, 1] -> value (B, Cv, h, w)."""
        return self.project(self.encoder(torch.cat([feature, mask_prob], dim=1)))


def memory_key(key: Tensor, shrinkage: Tensor) -> Tensor:
    """Keys extended so that XMem's anisotropic similarity is a dot product (docs/model.md#memory).

    sim(n, p) = shrinkage_n / sqrt(C) * (-sum_c sel_cp (key_cn - q_cp)^2) = memory_key_n . memory_query_p

    Args:
        key (B, C, h, w): memory keys.
        shrinkage (B, 1, h, w): their shrinkage.

    Returns:
        (B, h*w, 2C+1)
    """
    scale = shrinkage / math.sqrt(key.shape[1])
    return torch.cat([-key.square() * scale, 2 * key * scale, -scale], dim=1).flatten(2).transpose(1, 2)


def memory_query(query: Tensor, selection: Tensor) -> Tensor:
    """The counterpart of `memory_key`: query, selection (B, C, h, w) -> (B, h*w, 2C+1)."""
    weighted = query * selection
    constant = (weighted * query).sum(dim=1, keepdim=True)
    return torch.cat([selection, weighted, constant], dim=1).flatten(2).transpose(1, 2)


def read(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Softmax attention over every memory element.

    Args:
        query: (B, P, E) from `memory_query`.
        key: (B, M, E) from `memory_key`.
        value: (B, M, Cv) memory values.

    Returns:
        (B, P, Cv)
    """
    if query.device.type == "cpu" and query.dtype == torch.float32 and not torch.is_grad_enabled():
        return _read_in_tiles(query, key, value)
    # Fused attention wants keys as wide as values, and on a CPU contiguous rows (three times the speed, measured).
    width, channels = max(key.shape[-1], value.shape[-1]), value.shape[-1]
    query, key, value = (F.pad(x, (0, width - x.shape[-1])).contiguous()[:, None] for x in (query, key, value))
    return F.scaled_dot_product_attention(query, key, value, scale=1.0)[:, 0, :, :channels]


def _read_in_tiles(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """`read` tile by tile, so that similarities stay in the processor's cache.

    Torch's fused attention works in the same way, but only with keys and values of one width: it would copy the memory
    to widen one of them, and multiply the zeros.
    """
    query = query * math.log2(math.e)  # then powers of two will do; torch computes them in a third of the time of exp
    parts, tile = [], query.new_empty(query.shape[0] * _TILE[0] * _TILE[1])
    for rows in query.split(_TILE[0], dim=1):
        peak = rows.new_full((*rows.shape[:2], 1), float("-inf"))
        total = torch.zeros_like(peak)
        part = rows.new_zeros(*rows.shape[:2], value.shape[-1])
        for keys, values in zip(key.split(_TILE[1], dim=1), value.split(_TILE[1], dim=1), strict=True):
            shape = (*rows.shape[:2], keys.shape[1])
            weights = torch.bmm(rows, keys.transpose(1, 2), out=tile[: math.prod(shape)].view(shape))
            higher = torch.maximum(peak, weights.amax(dim=-1, keepdim=True))
            weights.sub_(higher).exp2_()
            fade = peak.sub_(higher).exp2_()
            total.mul_(fade).add_(weights.sum(dim=-1, keepdim=True))
            part.mul_(fade).baddbmm_(weights, values)
            peak = higher
        parts.append(part.div_(total))
    return torch.cat(parts, dim=1)


class ResidualBlock(nn.Module):
    """Pre-activation residual block without normalisation; the shortcut is a 3x3 convolution of the raw input."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.shortcut = nn.Conv2d(in_channels, channels, 3, padding=1)
        self.conv1 = nn.Conv2d(in_channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, h, w) -> (B, C, h, w)."""
        return self.shortcut(x) + self.conv2(F.relu(self.conv1(F.relu(x))))


class CBAM(nn.Module):
    """Channel, then spatial attention (Woo et al. 2018), reduction 16."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channel_mlp = nn.Sequential(
            nn.Linear(channels, channels // 16), nn.ReLU(), nn.Linear(channels // 16, channels)
        )
        self.spatial = nn.Conv2d(2, 1, 7, padding=3)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C, h, w)."""
        gate = self.channel_mlp(x.mean(dim=(2, 3))) + self.channel_mlp(x.flatten(2).amax(dim=2))
        x = x * torch.sigmoid(gate)[:, :, None, None]
        summary = torch.cat([x.amax(dim=1, keepdim=True), x.mean(dim=1, keepdim=True)], dim=1)
        return x * torch.sigmoid(self.spatial(summary))


class Agreement(nn.Module):
    """What the picture says, what the memory says, and how far they agree (docs/model.md#agreement).

    Starts at zero, so that a fresh one changes nothing.

    Args:
        out_channels: channels of the result.
    """

    def __init__(self, out_channels: int) -> None:
        super().__init__()
        self.mix = nn.Conv2d(4, _AGREEMENT_DIM, 3, padding=1)
        self.project = nn.Conv2d(_AGREEMENT_DIM, out_channels, 3, padding=1)
        nn.init.zeros_(self.project.weight)
        nn.init.zeros_(self.project.bias)  # type: ignore[arg-type]  # it has one

    def forward(self, seen: Tensor, remembered: Tensor) -> Tensor:
        """Coarse mask and mask read from memory, both (B, 1, h, w) in [0, 1] -> (B, out, h, w)."""
        both = seen * remembered
        share = both.sum(dim=(2, 3), keepdim=True) / remembered.sum(dim=(2, 3), keepdim=True).clamp_min(1.0)
        return self.project(F.relu(self.mix(torch.cat([seen, remembered, both, share.expand_as(seen)], dim=1))))


class Fuser(nn.Module):
    """Fuse the embedding with what was read and the sensory state.

    Args:
        in_channels: channels of embed, readout and sensory state together.
        inner: channels between the two residual blocks.
        out_channels: channels of the result g.
        sees_masks: whether an `Agreement` joins between the blocks.
    """

    def __init__(self, in_channels: int, inner: int, out_channels: int, sees_masks: bool = False) -> None:
        super().__init__()
        self.block1 = ResidualBlock(in_channels, inner)
        self.attention = CBAM(inner)
        self.block2 = ResidualBlock(inner, out_channels)
        self.agreement = Agreement(inner) if sees_masks else None

    def forward(self, embed: Tensor, readout: Tensor, sensory: Tensor) -> Tensor:
        """All (B, *, h, w) -> g (B, out, h, w). With `sees_masks` embed ends with a coarse mask, readout with one."""
        if self.agreement is None:
            x = self.block1(torch.cat([embed, readout, sensory], dim=1))
        else:
            x = self.block1(torch.cat([embed[:, :-1], readout[:, :-1], sensory], dim=1))
            x = x + self.agreement(embed[:, -1:], readout[:, -1:])
        return self.block2(x + self.attention(x))


class MaskDecoder(nn.Module):
    """g at stride 8 to mask logits at full resolution by three transposed convolutions.

    Args:
        channels: channels of g; halved at each step.
        detail_channels: channels of a map at stride 4 that is added, projected, before the first activation; 0: none,
            as published. The decoders of XMem and its heirs see finer levels again in this way. The projection starts
            at zero, so that a fresh one changes nothing.
    """

    def __init__(self, channels: int, detail_channels: int = 0) -> None:
        super().__init__()
        width = channels // 2
        steps: list[nn.Module] = []
        for _ in range(3):
            steps += [
                nn.ConvTranspose2d(channels, channels // 2, 2, stride=2),
                nn.BatchNorm2d(channels // 2),
                nn.GELU(),
            ]
            channels //= 2
        self.steps = nn.Sequential(*steps)
        self.head = nn.Conv2d(channels, 1, 3, padding=1)
        self.detail = nn.Conv2d(detail_channels, width, 1, bias=False) if detail_channels else None
        if self.detail is not None:
            nn.init.zeros_(self.detail.weight)

    def forward(self, x: Tensor, detail: Tensor) -> Tensor:
        """X (B, C, h, w), detail (B, D, 2h, 2w) -> logits (B, 1, 8h, 8w)."""
        x = self.steps[:2](x)
        if self.detail is not None:
            x = x + self.detail(detail)
        return self.head(self.steps[2:](x))
