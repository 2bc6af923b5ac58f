# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Small layers shared by the network's parts."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ConvBN(nn.Module):
    """Convolution without bias, batch normalisation, and an optional ReLU; keeps the spatial size at stride 1.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel: kernel size, square or (height, width).
        dilation: dilation of the kernel.
        relu: whether a ReLU follows.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int | tuple[int, int] = 3,
        dilation: int = 1,
        *,
        relu: bool = False,
    ) -> None:
        super().__init__()
        height, width = (kernel, kernel) if isinstance(kernel, int) else kernel
        padding = (dilation * (height - 1) // 2, dilation * (width - 1) // 2)
        self.conv = nn.Conv2d(
            in_channels, out_channels, (height, width), padding=padding, dilation=dilation, bias=False
        )
        self.bn = nn.BatchNorm2d(out_channels)
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        """(N, in, h, w) -> (N, out, h, w)."""
        x = self.bn(self.conv(x))
        return F.relu(x) if self.relu else x


def resize(x: Tensor, size: tuple[int, int] | torch.Size, *, align_corners: bool = False) -> Tensor:
    """Bilinear resize of x (N, C, h, w) to `size`, without antialiasing; the same tensor when nothing changes."""
    if x.shape[-2:] == tuple(size):
        return x
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=align_corners)


def equal_parts(x: Tensor, count: int) -> tuple[Tensor, ...]:
    """`count` equal parts of x (count*N, ...), as views; an export may leave N open, which `chunk` would not."""
    return x.unflatten(0, (count, -1)).unbind()


def pointwise(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """A linear layer over the last axis of x (N, h, w, in) -> (N, h, w, out).

    On a CPU in float32 it is computed as a 1x1 convolution on the channels-last view of the same memory, which oneDNN
    runs up to twice as fast as the matrix product (measured on AVX-512); torch gives convolutions to oneDNN
    only when it has more than one thread.
    """
    on_cpu = x.device.type == "cpu" and x.dtype == torch.float32
    if on_cpu and not torch.is_grad_enabled() and torch.get_num_threads() > 1:
        y = F.conv2d(x.permute(0, 3, 1, 2), weight[:, :, None, None], bias)
        return y.permute(0, 2, 3, 1)
    return F.linear(x, weight, bias)
