# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""From camera images to masks: the machine, the picture, its depth, and the stream."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from m4sam_core.config.base import Config
from m4sam_core.config.stream import StreamConfig


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
    dtype: Literal["auto", "float32", "mixed", "bfloat16", "float16"] = Field(
        "float32",
        description="Precision of the model's arithmetic. auto: bfloat16 where torch runs on a CPU that computes in it "
        "and the weights are known to keep their masks, else float32. mixed: the memory alone in bfloat16 (OpenVINO).",
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
