# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Hierarchical decoder and gated multi-level fusion (docs/model.md#decoder)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from m4sam_core.model.layers import ConvBN, resize


class UpBlock(nn.Module):
    """Upsample by 2, join with the skip level, two convolutions.

    Args:
        channels: channels of both inputs and of the output.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convs = nn.Sequential(ConvBN(2 * channels, channels, relu=True), ConvBN(channels, channels, relu=True))

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """X (N, C, h, w), skip (N, C, 2h, 2w) -> (N, C, 2h, 2w)."""
        return self.convs(torch.cat([skip, resize(x, skip.shape[-2:], align_corners=True)], dim=1))


class Decoder(nn.Module):
    """From X_E^1..4 to X_D^1, X_D^2 and the coarse mask and edge logits.

    Args:
        channels: channels of every level.
        outlines: whether it also draws outlines.
    """

    def __init__(self, channels: int, *, outlines: bool) -> None:
        super().__init__()
        self.ups = nn.ModuleList([UpBlock(channels) for _ in range(3)])
        self.coarse_heads = nn.ModuleList([nn.Conv2d(channels, 1, 1) for _ in range(3)])
        self.edge_heads = nn.ModuleList([nn.Conv2d(channels, 1, 1) for _ in range(3 if outlines else 0)])

    def forward(self, levels: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Levels X_E^1..4 (N, C, H/4/2^i, W/4/2^i) -> (X_D^3, X_D^2, X_D^1), coarse to fine."""
        d3 = self.ups[0](levels[3], levels[2])
        d2 = self.ups[1](d3, levels[1])
        d1 = self.ups[2](d2, levels[0])
        return d3, d2, d1

    def coarse(self, decoded: Sequence[Tensor], size: tuple[int, int]) -> tuple[Tensor, ...]:
        """Coarse mask logits of every decoded level, (N, 1, *size) each."""
        return tuple(resize(head(x), size) for head, x in zip(self.coarse_heads, decoded, strict=True))

    def finest(self, decoded: Sequence[Tensor], size: tuple[int, int]) -> tuple[Tensor]:
        """The last of `coarse` alone."""
        return (resize(self.coarse_heads[-1](decoded[-1]), size),)

    def edges(self, decoded: Sequence[Tensor], size: tuple[int, int]) -> tuple[Tensor, ...]:
        """Edge logits of every decoded level, (N, 1, *size) each; none where the decoder draws no outlines."""
        return tuple(resize(head(x), size) for head, x in zip(self.edge_heads, decoded, strict=False))


class GatedFusion(nn.Module):
    """Gated multi-level fusion of X_E^1..4 into X~ at stride 4 (paper section 3.3).

    Args:
        channels: channels of every level and of the output.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.join = ConvBN(4 * channels, channels, 1, relu=True)
        self.channel_attention = nn.Sequential(
            nn.Conv2d(channels, channels // 4, 1, bias=False),
            nn.ReLU(),
            nn.Conv2d(channels // 4, channels, 1, bias=False),
        )
        self.spatial_attention = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.ReLU(), nn.Conv2d(8, 1, 3, padding=1, bias=False)
        )
        self.gate = ConvBN(2 * channels, channels, 1)

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """Levels X_E^1..4 -> X~ (N, C, H/4, W/4)."""
        first = levels[0]
        joined = self.join(torch.cat([first, *(resize(x, first.shape[-2:]) for x in levels[1:])], dim=1))
        channel = torch.sigmoid(self.channel_attention(F.adaptive_avg_pool2d(joined, 1)))
        spatial = torch.sigmoid(self.spatial_attention(joined.mean(dim=1, keepdim=True)))
        enhanced = joined * channel * spatial
        gate = torch.sigmoid(self.gate(torch.cat([first, enhanced], dim=1)))
        return gate * enhanced + (1 - gate) * first
