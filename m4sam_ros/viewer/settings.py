# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""What the Rerun viewer can be told."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from m4sam_core.config import Config


class ViewConfig(Config):
    """Everything the viewer can be told; fixed at start-up."""

    mode: Literal["auto", "window", "web", "file"] = Field(
        "auto",
        description="window: Rerun's own window; web: a page on this machine; file: record to `file`; auto: a window "
        "where there is a display, else a page.",
    )
    file: str = Field("saliency.rrd", description="Recording of mode file.")
    bind: str = Field(
        "127.0.0.1",
        description="Address the viewer listens on. Only this machine, unless changed: 0.0.0.0 lets everybody in the "
        "network watch.",
    )
    port: int = Field(9876, ge=1024, le=65535, description="Port of the data.")
    web_port: int = Field(9090, ge=1024, le=65535, description="Port of the page.")
    objects: bool = Field(
        True, description="Show boxes, ids, points and target of the objects; the node computes them for it."
    )
    max_rate_hz: float = Field(15.0, gt=0, le=240, description="Images shown per second at most. Hertz.")
    jpeg_quality: int = Field(80, ge=10, le=100, description="Of the colour images sent to the viewer.")
    memory_limit: str = Field(
        "1GB", pattern=r"^\d+(MB|GB|%)$", description="The viewer forgets the oldest beyond this."
    )
    image_transport: Literal["raw", "compressed"] = Field("raw", description="Of rgb/image.")
    depth_transport: Literal["raw", "compressed", "compressedDepth"] = Field("raw", description="Of depth/image.")
