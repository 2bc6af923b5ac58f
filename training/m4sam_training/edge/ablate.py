# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""What matters in the edge recipe: the same short schedule with one thing changed at a time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from m4sam_core.checkpoint import load_checkpoint
from m4sam_core.host.files import write_json
from m4sam_training.edge.data import ClipStore, TrainingClips
from m4sam_training.edge.eval import held_out_clips, score_variants
from m4sam_training.synth.scene import SceneStyle
from m4sam_training.train.config import TrainConfig
from m4sam_training.train.config.nested import merge
from m4sam_training.train.distributed import World
from m4sam_training.train.resuming import choose_checkpoint
from m4sam_training.train.trainer import Trainer

_SIZE_PX, _FRAMES_PER_STEP = 128, 16


def variants(recipe: TrainConfig, steps: int) -> dict[str, TrainConfig]:
    """One run for each question, all with as many frames per step.

    Args:
        recipe: the settings of the packaged weights.
        steps: optimiser steps of each.
    """

    def run(frames: int = 4, **changes: Any) -> TrainConfig:
        stage = {"steps": steps, "size_px": _SIZE_PX, "batch": _FRAMES_PER_STEP // frames, "frames": frames}
        schedule = {"schedule": {"cycles": ((stage,),)}, "run": {"save_every_steps": max(1, steps // 5)}}
        return TrainConfig.parse(merge(merge(recipe.model_dump(), schedule), changes))

    base = run()
    return {
        "base: clips of 4 frames": base,
        "clips of 2 frames": run(2),
        "single frames": run(1),
        "no depth faults": run(augment={"rendered_depth_faults": False}),
        "no bad frames": run(augment={"rendered_frame_faults": False}),
        "random trunk": run(init={"trunk": None}),
        "narrow Hiera, from scratch": _on_narrow_hiera(base),
    }


def _on_narrow_hiera(base: TrainConfig) -> TrainConfig:
    """The same on the narrow Hiera, which has no published weights and is trained as well."""
    values = merge(base.model_dump(), {"init": {"trunk": None}, "optim": {"train_trunk": True}})
    return TrainConfig.parse({**values, "model": {"preset": "edge", "trunk": {"kind": "hiera", "size": "nano"}}})


def ablate(
    recipe: TrainConfig, clips: Path, out: Path, steps: int, style: SceneStyle, held_out: int, frames: int
) -> dict[str, dict[str, dict[str, float]]]:
    """Train and score every variant on the CPU; a variant that is done is not done again.

    Args:
        recipe: see `variants`.
        clips: folder of rendered clips.
        out: takes one run for each variant.
        steps: see `variants`.
        style: the held-out scene style.
        held_out: held-out clips.
        frames: frames of each.

    Returns:
        scores by variant and by what the network is given: depth, memory.
    """
    data = held_out_clips(style, held_out, frames)
    store = ClipStore(clips)
    table = {}
    for name, cfg in variants(recipe, steps).items():
        folder = out / name.translate(str.maketrans(" ", "_", ":,"))
        scores = folder / "scores.json"
        if not scores.exists():
            _train(cfg, store, folder)
            model = load_checkpoint(folder / cfg.export.file)
            write_json(scores, score_variants(model, data, torch.get_num_threads()))
        table[name] = json.loads(scores.read_text(encoding="utf-8"))
    return table


def _train(cfg: TrainConfig, store: ClipStore, out: Path) -> None:
    """Train to the end, from where an interrupted run stopped."""
    world = World(rank=0, size=1, device=torch.device("cpu"))
    trainer = Trainer(cfg, TrainingClips(store, cfg.augment), out, world)
    checkpoint = choose_checkpoint(out, "auto", restarts=0)
    if checkpoint is not None:
        trainer.resume(checkpoint)
    trainer.run()
