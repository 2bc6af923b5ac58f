# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""EfficientNet-Lite0 as a trunk for robots without a GPU (Tan & Le 2019; the Lite variant has ReLU6 and no attention).

The trunk is frozen, so its batch normalisations are part of the convolutions from the start: one weight and one bias
per layer. Low-rank adapters sit on the pointwise projections; their routing unit is the whole image.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from m4sam_core.model.adapters import LowRankAdapter
from m4sam_core.model.trunk import BOTH, Trunk, freeze
from m4sam_core.types import Modality

STEM_DIM = 32
# (kernel, stride, expansion, output channels, blocks) of each stage, table 1 of the paper at width and depth 1.
STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)
LEVEL_ENDS = (2, 4, 10, 15)  # the last block at stride 4, 8, 16 and 32
DIMS = (24, 40, 112, 320)


class SameConv(nn.Module):
    """Convolution padded as TensorFlow's "same": the odd pixel goes to the right and the bottom.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel: kernel size.
        stride: 1 or 2; the input's sides are multiples of it.
        groups: see `torch.nn.Conv2d`.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, stride, groups=groups)
        total = kernel - stride
        self.border = (total // 2, total - total // 2)
        self.grown = self.border[0] == self.border[1]

    def forward(self, x: Tensor) -> Tensor:
        """(N, in, H, W) -> (N, out, H/stride, W/stride)."""
        conv = self.conv
        weight = conv.weight if self.grown else self._grow(conv.weight)
        return F.conv2d(x, weight, conv.bias, conv.stride, self.border[1], 1, conv.groups)

    def specialise(self) -> None:
        """Grow the kernel once and for all; the weights can no longer be saved."""
        if not self.grown:
            self.conv.weight = nn.Parameter(self._grow(self.conv.weight), requires_grad=False)
            self.grown = True

    def _grow(self, kernel: Tensor) -> Tensor:
        """A zero row and column before the kernel spare a padded copy of the whole input."""
        before, after = self.border
        return F.pad(kernel, (after - before, 0, after - before, 0))


class InvertedResidual(nn.Module):
    """Widen, convolve per channel, project; the input is added where the shape allows.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel: size of the depthwise kernel.
        stride: of the depthwise convolution.
        expansion: widening factor; 1 leaves the first convolution out.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = in_channels * expansion
        self.expand = nn.Conv2d(in_channels, hidden, 1) if expansion > 1 else None
        self.depthwise = SameConv(hidden, hidden, kernel, stride, groups=hidden)
        self.project = nn.Conv2d(hidden, out_channels, 1)
        self.residual = stride == 1 and in_channels == out_channels

    def forward(
        self, x: Tensor, adapter: LowRankAdapter | None, modalities: Sequence[Modality]
    ) -> tuple[Tensor, Tensor]:
        """Map x (S*N, in, H, W) to (S*N, out, H/stride, W/stride), and give the adapter's load-balancing loss."""
        hidden = _relu6(self.expand(x)) if self.expand is not None else x
        hidden = _relu6(self.depthwise(hidden))
        y, loss = self.project(hidden), x.new_zeros(())
        if adapter is not None:
            (update,), loss = adapter(hidden.permute(0, 2, 3, 1), modalities, _whole_image)
            low = update.low.permute(0, 3, 1, 2)
            y = y + F.conv2d(low, update.up.to(low.dtype)[:, :, None, None])
        return (x + y if self.residual else y), loss


def _relu6(x: Tensor) -> Tensor:
    return F.hardtanh(x, 0.0, 6.0, inplace=True)


def _whole_image(low: Tensor) -> Tensor:
    return low


def block_dims() -> list[tuple[int, int]]:
    """(input, output) channels of every block's projection: what its adapter must fit."""
    dims, width = [], STEM_DIM
    for _, _, expansion, out, repeats in STAGES:
        for _ in range(repeats):
            dims.append((width * expansion, out))
            width = out
    return dims


class EfficientNetLiteTrunk(Trunk):
    """Frozen EfficientNet-Lite0 with adapters on its last blocks.

    Args:
        adapters: adapters of the last `len(adapters)` blocks, in order; may be empty.
    """

    def __init__(self, adapters: Sequence[LowRankAdapter] = ()) -> None:
        super().__init__()
        self.dims = DIMS
        self.stem = SameConv(3, STEM_DIM, 3, 2)
        blocks, width = [], STEM_DIM
        for kernel, stride, expansion, out, repeats in STAGES:
            for index in range(repeats):
                blocks.append(InvertedResidual(width, out, kernel, stride if index == 0 else 1, expansion))
                width = out
        self.blocks = nn.ModuleList(blocks)
        freeze(self)
        self.adapters = nn.ModuleList(adapters)

    def encode(self, x: Tensor, modalities: Sequence[Modality] = BOTH) -> tuple[list[Tensor], Tensor]:
        """See `Trunk.encode`."""
        first_adapted = len(self.blocks) - len(self.adapters)
        x = _relu6(self.stem(x.contiguous(memory_format=torch.channels_last)))
        loss = x.new_zeros(())
        levels = []
        for index, block in enumerate(self.blocks):
            adapter = self.adapters[index - first_adapted] if index >= first_adapted else None
            x, block_loss = block(x, adapter, modalities)
            loss = loss + block_loss
            if index in LEVEL_ENDS:
                levels.append(x)
        return levels, loss

    def fold(self) -> None:
        """Fold the experts of every adapter."""
        for adapter in self.adapters:
            cast("LowRankAdapter", adapter).fold()
