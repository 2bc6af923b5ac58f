# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Clips on which a cheaper arithmetic must not change the answer: scenes where it is not obvious what stands out.

An easy clip hides what rounding does: a mask with wide margins survives anything. Here many things of similar size,
colour and distance lie on a cluttered table, so that the network's evidence is thin and small errors flip it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Frame = tuple[NDArray[np.uint8], NDArray[Any]]

HEIGHT, WIDTH = 240, 320
CLIPS, FRAMES = 6, 8
_THINGS = 14


def gate_clips() -> dict[str, list[Frame]]:
    """The generated clips, by name."""
    return {f"table {seed}": [_frame(seed, index) for index in range(FRAMES)] for seed in range(CLIPS)}


def overlap(ours: Sequence[NDArray[np.uint8]], theirs: Sequence[NDArray[np.uint8]]) -> list[float]:
    """Intersection over union of masks (H, W), frame by frame; 1 where both are empty."""
    return [_iou(a > 0, b > 0) for a, b in zip(ours, theirs, strict=True)]


def _iou(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    either = np.count_nonzero(a | b)
    return np.count_nonzero(a & b) / either if either else 1.0


def _frame(seed: int, index: int) -> Frame:
    """A table from above, slightly tilted, panning by two pixels a frame."""
    rng = np.random.default_rng(int(hashlib.sha256(f"gate {seed}".encode()).hexdigest()[:8], 16))
    grain = cv2.resize(rng.normal(0, 1, (30, 40)).astype(np.float32), (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    rgb = np.full((HEIGHT, WIDTH, 3), rng.uniform(80, 160, 3), np.float32) + 14 * grain[..., None]
    depth = np.linspace(1.6, 1.1, HEIGHT, dtype=np.float32)[:, None] * np.ones((1, WIDTH), np.float32)
    base = rng.uniform(60, 190, 3)
    for _ in range(_THINGS):
        centre = (int(rng.integers(20, WIDTH - 20)) + 2 * index, int(rng.integers(20, HEIGHT - 20)))
        axes = (int(rng.integers(14, 34)), int(rng.integers(10, 26)))
        shape = np.zeros((HEIGHT, WIDTH), np.uint8)
        cv2.ellipse(shape, centre, axes, float(rng.uniform(0, 180)), 0, 360, 1, -1)
        inside = shape > 0
        texture = rng.normal(0, 12, (HEIGHT // 8, WIDTH // 8, 3)).astype(np.float32)
        texture = cv2.resize(texture, (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR)
        rgb[inside] = (base + rng.normal(0, 30, 3) + texture)[inside]
        depth[inside] -= rng.uniform(0.03, 0.12)
    noise = np.random.default_rng(1000 * seed + index)
    rgb = np.clip(rgb + noise.normal(0, 3, rgb.shape), 0, 255).astype(np.uint8)
    millimetres = (depth * 1000 + noise.normal(0, 4, depth.shape)).astype(np.uint16)
    millimetres[noise.random(depth.shape) < 0.03] = 0
    return cv2.GaussianBlur(rgb, (3, 3), 0), millimetres
