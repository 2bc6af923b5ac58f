# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Clips of moving discs, and the settings of small runs on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from m4sam_core.checkpoint import load_checkpoint
from m4sam_training.train.config import TrainConfig
from m4sam_training.train.distributed import World
from m4sam_training.train.log import read_metrics

ALONE = World(rank=0, size=1, device=torch.device("cpu"))


class Discs:
    """Clips of a bright disc in front of a dark wall, moving; the same clip for the same index and epoch."""

    def __init__(self, clips: int = 4, length: int = 2) -> None:
        self.clips, self.length, self.epoch, self.poison = clips, length, 0, None

    def __len__(self) -> int:
        return self.clips

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __getitem__(self, index: int) -> dict[str, Any]:
        generator = torch.Generator().manual_seed(1000 * self.epoch + index)
        rows, columns = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
        x, y, radius = (torch.rand(3, generator=generator) * torch.tensor([24.0, 24.0, 6.0])).tolist()
        mask = torch.stack(
            [
                ((columns - x - 16 - 2 * t) ** 2 + (rows - y - 16) ** 2 < (8 + radius) ** 2).float()[None]
                for t in range(self.length)
            ]
        )
        noise = 0.1 * torch.rand(self.length, 3, 64, 64, generator=generator)
        colour = torch.tensor([0.8, 0.3, 0.1]).view(1, 3, 1, 1)
        rgb = (0.2 + noise) * (1 - mask) + colour * mask
        if index == self.poison:
            mask = mask * float("nan")
        return {"rgb": rgb, "depth": 0.9 - 0.6 * mask, "mask": mask, "name": f"disc{index}", "stems": ["0"]}


def settings(**sections: dict[str, Any]) -> TrainConfig:
    base: dict[str, Any] = {
        "model": {"preset": "nano"},
        "data": {"batch_size": 2, "workers": 0},
        "optim": {"epochs": 2, "scale_lr_by_processes": False},
        "run": {"tensorboard": False, "log_every_steps": 1, "device": "cpu"},
    }
    for name, values in sections.items():
        base[name] = {**base.get(name, {}), **values}
    return TrainConfig.parse(base)


def losses(out: Path) -> list[tuple[int, float, float]]:
    return [(entry["step"], entry["loss/total"], entry["grad_norm"]) for entry in read_metrics(out)]


def weights(out: Path, file: str = "last.safetensors") -> dict[str, torch.Tensor]:
    return load_checkpoint(out / file).state_dict()


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
