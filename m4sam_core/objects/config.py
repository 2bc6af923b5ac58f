# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""What the objects' search and identity can be told."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from m4sam_core.config import Config


class ObjectsConfig(Config):
    """From a mask to objects with position and identity."""

    min_area: float = Field(0.001, ge=0, le=1, description="Smallest object reported, as a share of the image.")
    depth_gap_m: float = Field(
        0.2, ge=0.02, le=10, description="Step in depth that parts two things of one patch of the mask. Metres, at 2 m;"
        " it grows with the square of the distance, as the noise of depth cameras does."
    )  # fmt: skip
    remember_s: float = Field(
        3.0, ge=0, le=60, description="How long an object that is out of sight keeps its id. Seconds."
    )
    main_ratio: float = Field(
        1.5, ge=1, le=10, description="How much more another object must stand out to become the main one."
    )
    main_frames: int = Field(4, ge=1, le=100, description="For how many frames in a row. Frames.")
    image_is_rectified: Literal["auto", "yes", "no"] = Field(
        "auto",
        description="Whether camera_info's P describes the images, not K and D. auto: when rgb/image is connected to "
        "a topic called image_rect*.",
    )
