# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Masks and depth of boxes before a wall, whose truth is arithmetic."""

from __future__ import annotations

import numpy as np

from m4sam_core.objects import CameraModel

HEIGHT, WIDTH = 240, 320
K = [250.0, 0, 159.5, 0, 250.0, 119.5, 0, 0, 1]
CAMERA = CameraModel.from_info(WIDTH, HEIGHT, K)
WALL_M = 4.0


def scene(*boxes, height=HEIGHT, width=WIDTH):
    """(mask, depth in metres); a box is left, top, width, height, metres."""
    mask, depth = np.zeros((height, width), np.uint8), np.full((height, width), WALL_M, np.float32)
    for left, top, across, down, metres in boxes:
        mask[top : top + down, left : left + across] = 255
        depth[top : top + down, left : left + across] = metres
    return mask, depth


def point(column, row, metres, camera=CAMERA):
    """Where a pixel's surface is."""
    return np.array([(column - camera.cx) / camera.fx, (row - camera.cy) / camera.fy, 1.0]) * metres
