# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""A network that will only ever infer: fewer and cheaper operations for the same masks."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from m4sam_core.model.efficientnet_lite import SameConv
from m4sam_core.model.layers import ConvBN
from m4sam_core.model.m4sam import M4SAM


def specialise(model: M4SAM, dtype: torch.dtype) -> None:
    """Put batch normalisation into the convolution before it, and keep kernels in the working precision.

    Autocast would convert every kernel anew for every frame; the results are the same bits. It cannot be undone: the
    network must not be trained or saved afterwards.

    Args:
        model: the network, in evaluation mode, on its device.
        dtype: what autocast will compute in.
    """
    with torch.no_grad():
        for module in list(model.modules()):
            if isinstance(module, ConvBN) and isinstance(module.bn, nn.BatchNorm2d):
                module.conv, module.bn = _fused(module.conv, module.bn), nn.Identity()  # type: ignore[assignment]
            elif isinstance(module, nn.Sequential):
                for index in range(len(module) - 1):
                    first, second = module[index], module[index + 1]
                    if isinstance(first, nn.Conv2d | nn.ConvTranspose2d) and type(second) is nn.BatchNorm2d:
                        module[index], module[index + 1] = _fused(first, second), nn.Identity()
        for module in model.modules():
            if isinstance(module, SameConv):
                module.specialise()
        model.fold()
        if dtype != torch.float32:
            for module in model.modules():
                if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
                    module.to(dtype)


def _fused(convolution: nn.Conv2d | nn.ConvTranspose2d, norm: nn.BatchNorm2d) -> nn.Conv2d | nn.ConvTranspose2d:
    return fuse_conv_bn_eval(convolution, norm, transpose=isinstance(convolution, nn.ConvTranspose2d))
