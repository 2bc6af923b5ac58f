# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""What the player can be told."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from m4sam_core.config import Config


class FaultConfig(Config):
    """Faults put into the recording, the same ones for the same seed."""

    seed: int = Field(0, ge=0, le=2**31 - 1, description="Of every random choice below.")
    drop_rgb: float = Field(0.0, ge=0, le=1, description="Share of rgb images left out.")
    drop_depth: float = Field(0.0, ge=0, le=1, description="Share of depth images left out.")
    depth_every: int = Field(1, ge=1, le=1000, description="Only every n-th depth image: a slower depth camera.")
    jitter_s: float = Field(
        0.0, ge=0, le=10, description="Each image is sent up to this much late; its stamp stays. Seconds."
    )
    stamp_jitter_s: float = Field(
        0.0, ge=0, le=1, description="Each stamp is off by up to this much, either way. Seconds."
    )
    depth_delay_s: float = Field(0.0, ge=0, le=10, description="Depth is sent this late; its stamp stays. Seconds.")
    depth_stamp_offset_s: float = Field(0.0, ge=-10, le=10, description="Added to every depth stamp. Seconds.")


class PlayConfig(Config):
    """Everything the player can be told; fixed at start-up."""

    source: str = Field("", description="Clip folder with rgb/ and depth/, or a rosbag (folder, .mcap, .db3, .bag).")
    fps: float = Field(
        0.0,
        ge=0,
        le=1000,
        description="Frames per second of a folder; 0: from its video.yaml, else from stems that are nanosecond "
        "stamps, else 15. Hertz.",
    )
    rate: float = Field(1.0, gt=0, le=1000, description="Speed: 2 plays twice as fast. Factor.")
    loops: int = Field(1, ge=0, le=2**31 - 1, description="Passes over the source; 0: for ever. Passes.")
    max_frames: int = Field(0, ge=0, le=2**31 - 1, description="Only the first frames of each pass; 0: all. Frames.")
    stamps: Literal["live", "rewind", "recorded"] = Field(
        "live",
        description="live: stamped as if taken now, going on over the loops; rewind: as live, but each loop repeats "
        "the first one's stamps, as a looped bag does; recorded: the source's own.",
    )
    clock: bool = Field(False, description="Publish /clock (100 Hz) with the time of the stamps, for use_sim_time.")
    faults: FaultConfig = FaultConfig()
    wait_for_subscribers: int = Field(
        1, ge=0, le=100, description="Subscribers of rgb to wait for before the first frame, and one of depth; 0: none."
    )
    wait_timeout_s: float = Field(30.0, ge=0, le=3600, description="Then start all the same. Seconds.")
    start_delay_s: float = Field(
        0.5, ge=0, le=600, description="Pause between the last subscriber and the first frame. Seconds."
    )
    transport: Literal["raw", "compressed"] = Field(
        "raw", description="Of a folder. compressed: JPEG on rgb/image/compressed, PNG on depth/image/compressedDepth."
    )
    rgb_encoding: Literal["rgb8", "bgr8"] = Field("rgb8", description="Of a folder's rgb images.")
    depth_encoding: Literal["auto", "16UC1", "32FC1"] = Field("auto", description="Of a folder; auto: as its files.")
    reliability: Literal["reliable", "best_effort"] = Field(
        "reliable", description="QoS of the images; many camera drivers are best_effort."
    )
    qos_depth: int = Field(10, ge=1, le=1000, description="History of the publishers. Messages.")
    frame_id: str = Field("camera_color_optical_frame", description="Of a folder's images; a bag keeps its own.")
    horizontal_fov_deg: float = Field(
        60.0, gt=0, lt=180, description="Of the ideal pinhole in camera_info where a folder has no intrinsics. Degrees."
    )
    rgb_topic: str = Field("", description="Rgb topic inside a bag; empty: found by type, encoding and name.")
    depth_topic: str = Field("", description="Depth topic inside a bag; empty: found by type, encoding and name.")
    camera_info_topic: str = Field("", description="Rgb CameraInfo topic inside a bag; empty: the one beside rgb.")
    summary: str = Field("", description="Also write the closing summary to this JSON file.")
