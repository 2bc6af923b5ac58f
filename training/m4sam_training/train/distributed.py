# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""The processes of one run, as torchrun started them (env://, any number of nodes, elastic)."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from m4sam_core.errors import ConfigError

TIMEOUT_S = 1800.0


@dataclass(frozen=True)
class World:
    """This process among all of the run.

    Attributes:
        rank: 0 .. size-1; rank 0 writes files and logs.
        size: number of processes.
        device: where this process computes.
        restarts: how often torchrun's elastic agent has restarted the run.
    """

    rank: int
    size: int
    device: torch.device
    restarts: int = 0

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and logs."""
        return self.rank == 0

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in at least one process; every process must call it."""
        if self.size == 1:
            return flag
        value = torch.tensor(int(flag), device=self.device)
        dist.all_reduce(value, op=dist.ReduceOp.MAX)
        return bool(value.item())

    def mean(self, values: Mapping[str, Tensor]) -> dict[str, float]:
        """Scalars averaged over the processes; every process must call it with the same names."""
        stacked = torch.stack([value.detach().float().to(self.device) for value in values.values()])
        if self.size > 1:
            dist.all_reduce(stacked)
        return dict(zip(values, (stacked / self.size).tolist(), strict=True))

    def wait(self) -> None:
        """Block until every process is here."""
        if self.size > 1:
            dist.barrier()


def choose_device(name: str, local_rank: int) -> torch.device:
    """The device of one process.

    Args:
        name: auto, cpu, cuda or cuda:N; auto and cuda give every process of a machine its own GPU.
        local_rank: number of this process on its machine.

    Raises:
        ConfigError: a GPU is asked for that is not there, or the name is unknown.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"run.device: expected auto, cpu, cuda or cuda:N, got {name!r}") from None
    if device.type == "cuda":
        index = local_rank if device.index is None else device.index
        if index >= torch.cuda.device_count():
            raise ConfigError(
                f"run.device: expected one of {torch.cuda.device_count()} GPUs, got number {index}; "
                "start fewer processes per machine or set run.device=cpu"
            )
        return torch.device("cuda", index)
    return device


@contextmanager
def world(device: str) -> Iterator[World]:
    """Join the run torchrun started, or be a run of one process.

    Args:
        device: see `choose_device`.

    Raises:
        ConfigError: see `choose_device`.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    chosen = choose_device(device, int(os.environ.get("LOCAL_RANK", "0")))
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    if size == 1:
        yield World(rank=0, size=1, device=chosen, restarts=int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")))
        return
    dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo", timeout=dt.timedelta(seconds=TIMEOUT_S))
    try:
        yield World(
            rank=dist.get_rank(),
            size=dist.get_world_size(),
            device=chosen,
            restarts=int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")),
        )
    finally:
        dist.destroy_process_group()
