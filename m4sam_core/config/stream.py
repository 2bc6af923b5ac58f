# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""The endless stream: what is remembered, what is refused, and when a new scene begins."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from m4sam_core.config.base import Config


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
