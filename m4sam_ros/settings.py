# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""What the saliency node can be told: the pipeline's settings and what only a ROS node has."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from m4sam_core.config import Config, PipelineConfig
from m4sam_core.objects.config import ObjectsConfig


class SyncConfig(Config):
    """Pairing rgb with depth (m4sam_core/rgbd/pairing/)."""

    backend: Literal["nearest", "message_filters"] = Field(
        "nearest",
        description="nearest: our own pairer; message_filters: ApproximateTimeSynchronizer, where that is installed.",
    )
    tolerance_s: float = Field(
        0.0, ge=0, le=10, description="Largest stamp difference of a pair; 0 adapts to half a frame period. Seconds."
    )
    queue_size: int = Field(10, ge=1, le=1000, description="Messages of each stream kept while they wait. Messages.")
    depth_stamp_offset_s: float = Field(
        0.0, ge=-10, le=10, description="Added to every depth stamp, for depth stamped early or late. Seconds."
    )
    missing_depth: Literal["hold", "rgb_only", "drop"] = Field(
        "hold",
        description="An rgb frame without depth: hold reuses the nearest depth within max_hold_s and then goes on "
        "without; rgb_only goes on without; drop drops it.",
    )
    depth_wait_s: float = Field(
        0.2, gt=0, le=10, description="How far rgb may run ahead of a frame waiting for its depth. Seconds."
    )
    max_hold_s: float = Field(0.5, ge=0, le=60, description="Oldest depth that hold reuses. Seconds.")


class QosConfig(Config):
    """Quality of service; the standard `qos_overrides.<topic>.*` parameters win over these."""

    reliability: Literal["auto", "reliable", "best_effort"] = Field(
        "auto", description="Of the inputs. auto: reliable where every publisher is, else best_effort."
    )
    input_depth: int = Field(
        5, ge=1, le=1000, description="History of the inputs; a longer one pairs better and adds no delay. Messages."
    )
    output_depth: int = Field(1, ge=1, le=100, description="History of the outputs. Messages.")


class OutputsConfig(Config):
    """Which topics may be computed. Each one is computed only while somebody subscribes."""

    probability: bool = Field(True, description="Publish probability.")
    overlay: bool = Field(True, description="Publish overlay and overlay/compressed.")
    depth_masked: bool = Field(True, description="Publish depth_masked.")
    detections: bool = Field(True, description="Publish detections, where vision_msgs is installed.")
    mask_compressed: bool = Field(True, description="Publish mask/compressed (PNG).")
    labels: bool = Field(True, description="Publish labels.")
    confidence: bool = Field(True, description="Publish confidence.")
    label_info: bool = Field(True, description="Publish label_info, where vision_msgs is installed.")
    objects: bool = Field(True, description="Publish objects, where vision_msgs is installed.")
    markers: bool = Field(True, description="Publish markers.")
    target: bool = Field(True, description="Publish target.")
    target_tf: bool = Field(False, description="Also publish the target's pose on /tf, where tf2_msgs is installed.")
    target_frame: str = Field("salient_object", min_length=1, description="The target's frame on /tf.")
    points: bool = Field(True, description="Publish points.")
    points_layout: Literal["dense", "organised"] = Field(
        "dense", description="dense: the objects' points only; organised: one point a pixel, NaN beside the objects."
    )
    depth_background: bool = Field(True, description="Publish depth_background.")
    background_margin_px: int = Field(
        8, ge=0, le=200, description="How far around the mask depth_background is cleared too. Pixels."
    )
    background_mask_age_s: float = Field(
        0.5,
        ge=0,
        le=60,
        description="depth_background comes at the camera's rate, cleared by the newest mask, whose colour image may "
        "be this much older; 0 waits for the frame's own mask. Seconds.",
    )
    bundle: bool = Field(True, description="Publish bundle/image, depth, mask and camera_info.")
    bundle_mask: Literal["all", "main"] = Field(
        "all", description="What bundle/mask shows: all that is salient, or the main object alone."
    )
    bundle_rectify: bool = Field(
        False, description="Rectify the bundle, for consumers that take every camera for a pinhole."
    )
    overlay_alpha: float = Field(0.5, ge=0, le=1, description="Opacity of the mask in the overlay.")
    detection_min_area: float = Field(
        0.001, ge=0, le=1, description="Smallest connected region reported, as a share of the image."
    )


class NodeConfig(PipelineConfig):
    """Everything the saliency node can be told."""

    model: str = Field(
        "default",
        min_length=1,
        description="Weights: default (the packaged small model), a name in the cache, a file; or identity, which "
        "marks the nearer half of the depth range without any model, for benchmarks and wiring.",
    )
    dtype: Literal["auto", "float32", "mixed", "bfloat16", "float16"] = Field(
        "auto",
        description="Precision of the model's arithmetic. auto: bfloat16 where torch runs on a CPU that computes in it "
        "and the weights are known to keep their masks, else float32. mixed: the memory alone in bfloat16 (OpenVINO).",
    )
    threads: int = Field(
        0,
        ge=0,
        le=256,
        description="CPU threads of the model; 0: as many as are worth it, measured at the first configure.",
    )
    executor: Literal["single", "events"] = Field(
        "single",
        description="What calls the callbacks. events: rclpy's EventsExecutor, where the release has it (Kilted); it "
        "needs less processor time.",
    )
    autostart: bool = Field(True, description="Configure and activate without a lifecycle manager.")
    enabled: bool = Field(True, description="Off: frames are dropped before the model; ~/enable switches it too.")
    image_transport: Literal["raw", "compressed"] = Field(
        "raw", description="compressed subscribes to <rgb/image>/compressed."
    )
    depth_transport: Literal["raw", "compressed", "compressedDepth"] = Field(
        "raw",
        description="compressedDepth subscribes to <depth/image>/compressedDepth; compressed to "
        "<depth/image>/compressed, which has to hold PNG (the Azure Kinect's default) or float TIFF.",
    )
    max_frame_age_s: float = Field(
        0.5, ge=0, le=60, description="A frame that waited longer since its arrival is dropped; 0 never. Seconds."
    )
    watchdog_period_s: float = Field(
        5.0, ge=0.5, le=3600, description="Silence after which the node says why no mask comes. Seconds."
    )
    sync: SyncConfig = SyncConfig()
    qos: QosConfig = QosConfig()
    outputs: OutputsConfig = OutputsConfig()
    objects: ObjectsConfig = ObjectsConfig()

    def pipeline_config(self) -> PipelineConfig:
        """The part that the pipeline takes."""
        return PipelineConfig.model_validate(self.model_dump(include=set(PipelineConfig.model_fields)))
