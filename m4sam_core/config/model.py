# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""The architecture: what a network is built from, and what travels with its weights."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Union

from pydantic import Field, model_validator

from m4sam_core.config.base import Config
from m4sam_core.errors import ConfigError


class HieraConfig(Config):
    """SAM2.1's Hiera from the `sam2` package."""

    kind: Literal["hiera"] = Field("hiera", description="SAM2.1's Hiera.")
    size: Literal["nano", "tiny", "small", "base_plus", "large"] = Field(
        "large", description="Trunk size; nano is our own narrow one for tests, it has no published weights."
    )


class EfficientNetLiteConfig(Config):
    """EfficientNet-Lite0 (ImageNet), for robots without a GPU."""

    kind: Literal["efficientnet_lite0"] = Field("efficientnet_lite0", description="The light trunk.")
    adapted_blocks: int = Field(
        11, ge=1, le=16, description="How many of the 16 blocks, counted from the last, carry adapters."
    )


TrunkConfig = Annotated[Union[HieraConfig, EfficientNetLiteConfig], Field(discriminator="kind")]


class AdapterConfig(Config):
    """Parameter-efficient tuning of the frozen trunk (docs/model.md#encoder)."""

    kind: Literal["moe_lora", "conv_lora", "lora", "bottleneck", "none"] = Field(
        "moe_lora",
        description=(
            "moe_lora shares one trunk between rgb and depth, conv_lora one set of adapters; lora and bottleneck keep "
            "one set per modality."
        ),
    )
    rank: int = Field(4, ge=1, le=64, description="Rank r of the low-rank update.")
    alpha: float = Field(1.0, gt=0, le=64, description="Scale: delta = alpha/rank * B(...).")
    top_k: int = Field(2, ge=1, le=3, description="Experts selected per window and group, of 3.")
    combine: Literal["release", "paper"] = Field(
        "release", description="release: log-sum-exp of the selected experts; paper: gate-weighted sum."
    )
    full_qv: bool = Field(
        False, description="Adapt all of q and v where the trunk doubles its width (the release adapts half)."
    )
    bn_momentum: float = Field(
        0.1,
        gt=0,
        le=1,
        description="Momentum of the experts' batch normalisation; the release updates it twice a pass: "
        "1 - 0.9^2 = 0.19.",
    )
    gate_noise: float = Field(
        1.0, ge=0, le=10, description="Scale of the gates' exploration noise in training; 0: none."
    )
    bottleneck_dim: int = Field(32, ge=1, le=512, description="Width of the bottleneck adapter.")


class FusionConfig(Config):
    """Cross-modal fusion and decoder width (docs/model.md#fusion)."""

    kind: Literal["uim", "uim_lite", "none"] = Field(
        "uim",
        description="uim: as published; uim_lite: both modalities reduced by 1x1 convolutions first; none: the rgb "
        "features alone.",
    )
    channels: int = Field(64, ge=8, le=256, multiple_of=4, description="Channels of X_E and of the decoder.")


MemoryFeature = Literal["gated+x_d2", "gated+x_d1", "gated+x_d1+x_d2", "x_e1+x_d2", "x_d1", "x_d2", "x_d1+x_d2"]


class MemoryConfig(Config):
    """The memory's architecture (docs/model.md#memory). What is stored when is StreamConfig's business."""

    enabled: bool = Field(True, description="Off: the final mask is the decoder's coarse mask.")
    feature: MemoryFeature = Field(
        "gated+x_d2",
        description="What the memory sees, side by side: gated multi-level fusion, encoder and decoder levels.",
    )
    key_dim: int = Field(64, ge=8, le=256, description="Channels of keys and queries.")
    value_dim: int = Field(
        256, ge=8, le=1024, multiple_of=8, description="Channels of values and of the fused feature."
    )
    sensory_dim: int = Field(64, ge=4, le=256, description="Channels of the sensory state.")
    fuser_dim: int = Field(512, ge=16, le=2048, multiple_of=16, description="Inner channels of the fuser.")
    mask_detail: bool = Field(False, description="The mask decoder also sees X_D^1 at stride 4 (not in the paper).")
    agreement: bool = Field(
        False,
        description="The fuser also sees the remembered mask, the coarse one and how far both agree (not the paper's).",
    )
    prior_norm: Literal["batch", "sample"] = Field(
        "sample", description="Min-max of the pseudo-guided prior: over the batch (release) or each sample."
    )


class ModelConfig(Config):
    """The whole architecture. It travels inside every checkpoint."""

    trunk: TrunkConfig = HieraConfig()
    input_size_px: int = Field(
        352, ge=64, le=1024, multiple_of=32, description="Side of the square the frames are resized to."
    )
    rgb_norm: Literal["minmax", "imagenet"] = Field(
        "minmax", description="minmax per frame (release) or ImageNet mean and deviation."
    )
    depth: Literal["encoded", "rgb_features"] = Field(
        "encoded",
        description="rgb_features: no depth pass, the depth features are those of rgb (the paper's ablation).",
    )
    encoders: Literal["shared", "dual"] = Field(
        "shared",
        description="shared: one trunk, both modalities in one pass; dual: a trunk and a pass for each (baseline).",
    )
    outlines: bool = Field(True, description="The decoder also draws outlines, a side task of training.")
    adapter: AdapterConfig = AdapterConfig()
    fusion: FusionConfig = FusionConfig()
    memory: MemoryConfig = MemoryConfig()

    @model_validator(mode="after")
    def _baselines_fit_together(self) -> ModelConfig:
        if self.encoders == "dual" and (self.adapter.kind in ("moe_lora", "conv_lora") or self.depth != "encoded"):
            raise ValueError(
                "encoders=dual: expected adapter.kind lora, bottleneck or none, which share nothing between "
                f"modalities, and depth=encoded, got {self.adapter.kind} and {self.depth}"
            )
        if self.fusion.kind == "none" and self.depth != "rgb_features":
            raise ValueError("fusion.kind=none: expected depth=rgb_features, for depth is encoded and then not used")
        return self

    @classmethod
    def preset(cls, name: str) -> ModelConfig:
        """A named architecture.

        Args:
            name: one of `MODEL_PRESETS`.

        Raises:
            ConfigError: unknown name; the text lists the known ones.
        """
        if name not in MODEL_PRESETS:
            raise ConfigError(f"model preset: expected one of {', '.join(MODEL_PRESETS)}, got {name!r}")
        return cls.parse(MODEL_PRESETS[name])


MODEL_PRESETS: dict[str, dict[str, Any]] = {
    # The published model, to the last convolution.
    "release": {"memory": {"prior_norm": "batch"}, "adapter": {"bn_momentum": 0.19}},
    # The published architecture as a robot runs it: one camera, nothing shared over the batch.
    "large": {},
    "base_plus": {"trunk": {"kind": "hiera", "size": "base_plus"}},
    "small": {"trunk": {"kind": "hiera", "size": "small"}},
    "tiny": {"trunk": {"kind": "hiera", "size": "tiny"}},
    # For robots without a GPU; the packaged weights are of this kind (docs/models.md).
    "edge": {
        "trunk": {"kind": "efficientnet_lite0"},
        "input_size_px": 224,
        "rgb_norm": "imagenet",
        "fusion": {"kind": "uim_lite", "channels": 32},
        "memory": {
            "key_dim": 32,
            "value_dim": 64,
            "sensory_dim": 32,
            "fuser_dim": 96,
            "mask_detail": True,
            "agreement": True,
        },
    },
    # Baselines to train beside it (docs/training.md#baselines). The paper's LoRA row: two encoders, no scale.
    "dual_lora": {
        "memory": {"prior_norm": "batch"},
        "encoders": "dual",
        "adapter": {"kind": "lora", "alpha": 4.0},
    },
    # SAM2-UNet's design (arXiv 2408.08870): adapters before the blocks, RFB, U-shaped decoder, rgb alone.
    "sam2_unet": {
        "rgb_norm": "imagenet",
        "depth": "rgb_features",
        "outlines": False,
        "adapter": {"kind": "bottleneck"},
        "fusion": {"kind": "none"},
        "memory": {"enabled": False},
    },
    # Narrow everything: for tests and smoke runs, about a hundred times cheaper.
    "nano": {
        "trunk": {"kind": "hiera", "size": "nano"},
        "input_size_px": 64,
        "fusion": {"channels": 16},
        "memory": {"key_dim": 16, "value_dim": 32, "sensory_dim": 16, "fuser_dim": 32},
    },
}
