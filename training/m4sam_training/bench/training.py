# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""What a training step costs in time and memory, and whether the data pipeline keeps up with it."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

from m4sam_training.bench.apart import hand_over, measured_apart
from m4sam_training.data.training_clips import training_clips
from m4sam_training.train.config import TrainConfig
from m4sam_training.train.distributed import World, choose_device
from m4sam_training.train.loading import ClipSampler, make_loader
from m4sam_training.train.step import TrainStep
from m4sam_training.train.trainer import peak_memory_gb
from m4sam_training.train.weights.starting_model import starting_model


@dataclass(frozen=True)
class StepFigures:
    """Cost of one training step.

    Attributes:
        adapter: kind of adapter.
        frames: RGB-D frames in a step.
        step_s: median seconds of a step.
        frames_per_s: RGB-D frames per second.
        kept_gb: activations kept for the backward pass, whatever the device. Gigabytes (1e9).
        peak_memory_gb: most memory used, see `peak_memory_gb`.
        trainable_parameters: how many weights are trained.
    """

    adapter: str
    frames: int
    step_s: float
    frames_per_s: float
    kept_gb: float
    peak_memory_gb: float
    trainable_parameters: int


@dataclass(frozen=True)
class LoaderFigures:
    """Speed of the data pipeline alone: decoding, augmentation, resizing, batching.

    Attributes:
        workers: loader processes.
        frames_per_s: RGB-D frames per second, after the workers have started.
    """

    workers: int
    frames_per_s: float


class KeptActivations:
    """Counts the bytes of different tensors that autograd keeps, other than the model's own weights."""

    def __init__(self, model: torch.nn.Module) -> None:
        self.bytes = 0
        self._alive: list[Tensor] = []
        self._known = {tensor.untyped_storage().data_ptr() for tensor in [*model.parameters(), *model.buffers()]}

    def keep(self, tensor: Tensor) -> Tensor:
        """The pack hook of `saved_tensors_hooks`."""
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self._known:
            self._known.add(storage.data_ptr())
            self._alive.append(tensor)  # a freed address would be counted once for two tensors
            self.bytes += storage.nbytes()
        return tensor


def bench_step(cfg: TrainConfig, steps: int) -> StepFigures:
    """Time training steps on random clips, after one that warms up; a last one counts what is kept.

    Args:
        cfg: model, clip length, batch size, precision, device.
        steps: steps timed.
    """
    world = World(rank=0, size=1, device=choose_device(cfg.run.device, 0))
    step = TrainStep(starting_model(cfg), cfg, world)
    batch = _random_batch(cfg)
    seconds = []
    for number in range(1 + steps):
        _synchronise(world.device)
        started = time.perf_counter()
        step.run([batch], epoch=0, step=number)
        _synchronise(world.device)
        seconds.append(time.perf_counter() - started)
    step_s, peak_gb = median(seconds[1:]), peak_memory_gb(world.device)
    kept = KeptActivations(step.model)  # holds what it counts, hence after the peak was read
    with torch.autograd.graph.saved_tensors_hooks(kept.keep, lambda tensor: tensor):
        step.run([batch], epoch=0, step=1 + steps)
    frames = cfg.data.batch_size * cfg.data.clip_length
    return StepFigures(
        adapter=cfg.model.adapter.kind,
        frames=frames,
        step_s=step_s,
        frames_per_s=frames / step_s,
        kept_gb=kept.bytes / 1e9,
        peak_memory_gb=peak_gb,
        trainable_parameters=sum(p.numel() for p in step.model.parameters() if p.requires_grad),
    )


def bench_step_apart(cfg: TrainConfig, steps: int) -> StepFigures:
    """`bench_step` in a process of its own, so that its peak memory is nobody else's.

    Raises:
        M4SamError: the process failed; its own message has been printed.
    """
    words = [cfg.model_dump_json(), str(steps)]
    return StepFigures(**measured_apart("m4sam_training.bench.training", words, cfg.model.adapter.kind))


def bench_loader(cfg: TrainConfig, data: Path, workers: Sequence[int], batches: int) -> list[LoaderFigures]:
    """Frames per second of the data pipeline.

    Args:
        cfg: layout, clip length, batch size, augmentation, model input size.
        data: the dataset's folder.
        workers: numbers of loader processes to try.
        batches: batches timed, after one epoch's start-up.
    """
    figures = []
    clips = training_clips(cfg, data)
    for count in workers:
        sampler = ClipSampler(len(clips), batch_size=cfg.data.batch_size, rank=0, processes=1, seed=cfg.run.seed)
        loader = make_loader(clips, sampler, workers=count, pin_memory=False)
        for _ in loader:
            pass
        seen, epoch, started = 0, 1, time.perf_counter()
        while seen < batches:
            clips.set_epoch(epoch)
            sampler.start(epoch)
            seen += sum(1 for _ in loader)
            epoch += 1
        frames = seen * cfg.data.batch_size * cfg.data.clip_length
        figures.append(LoaderFigures(workers=count, frames_per_s=frames / (time.perf_counter() - started)))
    return figures


def _random_batch(cfg: TrainConfig) -> dict[str, Any]:
    side, generator = cfg.model.input_size_px, torch.Generator().manual_seed(cfg.run.seed)
    shape = (cfg.data.batch_size, cfg.data.clip_length)
    batch = {
        key: torch.rand(*shape, channels, side, side, generator=generator)
        for key, channels in (("rgb", 3), ("depth", 1), ("mask", 1))
    }
    return {**batch, "mask": (batch["mask"] > 0.5).float()}


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _main() -> None:
    cfg = TrainConfig.parse(json.loads(sys.argv[1]))
    if cfg.run.threads:
        torch.set_num_threads(cfg.run.threads)
    hand_over(asdict(bench_step(cfg, int(sys.argv[2]))))


if __name__ == "__main__":
    _main()
