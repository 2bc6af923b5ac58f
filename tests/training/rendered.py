# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Clips as `m4sam edge render` writes them, of discs, and the packaged weights' recipe in miniature."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from m4sam_training.train.config import TrainConfig, load_train_config
from m4sam_training.train.config.nested import merge

RECIPE = Path(__file__).parents[2] / "config" / "train" / "edge.yaml"
_STAGES = (((6, 32, 2, 2), (4, 64, 2, 3)), ((4, 32, 2, 2),), ((4, 32, 2, 3),), ((2, 32, 2, 2),))


def write_discs(folder: Path, clips: int = 5, frames: int = 3, side: int = 64) -> Path:
    folder.mkdir(parents=True)
    rows, columns = np.mgrid[0:side, 0:side]
    for seed in range(clips):
        rng = np.random.default_rng(seed)
        x, y, radius = rng.uniform(20, 40), rng.uniform(20, 40), rng.uniform(8, 14)
        wall = rng.integers(0, 120, (side, side, 3))
        discs = [(columns - x - 2 * frame) ** 2 + (rows - y) ** 2 < radius**2 for frame in range(frames)]
        np.savez(
            folder / f"{seed:06d}.npz",
            rgb=np.stack([np.where(disc[..., None], (220, 90, 40), wall) for disc in discs]).astype(np.uint8),
            depth=np.stack([np.where(disc, 20000, 50000) for disc in discs]).astype(np.uint16),
            mask=np.stack([np.where(disc, 255, 0) for disc in discs]).astype(np.uint8),
        )
    return folder


def small_recipe(**sections: dict[str, Any]) -> TrainConfig:
    """`config/train/edge.yaml` with 20 steps in 5 stages, and a random trunk."""
    names = ("steps", "size_px", "batch", "frames")
    cycles = tuple(tuple(dict(zip(names, stage, strict=True)) for stage in cycle) for cycle in _STAGES)
    small = {"schedule": {"cycles": cycles}, "init": {"trunk": None}, "run": {"log_every_steps": 1}}
    return TrainConfig.parse(merge(merge(load_train_config(RECIPE).model_dump(), small), sections))
