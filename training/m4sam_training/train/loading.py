"""Order, randomness and loading of training clips: a function of (seed, epoch), whatever the number of processes."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler, default_collate


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


def mix_seed(*parts: int) -> int:
    """One 63-bit seed from several numbers, well mixed."""
    state = np.random.SeedSequence(parts).generate_state(2, np.uint32)
    return int(state[0]) | (int(state[1]) & 0x7FFFFFFF) << 32


class ClipSampler(Sampler[list[int]]):
    """Batches of clip indices for one process.

    An epoch is a shuffle of all clips, cut into global batches of processes * batch_size clips; each process takes
    its part of every one. The last batch is filled up from the front of the shuffle, so that all are full. Hence 2
    processes with a batch of 2 see, step by step, the same clips as 1 process with a batch of 4.

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
        order = np.resize(order, self.batches_per_epoch * self.global_batch)
        for batch in range(self.skip_batches, self.batches_per_epoch):
            first = batch * self.global_batch + self.rank * self.batch_size
            yield order[first : first + self.batch_size].tolist()


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
        num_workers=workers,
        pin_memory=pin_memory,
        persistent_workers=workers > 0,
        collate_fn=collate_clips,
        worker_init_fn=_one_thread if workers else None,
        multiprocessing_context="spawn" if workers else None,
    )


def _one_thread(worker: int) -> None:  # noqa: ARG001 (the loader's signature)
    """One thread per loader process; Ctrl-C is the training process's business."""
    import cv2

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
