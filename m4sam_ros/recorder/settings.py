# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""What the recorder can be told."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from m4sam_core.config import Config


class RecordConfig(Config):
    """Everything the recorder can be told; fixed at start-up."""

    out: str = Field("", description="Folder for masks/, overlay.mp4, contact_sheet.png and summary.json.")
    max_frames: int = Field(0, ge=0, le=2**31 - 1, description="End after this many masks; 0: no limit. Frames.")
    idle_timeout_s: float = Field(
        0.0,
        ge=0,
        le=86400,
        description="End when nothing has come for this long, once something has; 0: never. Seconds.",
    )
    start_timeout_s: float = Field(
        0.0, ge=0, le=86400, description="Give up, exit code 1, when no mask has come by then; 0: never. Seconds."
    )
    masks: bool = Field(True, description="Write masks/<stamp in ns>.png.")
    video: bool = Field(True, description="Write overlay.mp4.")
    video_fps: float = Field(0.0, ge=0, le=240, description="Of overlay.mp4; 0: from the first masks' stamps. Hertz.")
    sheet: bool = Field(True, description="Write contact_sheet.png.")
    sheet_tiles: int = Field(12, ge=1, le=200, description="Pictures on the contact sheet. Pictures.")
    objects: bool = Field(
        False, description="Write objects.jsonl, and ids and distances on the overlay; from labels and markers."
    )
    overlay_alpha: float = Field(0.5, ge=0, le=1, description="Opacity of the mask in the overlay.")
    image_transport: Literal["raw", "compressed"] = Field("raw", description="Of rgb/image.")
    qos_depth: int = Field(50, ge=1, le=1000, description="History of the subscriptions. Messages.")
