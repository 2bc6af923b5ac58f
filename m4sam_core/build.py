# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""THE screen where a model is wired from its config: modules take numbers and sub-modules, the config travels along."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from torch import nn

from m4sam_core.config import (
    AdapterConfig,
    EfficientNetLiteConfig,
    FusionConfig,
    HieraConfig,
    MemoryConfig,
    ModelConfig,
)
from m4sam_core.errors import ConfigError
from m4sam_core.host.optional import SAM2_COMMAND, require
from m4sam_core.model.adapters import BottleneckAdapter, LowRankAdapter
from m4sam_core.model.decoder import Decoder, GatedFusion
from m4sam_core.model.efficientnet_lite import EfficientNetLiteTrunk, block_dims
from m4sam_core.model.fusion import RFB, UIM, LiteUIM, RgbAlone
from m4sam_core.model.hiera import HIERA_SIZES, HieraTrunk
from m4sam_core.model.initial import draw_as_release
from m4sam_core.model.m4sam import M4SAM, MemoryModules
from m4sam_core.model.memory import Fuser, KeyPath, MaskDecoder, SensoryUpdate, ValuePath
from m4sam_core.model.trunk import BOTH, DualTrunk, Trunk
from m4sam_core.types import Modality

_FUSIONS: dict[str, Callable[[int, int], nn.Module]] = {
    "uim": lambda dim, _: UIM(dim),
    "uim_lite": LiteUIM,
    "none": lambda *_: RgbAlone(),
}


def build_model(cfg: ModelConfig | None = None, initial: Literal["release", "torch"] = "release") -> M4SAM:
    """An M4-SAM network with fresh weights, in training mode, on the CPU.

    Args:
        cfg: architecture; the published one when absent.
        initial: how fresh weights are drawn: see `draw_as_release`, or everything by torch's defaults.
    """
    cfg = cfg or ModelConfig.preset("release")
    trunk = _build_trunk(cfg)
    channels = cfg.fusion.channels
    narrow = cfg.fusion.kind == "uim_lite"
    model = M4SAM(
        cfg,
        trunk=trunk,
        fusions=[_FUSIONS[cfg.fusion.kind](dim, channels) for dim in trunk.dims],
        receptive=[RFB(channels if narrow else dim, channels) for dim in trunk.dims],
        decoder=Decoder(channels, outlines=cfg.outlines),
        memory=_build_memory(cfg.memory, cfg.fusion) if cfg.memory.enabled else None,
        input_size_px=cfg.input_size_px,
        rgb_norm=cfg.rgb_norm,
        prior_norm=cfg.memory.prior_norm,
        feature=cfg.memory.feature.split("+"),
        encodes_depth=cfg.depth == "encoded",
    )
    if initial == "release":
        draw_as_release(model)
    return model


def _build_memory(cfg: MemoryConfig, fusion: FusionConfig) -> MemoryModules:
    channels = fusion.channels
    parts = cfg.feature.split("+")
    feature_dim = channels * len(parts)
    return MemoryModules(
        gated_fusion=GatedFusion(channels) if "gated" in parts else None,
        key_path=KeyPath(feature_dim, channels, cfg.key_dim),
        value_path=ValuePath(feature_dim, cfg.value_dim, cfg.sensory_dim),
        fuser=Fuser(channels + cfg.value_dim + cfg.sensory_dim, cfg.fuser_dim, cfg.value_dim, cfg.agreement),
        sensory_update=SensoryUpdate(cfg.value_dim, cfg.sensory_dim),
        mask_decoder=MaskDecoder(cfg.value_dim, channels if cfg.mask_detail else 0),
    )


def _build_trunk(cfg: ModelConfig) -> Trunk:
    if cfg.encoders == "dual":
        rgb, depth = (_build_single(cfg, (modality,)) for modality in BOTH)
        return DualTrunk(rgb, depth)
    return _build_single(cfg, BOTH if cfg.depth == "encoded" else (Modality.RGB,))


def _build_single(cfg: ModelConfig, modalities: Sequence[Modality]) -> Trunk:
    if isinstance(cfg.trunk, HieraConfig):
        return _build_hiera(cfg.trunk, cfg.adapter, modalities)
    return _build_efficientnet(cfg.trunk, cfg.adapter, modalities)


def _build_efficientnet(
    cfg: EfficientNetLiteConfig, adapter: AdapterConfig, modalities: Sequence[Modality]
) -> EfficientNetLiteTrunk:
    if adapter.kind == "none":
        return EfficientNetLiteTrunk()
    if adapter.kind == "bottleneck":
        raise ConfigError(
            "adapter.kind: expected moe_lora, conv_lora, lora or none for trunk efficientnet_lite0, got 'bottleneck'; "
            "choose one of them"
        )
    dims = block_dims()[-cfg.adapted_blocks :]
    return EfficientNetLiteTrunk([build_adapter(adapter, dim_in, {"project": out}, modalities) for dim_in, out in dims])


def _build_hiera(cfg: HieraConfig, adapter: AdapterConfig, modalities: Sequence[Modality]) -> HieraTrunk:
    # SAM2's trunk is imported here, not above: `import sam2` sets hydra's global state.
    require("sam2.modeling.backbones.hieradet", "sam2", command=SAM2_COMMAND)
    from sam2.modeling.backbones.hieradet import Hiera

    hiera = Hiera(**HIERA_SIZES[cfg.size])
    if adapter.kind == "none":
        return HieraTrunk(hiera)
    if adapter.kind == "bottleneck":
        width = adapter.bottleneck_dim
        return HieraTrunk(hiera, bottlenecks=[BottleneckAdapter(b.dim, width, modalities) for b in hiera.blocks])
    dims = [(block.dim, block.dim_out if adapter.full_qv else block.dim) for block in hiera.blocks]
    return HieraTrunk(hiera, [build_adapter(adapter, dim, {"q": out, "v": out}, modalities) for dim, out in dims])


def build_adapter(
    cfg: AdapterConfig, dim_in: int, outputs: dict[str, int], modalities: Sequence[Modality] = BOTH
) -> LowRankAdapter:
    """The low-rank adapter of one linear layer: moe_lora, conv_lora or lora, for some modalities."""
    groups = {"moe_lora": (*(m.value for m in modalities), "fusion"), "conv_lora": ("scaled",)}
    return LowRankAdapter(
        outputs,
        dim_in,
        shared=cfg.kind != "lora",
        modalities=modalities,
        groups=groups.get(cfg.kind, ()),
        combine=cfg.combine,
        rank=cfg.rank,
        alpha=cfg.alpha,
        top_k=cfg.top_k,
        bn_momentum=cfg.bn_momentum,
        gate_noise=cfg.gate_noise,
    )
