# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""What the edge weights reach on generated clips they have never seen: other pictures, other depth camera."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from m4sam_core.build import build_model
from m4sam_core.config import PipelineConfig
from m4sam_core.host.progress import tracked
from m4sam_core.model.m4sam import M4SAM
from m4sam_core.pipeline import SaliencyPipeline
from m4sam_training.data.corruptions import DEPTH_CORRUPTIONS, corrupt_clip
from m4sam_training.eval.scoring import FrameScorer, summary, to_uint8
from m4sam_training.synth.clip import SynthFrame, generate_clip
from m4sam_training.synth.scene import SceneStyle

FIRST_HELD_OUT_SEED = 1_000_000
FPS = 10.0
SEVERITY = 4
_SHOWN = ("S", "F_adaptive", "MAE")

DepthMap = npt.NDArray[Any]
DepthFilter = Callable[[list[SynthFrame], int], list[DepthMap | None]]


def without_memory(model: M4SAM) -> M4SAM:
    """The same weights, the final mask taken from the decoder (memory.enabled off)."""
    cfg = model.cfg.model_copy(update={"memory": model.cfg.memory.model_copy(update={"enabled": False})})
    plain = build_model(cfg)
    weights = model.state_dict()
    plain.load_state_dict({name: weights[name] for name in plain.state_dict()})
    return plain.eval()


def _sensor(frames: list[SynthFrame], seed: int) -> list[DepthMap | None]:  # noqa: ARG001 (one signature)
    return [frame.depth for frame in frames]


def _black(frames: list[SynthFrame], seed: int) -> list[DepthMap | None]:  # noqa: ARG001 (one signature)
    return [None for _ in frames]


def _corrupted(name: str) -> DepthFilter:
    def damage(frames: list[SynthFrame], seed: int) -> list[DepthMap | None]:
        return list(corrupt_clip([frame.depth.astype(np.float32) / 1000 for frame in frames], name, SEVERITY, seed))

    return damage


def score(
    model: M4SAM, clips: Iterable[tuple[int, list[SynthFrame]]], depth: DepthFilter, threads: int
) -> dict[str, float]:
    """S-measure, adaptive F and MAE of a model over clips, through the whole pipeline.

    Args:
        model: the network.
        clips: (seed, frames) of each clip.
        depth: what the pipeline gets for depth.
        threads: CPU threads.
    """
    pipeline = SaliencyPipeline(model, PipelineConfig(device="cpu", threads=threads))
    scorer = FrameScorer(minmax=False)
    scores = []
    for seed, frames in clips:
        pipeline.reset("next clip")
        for index, (frame, reading) in enumerate(zip(frames, depth(frames, seed), strict=True)):
            result = pipeline.process(frame.rgb, reading, frame.stamp)
            if frame.mask.any():
                scores.append(
                    scorer.score(str(seed), str(index), to_uint8(result.probability, minmax=False), frame.mask)
                )
    means = summary(scores)
    return {name: round(float(means[name]), 4) for name in _SHOWN}


def held_out_clips(style: SceneStyle, clips: int, frames: int) -> list[tuple[int, list[SynthFrame]]]:
    """Generated clips no training ever drew, 240x320 at 10 frames/s, each with its seed."""
    seeds = range(FIRST_HELD_OUT_SEED, FIRST_HELD_OUT_SEED + clips)
    return [(seed, list(generate_clip(seed, frames, 240, 320, FPS, style, severity=0.3))) for seed in seeds]


def score_variants(
    model: M4SAM, clips: Sequence[tuple[int, list[SynthFrame]]], threads: int, *, faults: bool = False
) -> dict[str, dict[str, float]]:
    """Score a model as it is, without memory, without depth and, if asked for, with every depth fault.

    Args:
        model: the network.
        clips: see `held_out_clips`.
        threads: CPU threads.
        faults: whether the thirteen depth faults (severity 4 of 5) are scored too.

    Returns:
        scores by variant.
    """
    plain = without_memory(model)
    jobs: list[tuple[str, M4SAM, DepthFilter]] = [
        ("as shipped", model, _sensor),
        ("memory off", plain, _sensor),
        ("no depth", model, _black),
        ("no depth, memory off", plain, _black),
    ]
    if faults:
        jobs += [(f"depth {name}", model, _corrupted(name)) for name in DEPTH_CORRUPTIONS]
    return {name: score(network, clips, depth, threads) for name, network, depth in tracked(jobs, "scoring")}
