# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Every setting of the model, the stream and the pipeline, with its unit, range and meaning.

One schema makes the checkpoint's header, the command line, the ROS parameters and docs/parameters.md.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar, Union

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from m4sam_core.errors import ConfigError

C = TypeVar("C", bound="Config")


class Config(BaseModel):
    """Frozen settings; unknown keys are refused and named."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    @classmethod
    def parse(cls: type[C], values: dict[str, Any]) -> C:
        """Validate a plain dictionary.

        Raises:
            ConfigError: naming every bad key, the value given and the bound or the known keys.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise ConfigError(_explain(cls, error)) from None


def _explain(cls: type[BaseModel], error: ValidationError) -> str:
    lines = []
    for item in error.errors():
        where = ".".join(str(part) for part in item["loc"]) or cls.__name__
        if item["type"] == "extra_forbidden":
            owner: Any = cls
            for part in item["loc"][:-1]:
                nested = owner.model_fields.get(part) if hasattr(owner, "model_fields") else None
                owner = nested.annotation if nested is not None else None
            known = ", ".join(owner.model_fields) if hasattr(owner, "model_fields") else "see docs/parameters.md"
            lines.append(f"{where}: unknown setting; known ones here: {known}")
        else:
            lines.append(f"{where}: {item['msg']}, got {item['input']!r}")
    return "\n".join(lines)


# ---------------------------------------------------------------------------------------------- model


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


# --------------------------------------------------------------------------------------------- stream


class BankConfig(Config):
    """Which frames the memory keeps (docs/stream.md#memory)."""

    policy: Literal["sampled", "clip16", "sliding"] = Field(
        "sampled",
        description=(
            "sampled: anchor + recent + time-sampled entries; clip16: every frame, restarted every "
            "`capacity` frames (release); sliding: the last `capacity` trusted frames."
        ),
    )
    capacity: int = Field(16, ge=2, le=256, description="Entries held; cost and memory are constant from then on.")
    recent: int = Field(2, ge=1, le=32, description="Newest entries that are never thinned out.")
    write_interval_s: float = Field(
        0.2, ge=0.0, le=60.0, description="sampled: least time between entries older than `recent`. Seconds."
    )

    @model_validator(mode="after")
    def _room_for_samples(self) -> BankConfig:
        if self.policy == "sampled" and self.capacity < self.recent + 2:
            raise ValueError(f"capacity must be at least recent + 2 = {self.recent + 2}")
        return self


class WriteGateConfig(Config):
    """When a frame is too poor to remember; it is still read and segmented (docs/stream.md#memory)."""

    enabled: bool = Field(True, description="Off: every frame the policy asks for is written.")
    min_agreement: float = Field(0.3, ge=0, le=1, description="Least share of the final mask in the coarse one.")
    min_confidence: float = Field(0.6, ge=0, le=1, description="Least mean |2p-1| over the uncertain-or-salient area.")
    max_area_jump: float = Field(4.0, ge=1, le=1000, description="Largest ratio of mask areas between two frames.")
    min_sharpness: float = Field(0.25, ge=0, le=1, description="Least sharpness relative to the scene's running mean.")
    min_exposure: float = Field(
        0.4, ge=0, le=1, description="Least share of pixels that are neither black nor burnt out."
    )
    patience_s: float = Field(
        1.0,
        ge=0,
        le=60,
        description=(
            "Doubts about the mask (not about the image) that last longer are overruled, so that the "
            "memory cannot freeze. Seconds."
        ),
    )


class SceneConfig(Config):
    """Scene-change detection (docs/stream.md#scene-changes)."""

    enabled: bool = Field(True, description="Off: only hard events (time jump, size change, request) reset the memory.")
    sensitivity: float = Field(0.5, ge=0, le=1, description="0: never, 1: on any change.")
    confirm_frames: int = Field(2, ge=1, le=10, description="Changed frames in a row needed before a reset.")
    cooldown_s: float = Field(0.6, ge=0, le=60, description="No second reset within this time. Seconds.")
    max_gap_s: float = Field(
        2.0, gt=0, le=3600, description="A longer pause between frames starts a new scene. Seconds."
    )
    encoder_weight: float = Field(
        0.0, ge=0, le=1, description="Weight of the encoder's global descriptor beside the image cues; 0 leaves it out."
    )


class StreamConfig(Config):
    """The endless stream: memory policy, write gate and scene changes."""

    bank: BankConfig = BankConfig()
    write_gate: WriteGateConfig = WriteGateConfig()
    scene: SceneConfig = SceneConfig()
    deep_update: Literal["always", "never"] = Field(
        "always", description="Whether a memory write also updates the sensory state."
    )


# ------------------------------------------------------------------------------------------- pipeline


class DepthConfig(Config):
    """From a sensor's depth map to the model's [0, 1], larger = farther, holes 0 (docs/stream.md#depth)."""

    unit_m: float = Field(
        0.001, gt=0, le=1000, description="Length of one count of an integer depth map. Metres. Float maps are metres."
    )
    range: Literal["percentile", "fixed"] = Field(
        "percentile",
        description=(
            "percentile: stretch each frame between its 2nd and 98th percentile; fixed: between min_m and max_m."
        ),
    )
    min_m: float = Field(0.2, ge=0, le=1000, description="Nearer readings are invalid. Metres.")
    max_m: float = Field(10.0, gt=0, le=10000, description="Farther readings are clipped. Metres.")
    min_valid_ratio: float = Field(
        0.05, ge=0, le=1, description="Below this share of valid pixels the frame is processed from rgb alone."
    )
    check_alignment: bool = Field(
        True, description="Process frames from rgb alone while the outlines of depth keep missing those of rgb."
    )

    @model_validator(mode="after")
    def _ordered(self) -> DepthConfig:
        if self.max_m <= self.min_m:
            raise ValueError(f"max_m must be greater than min_m = {self.min_m}")
        return self


class RoiConfig(Config):
    """The rectangle of the picture that counts; the rest is not looked at (docs/node.md#the-robots-own-body)."""

    x: int = Field(0, ge=0, le=16384, description="Left edge of the part of the picture that counts. Pixels.")
    y: int = Field(0, ge=0, le=16384, description="Its upper edge. Pixels.")
    width: int = Field(0, ge=0, le=16384, description="Its width; 0 reaches to the right border. Pixels.")
    height: int = Field(0, ge=0, le=16384, description="Its height; 0 reaches to the lower border. Pixels.")


class PipelineConfig(Config):
    """From camera images to masks."""

    device: str = Field("auto", description="auto, cpu, cuda or cuda:N; auto takes the GPU when there is one.")
    backend: Literal["auto", "torch", "openvino", "onnxruntime", "tensorrt"] = Field(
        "auto",
        description="What computes the model. auto: OpenVINO on a CPU where it is installed and gives torch's masks, "
        "else torch.",
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "float32",
        description="Precision of the model's arithmetic. auto: bfloat16 where torch runs on a CPU that computes in it "
        "and the weights are known to keep their masks, else float32.",
    )
    threads: int = Field(0, ge=0, le=256, description="CPU threads of the model; 0 leaves the engine's own choice.")
    affinity: str = Field("", description="Cores for the model's threads, e.g. 2-3 or 0,2; empty: all. Linux.")
    priority: int = Field(
        0,
        ge=-20,
        le=19,
        description="Nice value of the model's threads: above 0 they give way to other programs, below 0 needs "
        "permission. Linux.",
    )
    threshold: float = Field(0.5, gt=0, lt=1, description="Probability above which a pixel is salient.")
    roi: RoiConfig = RoiConfig()
    ignore_mask: str = Field(
        "",
        description="Image file; what is not black in it is the robot's own body and never looked at. Empty: none.",
    )
    depth: DepthConfig = DepthConfig()
    stream: StreamConfig = StreamConfig()
