# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Order, randomness and loading of training clips: functions of the seed and the place in the run."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from m4sam_training.train.checkpointing import Progress
from m4sam_training.train.config import RunConfig, TrainConfig
from m4sam_training.train.distributed import World
from m4sam_training.train.schedule import StageConfig, place, total_steps

_GATE_NOISE, _DEEP_UPDATE, _WEIGHTS = 1, 2, 3


class Clips(Protocol):
    """A dataset of clips: dict(rgb (T,3,H,W), depth (T,1,H,W), mask (T,1,H,W), name, stems).

    An item is a function of its index and the epoch set last, whoever loads it.
    """

    def __len__(self) -> int:
        """Number of clips."""

    def __getitem__(self, index: int) -> dict[str, Any]:
        """One clip."""

    def set_epoch(self, epoch: int) -> None:
        """Draw new random changes."""


@runtime_checkable
class ClipPool(Protocol):
    """Clips that are drawn from, with other sizes and lengths from stage to stage."""

    def __len__(self) -> int:
        """Number of clips."""

    def draw(self, stage: StageConfig, rng: np.random.Generator) -> dict[str, Tensor]:
        """A batch: rgb (B,T,3,S,S), depth (B,T,1,S,S), mask (B,T,1,S,S); a function of the stage and the generator."""


class Feed(Protocol):
    """Where a run's batches come from: one process's part of them, as a function of the seed and the place."""

    @property
    def total_steps(self) -> int:
        """Optimiser steps of the whole run."""

    def batches(self, at: Progress) -> Iterator[dict[str, Any]]:
        """The batches that are left of the epoch in which the run stands."""

    def after(self, at: Progress, batches: int) -> Progress:
        """Where the run stands after a step over so many batches."""


def mix_seed(*parts: int) -> int:
    """One 63-bit seed from several numbers, well mixed."""
    state = np.random.SeedSequence(parts).generate_state(2, np.uint32)
    return int(state[0]) | (int(state[1]) & 0x7FFFFFFF) << 32


def weights_seed(cfg: RunConfig) -> int:
    """The seed of fresh weights."""
    return cfg.seed if cfg.seeding == "plain" else mix_seed(cfg.seed, _WEIGHTS)


def noise_seed(cfg: RunConfig, step: int, batch: int, rank: int) -> int:
    """The seed of what the network itself draws in one batch of a step, in one process: the gates' noise."""
    if cfg.seeding == "plain":  # four digits of one number
        base = 1_000_003
        return (((rank << 10 | batch) * base + cfg.seed) * base + step) % 2**63
    return mix_seed(cfg.seed, step, batch, _GATE_NOISE, rank)


def coin_seed(cfg: RunConfig, step: int, batch: int) -> int:
    """The seed of the deep-update coin, the same in every process."""
    return mix_seed(cfg.seed, step, batch, _DEEP_UPDATE)


class ClipSampler(Sampler[list[int]]):
    """Batches of clip indices for one process.

    An epoch is a shuffle of all clips, cut into global batches of processes * batch_size clips; each process takes
    its part of every one. The last batch is what is left, as in the release; where it does not divide among the
    processes, clips from the front of the shuffle make it up. Hence 2 processes with a batch of 2 see, step by step,
    the same clips as 1 process with a batch of 4.

    Args:
        clips: number of clips in the dataset.
        batch_size: clips per process and batch.
        rank: number of this process.
        processes: number of processes.
        seed: of the run.
        limit: clips per epoch over all processes; 0 for all.
    """

    def __init__(self, clips: int, *, batch_size: int, rank: int, processes: int, seed: int, limit: int = 0) -> None:
        self.clips = clips
        self.batch_size = batch_size
        self.rank = rank
        self.processes = processes
        self.seed = seed
        self.used = min(clips, limit) if limit else clips
        self.epoch = 0
        self.skip_batches = 0

    @property
    def global_batch(self) -> int:
        """Clips in a batch over all processes."""
        return self.batch_size * self.processes

    @property
    def batches_per_epoch(self) -> int:
        """Batches of a whole epoch."""
        return -(-self.used // self.global_batch)

    def start(self, epoch: int, skip_batches: int = 0) -> None:
        """Choose the epoch to iterate next and how many of its batches are behind us already."""
        self.epoch, self.skip_batches = epoch, skip_batches

    def __len__(self) -> int:
        return self.batches_per_epoch - self.skip_batches

    def __iter__(self) -> Iterator[list[int]]:
        order = np.random.default_rng(mix_seed(self.seed, self.epoch)).permutation(self.clips)[: self.used]
        order = np.resize(order, -(-self.used // self.processes) * self.processes)
        for batch in range(self.skip_batches, self.batches_per_epoch):
            chosen = order[batch * self.global_batch : (batch + 1) * self.global_batch]
            share = len(chosen) // self.processes
            yield chosen[self.rank * share : (self.rank + 1) * share].tolist()


class ShuffledFeed:
    """Passes over all clips, each in an order of its own (`ClipSampler`).

    Args:
        clips: the training split.
        cfg: batch size, epochs, workers and seed.
        world: the processes.
    """

    def __init__(self, clips: Clips, cfg: TrainConfig, world: World) -> None:
        self._clips, self._optim = clips, cfg.optim
        self._sampler = ClipSampler(
            len(clips),
            batch_size=cfg.data.batch_size,
            rank=world.rank,
            processes=world.size,
            seed=cfg.run.seed,
            limit=cfg.data.clips_per_epoch,
        )
        pin = world.device.type == "cuda"
        self._loader = make_loader(clips, self._sampler, workers=cfg.data.workers, pin_memory=pin)

    @property
    def total_steps(self) -> int:
        """See `Feed`."""
        return -(-self._sampler.batches_per_epoch // self._optim.accumulate) * self._optim.epochs

    def batches(self, at: Progress) -> Iterator[dict[str, Any]]:
        """See `Feed`."""
        self._clips.set_epoch(at.epoch)
        self._sampler.start(at.epoch, skip_batches=at.clips // self._sampler.global_batch)
        return iter(self._loader)

    def after(self, at: Progress, batches: int) -> Progress:
        """See `Feed`."""
        clips, step = at.clips + batches * self._sampler.global_batch, at.step + 1
        if clips >= self._sampler.batches_per_epoch * self._sampler.global_batch:
            return Progress(epoch=at.epoch + 1, clips=0, step=step)
        return replace(at, clips=clips, step=step)


class StagedFeed:
    """Clips drawn at random, step by step, in the sizes and lengths of a schedule's stages; a cycle is an epoch.

    Args:
        pool: the clips.
        cfg: schedule, workers and seed.
        world: the processes.
    """

    def __init__(self, pool: ClipPool, cfg: TrainConfig, world: World) -> None:
        self._cfg = cfg
        self._draws = _Draws(pool, cfg.run.seed, world.rank)

    @property
    def total_steps(self) -> int:
        """See `Feed`."""
        return total_steps(self._cfg.schedule)

    def batches(self, at: Progress) -> Iterator[dict[str, Any]]:
        """See `Feed`."""
        steps = range(at.step, place(self._cfg.schedule, at.step).cycle_end)
        keys = [
            (place(self._cfg.schedule, step).stage, step, batch)
            for step in steps
            for batch in range(self._cfg.optim.accumulate)
        ]
        workers = self._cfg.data.workers
        return iter(DataLoader(self._draws, batch_size=None, sampler=keys, **_in_workers(workers)))

    def after(self, at: Progress, batches: int) -> Progress:  # noqa: ARG002 (the protocol's signature)
        """See `Feed`."""
        ended = at.step + 1 == place(self._cfg.schedule, at.step).cycle_end
        return Progress(epoch=at.epoch + ended, clips=0, step=at.step + 1)


def make_feed(clips: Clips | ClipPool, cfg: TrainConfig, world: World) -> Feed:
    """The feed for clips of either kind."""
    return StagedFeed(clips, cfg, world) if isinstance(clips, ClipPool) else ShuffledFeed(clips, cfg, world)


class _Draws(Dataset[dict[str, Tensor]]):
    """Batches of a pool by (stage, step, batch of the step)."""

    def __init__(self, pool: ClipPool, seed: int, rank: int) -> None:
        self._pool, self._seed, self._rank = pool, seed, rank

    def __getitem__(self, key: tuple[StageConfig, int, int]) -> dict[str, Tensor]:
        stage, step, batch = key
        return self._pool.draw(stage, np.random.default_rng((self._seed, step, batch, self._rank)))


def collate_clips(items: list[dict[str, Any]]) -> dict[str, Any]:
    """Stack the tensors of several clips, (T, ...) -> (B, T, ...); names and stems become lists."""
    tensors = {
        key: default_collate([item[key] for item in items])
        for key, value in items[0].items()
        if isinstance(value, Tensor)
    }
    rest = {key: [item[key] for item in items] for key in items[0] if key not in tensors}
    return {**tensors, **rest}


def make_loader(clips: Clips, sampler: ClipSampler, *, workers: int, pin_memory: bool) -> DataLoader[dict[str, Any]]:
    """A loader of batches {rgb (B,T,3,H,W), depth (B,T,1,H,W), mask (B,T,1,H,W), name [B], stems [B][T]}."""
    return DataLoader(
        clips,  # type: ignore[arg-type]  # any sequence will do, says torch's documentation
        batch_sampler=sampler,
        pin_memory=pin_memory,
        persistent_workers=workers > 0,
        collate_fn=collate_clips,
        **_in_workers(workers),
    )


def _in_workers(count: int) -> dict[str, Any]:
    """A loader's settings for so many processes; 0 loads in line."""
    if count == 0:
        return {"num_workers": 0}
    return {"num_workers": count, "worker_init_fn": _one_thread, "multiprocessing_context": "spawn"}


def _one_thread(worker: int) -> None:  # noqa: ARG001 (the loader's signature)
    """One thread per loader process; Ctrl-C is the training process's business."""
    import cv2

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
