# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Images that can be read and are hardly what their messages say; they are used, and named."""

from __future__ import annotations

from typing import Any

import numpy as np

from m4sam_core.rgbd.encodings import doubtful_layout

_DARK = 16  # of 255: what 12 bits of 16 reach


def doubt_of(msg: Any) -> str | None:
    """Why an image (raw or compressed) was hardly meant as its message says; None where it may well be."""
    return doubtful_layout(msg) if hasattr(msg, "step") else None


def too_few_bits(msg: Any, rgb: np.ndarray) -> str | None:
    """Why a 16-bit picture is nearly black: a camera of 10 or 12 bits whose driver does not scale them.

    Args:
        msg: the colour image's message.
        rgb (H, W, 3): uint8, what was made of it.
    """
    encoding = str(getattr(msg, "encoding", "") or getattr(msg, "format", "").partition(";")[0])
    if not encoding.endswith("16") or int(rgb.max()) > _DARK:
        return None
    return (
        f"encoding {encoding}: expected samples up to 65535, got none above {(_DARK + 1) * 257}, a nearly black "
        "picture; is the lens covered, or has the camera 10 or 12 bits? let its driver scale them to 16, or publish 8"
    )
