# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Where a camera sees the robot that carries it: what stays in its place while everything else moves."""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np
from numpy.typing import NDArray

from m4sam_core.errors import InputError

_WIDTH_PX = 320  # frames are compared at this width
_LEAST_FRAMES = 8
_LEAST_CHANGE = 4.0  # of 255: what the rest of the picture must change by, or nothing can be told
_STILL = 0.35  # of that change: what stays below is still
_LEAST_AREA = 0.002  # of the picture; smaller pieces are chance
_GROWN_BY = 0.012  # of the width: edges blur, and arms sway


def find_robot_body(frames: Iterable[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """A mask of the robot's own body from a recording in which the camera moves and the body does not.

    Args:
        frames: (H, W, 3) uint8 pictures of one size, spread over the recording.

    Returns:
        (H, W) uint8: 255 on pieces at the picture's border that keep their colour, grown a little, else 0.

    Raises:
        InputError: too few frames, or too little moves to tell the robot from what it looks at.
    """
    size, small = None, []
    for rgb in frames:
        size = size or rgb.shape[:2]
        if rgb.shape[:2] != size:
            raise InputError(f"frames: expected one size, got {size} and {rgb.shape[:2]}; give one camera's pictures")
        shape = (_WIDTH_PX, max(1, round(_WIDTH_PX * size[0] / size[1])))
        small.append(cv2.GaussianBlur(cv2.resize(rgb, shape, interpolation=cv2.INTER_AREA), (5, 5), 0))
    if size is None or len(small) < _LEAST_FRAMES:
        raise InputError(f"frames: expected at least {_LEAST_FRAMES}, got {len(small)}; give a longer recording")
    stack = np.stack(small).astype(np.float32)
    change = np.abs(stack - np.median(stack, axis=0)).mean(axis=(0, 3))
    usual = float(np.median(change))
    if usual < _LEAST_CHANGE:
        raise InputError(
            f"frames: expected a camera that moves, got a picture that changes by {usual:.1f} of 255; "
            "drive or turn it past a textured scene"
        )
    still = cv2.morphologyEx((change < _STILL * usual).astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    body = _at_the_border(still)
    reach = 2 * round(_GROWN_BY * _WIDTH_PX) + 1
    body = cv2.dilate(body, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach)))
    return cv2.resize(body, (size[1], size[0]), interpolation=cv2.INTER_NEAREST) * np.uint8(255)


def _at_the_border(still: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The connected pieces that reach the border and are large enough; their holes are filled."""
    body = np.zeros_like(still)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(still)
    border = set(np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])))
    for label in range(1, count):
        if label in border and stats[label, cv2.CC_STAT_AREA] >= _LEAST_AREA * still.size:
            outlines, _ = cv2.findContours((labels == label).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
            cv2.drawContours(body, outlines, -1, 1, cv2.FILLED)
    return body
