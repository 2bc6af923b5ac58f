# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Weights of the published models: the M4-SAM release and SAM2.1. The only file that knows their key names."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from m4sam_core.checkpoint import below_prefix, copy_weights, load_checkpoint, read_config, read_pickled_weights
from m4sam_core.config import ModelConfig
from m4sam_core.errors import CheckpointError

if TYPE_CHECKING:
    from torch import Tensor

    from m4sam_core.model.m4sam import M4SAM
    from m4sam_core.model.trunk import Trunk

# Our name -> the release's, tried in order; the first match wins. Exactly one rule fits every key of preset `release`.
_RULES: tuple[tuple[str, str], ...] = (
    (r"trunk\.hiera\.(blocks\.\d+\.attn)\.qkv\.(.*)", r"encoder.\1.qkv.attn_qkv.\2"),
    (r"trunk\.hiera\.(.*)", r"encoder.\1"),
    (r"trunk\.qv_adapters\.(\d+)\.sets\.shared\.([qv])\.(.*)", r"encoder.blocks.\1.attn.qkv.lora_\2.\3"),
    (r"fusions\.(\d)\.(.*)", r"uim\1.\2"),
    (r"receptive\.(\d)\.(.*)", r"rfb\1.\2"),
    (r"decoder\.ups\.(\d)\.(.*)", r"up\1.\2"),
    (r"decoder\.coarse_heads\.2\.(.*)", r"head.\1"),
    (r"decoder\.coarse_heads\.(\d)\.(.*)", r"side\1.\2"),
    (r"decoder\.edge_heads\.2\.(.*)", r"edge_head.\1"),
    (r"decoder\.edge_heads\.(\d)\.(.*)", r"edge\1.\2"),
    (r"gated_fusion\.(.*)", r"MLF.\1"),
    (r"key_path\.encoder\.(.*)", r"mem_model.memory.key_encoder.encoder.\1"),
    (r"key_path\.(.*)", r"mem_model.memory.key_proj.\1"),
    (r"value_path\.(.*)", r"mem_model.memory.value_encoder.\1"),
    (r"fuser\.(.*)", r"mem_model.memory.decoder.fuser.\1"),
    (r"sensory_update\.(.*)", r"mem_model.memory.decoder.hidden_update.\1"),
    (r"mask_decoder\.(.*)", r"mem_model.mask_decoder.\1"),
)

# Names inside a part, after the rule above: (where it applies, ours, theirs).
_PARTS: tuple[tuple[str, str, str], ...] = (
    (r"^encoder\.", r"\.lora_a$", ".lora_A"),
    (r"^encoder\.", r"\.lora_b$", ".lora_B"),
    (r"^encoder\.", r"\.experts\.(\w+)\.", r".\1_experts."),
    (r"^encoder\.", r"\.gates\.(\w+)\.", r".\1_gate."),
    (r"^uim", r"\.join\.", ".catconv1."),
    (r"^uim", r"\.mix\.", ".catconv2."),
    (r"^rfb", r"\.branches\.(\d)\.", r".branch\1."),
    (r"^rfb", r"\.join\.", ".conv_cat."),
    (r"^rfb", r"\.shortcut\.", ".conv_res."),
    (r"^up", r"\.convs\.0\.conv\.", ".conv.double_conv.0."),
    (r"^up", r"\.convs\.0\.bn\.", ".conv.double_conv.1."),
    (r"^up", r"\.convs\.1\.conv\.", ".conv.double_conv.3."),
    (r"^up", r"\.convs\.1\.bn\.", ".conv.double_conv.4."),
    (r"^MLF", r"\.join\.conv\.", ".catconv.0."),
    (r"^MLF", r"\.join\.bn\.", ".catconv.1."),
    (r"^MLF", r"\.gate\.conv\.", ".gate_conv.0."),
    (r"^MLF", r"\.gate\.bn\.", ".gate_conv.1."),
    (r"^MLF", r"\.channel_attention\.", ".channel_fc."),
    (r"^MLF", r"\.spatial_attention\.", ".spatial_conv."),
    (r"key_encoder\.", r"\.encoder\.0\.conv\.", ".encoder.0."),
    (r"key_encoder\.", r"\.encoder\.0\.bn\.", ".encoder.1."),
    (r"key_encoder\.", r"\.encoder\.1\.conv\.", ".encoder.3."),
    (r"key_encoder\.", r"\.encoder\.1\.bn\.", ".encoder.4."),
    (r"key_proj\.", r"key_proj\.key\.", "key_proj.key_proj."),
    (r"key_proj\.", r"key_proj\.shrinkage\.", "key_proj.d_proj."),
    (r"key_proj\.", r"key_proj\.selection\.", "key_proj.e_proj."),
    (r"value_encoder\.", r"value_encoder\.encoder\.", "value_encoder.mask_enhancer."),
    (r"value_encoder\.", r"value_encoder\.project\.", "value_encoder.value_proj."),
    (r"value_encoder\.", r"value_encoder\.deep_update\.", "value_encoder.hidden_reinforce."),
    (r"fuser\.", r"\.(block\d)\.shortcut\.", r".\1.downsample."),
    (r"fuser\.", r"\.channel_mlp\.0\.", ".ChannelGate.mlp.1."),
    (r"fuser\.", r"\.channel_mlp\.2\.", ".ChannelGate.mlp.3."),
    (r"fuser\.", r"\.attention\.spatial\.", ".attention.SpatialGate.spatial.conv."),
    (r"mask_decoder\.", r"\.steps\.0\.", ".deconv1."),
    (r"mask_decoder\.", r"\.steps\.1\.", ".bn1."),
    (r"mask_decoder\.", r"\.steps\.3\.", ".deconv2."),
    (r"mask_decoder\.", r"\.steps\.4\.", ".bn2."),
    (r"mask_decoder\.", r"\.steps\.6\.", ".deconv3."),
    (r"mask_decoder\.", r"\.steps\.7\.", ".bn3."),
    (r"mask_decoder\.", r"\.head\.", ".final_conv."),
)

# Weights the release carries but never uses; outputs are bit-identical without them (docs/model.md#parity).
_DEAD = re.compile(r"\.lora_[qv]\.(weight|bias)$|^up4\.|_gate\.(mean|std)$")


PUBLISHED_SUFFIXES = (".pth", ".pt")


def official_key(name: str) -> str:
    """The release's name of one of our state-dict keys (preset `release`).

    Raises:
        KeyError: no such key in the published model.
    """
    for ours, theirs in _RULES:
        match = re.fullmatch(ours, name)
        if match:
            return _inner(match.expand(theirs))
    raise KeyError(name)


def _inner(key: str) -> str:
    for where, ours, theirs in _PARTS:
        if re.search(where, key):
            key = re.sub(ours, theirs, key, count=1)
    # The release counts levels and heads from 1.
    return re.sub(r"^(uim|rfb|up|side|edge)(\d)\.", lambda match: f"{match[1]}{int(match[2]) + 1}.", key)


def load_release_checkpoint(path: str | Path) -> M4SAM:
    """Read a checkpoint of the published release (`M4SAM-*.pth`, 9,218 tensors) without executing what is in it.

    Args:
        path: the `.pth` file.

    Returns:
        a model of preset `release`, on the CPU, in evaluation mode.

    Raises:
        CheckpointError: unreadable, not plain tensors, another model, wrong shapes, or NaN; every key is named.
    """
    from m4sam_core.build import build_model

    model = build_model(ModelConfig.preset("release"))
    wanted = {official_key(name): tensor for name, tensor in model.state_dict().items()}
    weights = below_prefix(read_pickled_weights(path), wanted)
    copy_weights(wanted, {k: v for k, v in weights.items() if not _DEAD.search(k)}, str(path), "the M4-SAM release")
    return model.eval()


def load_model(path: str | Path) -> M4SAM:
    """Read a checkpoint of either kind: ours, or by its suffix `.pth` or `.pt` one of the published release.

    Returns:
        the model on the CPU, in evaluation mode, float32.

    Raises:
        CheckpointError: missing, damaged, or made for another model; every key is named.
    """
    published = Path(path).suffix in PUBLISHED_SUFFIXES
    return load_release_checkpoint(path) if published else load_checkpoint(path)


def architecture(path: str | Path) -> ModelConfig:
    """What a checkpoint of either kind is built like, without reading its weights.

    Raises:
        CheckpointError: missing or foreign file, or a config that is not understood.
    """
    if Path(path).suffix in PUBLISHED_SUFFIXES:
        return ModelConfig.preset("release")
    return read_config(path)


def load_sam2_trunk(model: M4SAM, path: str | Path) -> None:
    """Load the trunk of a SAM2.1 checkpoint (`sam2.1_hiera_*.pt`) into a model with the same Hiera.

    Args:
        model: changed in place; everything but the trunk stays as it is.
        path: the `.pt` file.

    Raises:
        CheckpointError: as `load_release_checkpoint`; also when the model's trunk is not a Hiera of that size.
    """
    weights = read_pickled_weights(path)
    for part in model.trunk.single:
        _fill_hiera(part, weights, path)


def _fill_hiera(part: Trunk, weights: dict[str, Tensor], path: str | Path) -> None:
    hiera = getattr(part, "hiera", None)
    if hiera is None:
        raise CheckpointError(f"{path}: expected a model with a Hiera trunk, got {type(part).__name__}")
    trunk: dict[str, Tensor] = below_prefix(weights, hiera.state_dict().keys())
    if not trunk.keys() & hiera.state_dict().keys():
        got = ", ".join(sorted(map(str, weights))[:3]) or "nothing"
        raise CheckpointError(
            f"{path}: expected SAM2.1 keys starting with 'image_encoder.trunk.', found none but {got}, ...; "
            "use sam2.1_hiera_*.pt"
        )
    copy_weights(hiera.state_dict(), trunk, str(path), f"a SAM2.1 trunk of {len(hiera.blocks)} blocks")
