# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Depth as the model sees it, at the camera's size: the product never makes the whole of it."""

from __future__ import annotations

import numpy as np


def unit_map(prepared):
    """(H, W) float32 in [0, 1] of a `PreparedDepth`, larger = farther, holes 0."""
    height, width = prepared.shape
    return prepared.unit_at(np.arange(height), np.arange(width))
