"""What matters in the edge recipe: the same short schedule with one thing changed at a time."""

from __future__ import annotations

import json
from dataclasses import replace

import torch

from m4sam_core.checkpoint import load_checkpoint
from m4sam_core.host.files import write_json
from m4sam_training.edge.data import Faults
from m4sam_training.edge.eval import held_out_clips, score_variants
from m4sam_training.edge.recipe import EdgeRun, Stage, train
from m4sam_training.synth.scene import SceneStyle

_SIZE_PX, _FRAMES_PER_STEP = 128, 16


def variants(run: EdgeRun, steps: int) -> dict[str, EdgeRun]:
    """One run for each question, all with as many frames per step.

    Args:
        run: clips, trunk and seed; its folder takes one subfolder for each variant.
        steps: optimiser steps of each.
    """

    def stages(frames: int) -> tuple[Stage, ...]:
        return (Stage(steps, _SIZE_PX, _FRAMES_PER_STEP // frames, frames),)

    base = replace(run, cycles=(stages(4),), save_every=max(1, steps // 5))
    return {
        "base: clips of 4 frames": base,
        "clips of 2 frames": replace(base, cycles=(stages(2),)),
        "single frames": replace(base, cycles=(stages(1),)),
        "no depth faults": replace(base, faults=Faults(depth=False)),
        "no bad frames": replace(base, faults=Faults(frames=False)),
        "random trunk": replace(base, start="random"),
        "narrow Hiera, from scratch": replace(base, start="hiera"),
    }


def ablate(
    run: EdgeRun, steps: int, style: SceneStyle, clips: int, frames: int
) -> dict[str, dict[str, dict[str, float]]]:
    """Train and score every variant; a variant that is done is not done again.

    Args:
        run: see `variants`.
        steps: see `variants`.
        style: the held-out scene style.
        clips: held-out clips.
        frames: frames of each.

    Returns:
        scores by variant and by what the network is given: depth, memory.
    """
    data = held_out_clips(style, clips, frames)
    table = {}
    for name, variant in variants(run, steps).items():
        folder = run.out / name.translate(str.maketrans(" ", "_", ":,"))
        scores = folder / "scores.json"
        if not scores.exists():
            weights = train(replace(variant, out=folder))
            rows = score_variants(load_checkpoint(weights), data, torch.get_num_threads())
            write_json(scores, rows)
        table[name] = json.loads(scores.read_text(encoding="utf-8"))
    return table
