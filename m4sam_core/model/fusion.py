# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Cross-modal fusion of one pyramid level (docs/model.md#fusion)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from m4sam_core.model.layers import ConvBN


class UIM(nn.Module):
    """Unified interaction module, after DCTNet: fuse rgb and depth features of the same width.

    Args:
        channels: channels of each input and of the output.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.join = ConvBN(2 * channels, channels)
        self.mix = ConvBN(4 * channels, channels)

    def forward(self, rgb: Tensor, depth: Tensor) -> Tensor:
        """rgb, depth (N, C, h, w) -> (N, C, h, w)."""
        joined = self.join(torch.cat([rgb, depth], dim=1))
        return self.mix(torch.cat([joined, rgb * depth, rgb - depth, torch.maximum(rgb, depth)], dim=1))


class LiteUIM(nn.Module):
    """The same interaction after both inputs were narrowed by 1x1 convolutions (`fusion.kind: uim_lite`).

    Args:
        in_channels: channels of each input.
        channels: channels of the output.
    """

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.narrow_rgb = ConvBN(in_channels, channels, 1)
        self.narrow_depth = ConvBN(in_channels, channels, 1)
        self.interact = UIM(channels)

    def forward(self, rgb: Tensor, depth: Tensor) -> Tensor:
        """rgb, depth (N, in, h, w) -> (N, C, h, w)."""
        return self.interact(self.narrow_rgb(rgb), self.narrow_depth(depth))


class RgbAlone(nn.Module):
    """No fusion: the rgb features (`fusion.kind: none`)."""

    def forward(self, rgb: Tensor, depth: Tensor) -> Tensor:  # noqa: ARG002 (the signature of a fusion)
        """Rgb (N, C, h, w) as it is."""
        return rgb


class RFB(nn.Module):
    """Receptive-field block: four branches of growing reach, joined and added to a projection of the input.

    Args:
        in_channels: channels of the input.
        channels: channels of the output.
    """

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList([nn.Sequential(ConvBN(in_channels, channels, 1))])
        for reach in (3, 5, 7):
            self.branches.append(
                nn.Sequential(
                    ConvBN(in_channels, channels, 1),
                    ConvBN(channels, channels, (1, reach)),
                    ConvBN(channels, channels, (reach, 1)),
                    ConvBN(channels, channels, 3, dilation=reach),
                )
            )
        self.join = ConvBN(4 * channels, channels)
        self.shortcut = ConvBN(in_channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in, h, w) -> (N, C, h, w)."""
        joined = self.join(torch.cat([branch(x) for branch in self.branches], dim=1))
        return F.relu(joined + self.shortcut(x))
