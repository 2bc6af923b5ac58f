# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""A schedule in steps instead of passes over a split: cycles of stages, and what is trained late."""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate
from typing import Optional

from pydantic import Field, field_validator

from m4sam_core.config import Config


class StageConfig(Config):
    """A part of a cycle."""

    steps: int = Field(ge=1, description="Optimiser steps.")
    size_px: int = Field(ge=32, le=2048, multiple_of=32, description="Side of the square clips are shown at. Pixels.")
    batch: int = Field(ge=1, le=1024, description="Clips per process and batch.")
    frames: int = Field(ge=1, le=64, description="Frames in a clip, T.")


class ScheduleConfig(Config):
    """Steps instead of epochs, for rendered clips. Without cycles, `optim.epochs` passes over the split."""

    cycles: tuple[tuple[StageConfig, ...], ...] = Field(
        (), description="Stages of each cycle. Its learning rate falls along one cosine; it counts as an epoch."
    )
    warmup_steps: int = Field(0, ge=0, description="Steps over which the first learning rates rise linearly.")
    later_rate: float = Field(1.0, gt=0, le=1, description="Share of the learning rate that later cycles begin with.")
    detail_cycles: Optional[int] = Field(
        None,
        ge=0,
        description="Train the mask decoder's detail only in so many last cycles, never in the first; null: in all.",
    )
    share: float = Field(
        1.0, gt=0, le=1, description="Share of every stage's steps, at least one step: less to try a recipe out."
    )

    @field_validator("cycles")
    @classmethod
    def _no_empty_cycle(cls, cycles: tuple[tuple[StageConfig, ...], ...]) -> tuple[tuple[StageConfig, ...], ...]:
        if not all(cycles):
            raise ValueError("expected at least one stage in every cycle; give it one or leave the cycle out")
        return cycles


@dataclass(frozen=True)
class Place:
    """Where a step lies.

    Attributes:
        cycle: 0-based.
        cycle_end: steps done when the cycle ends.
        stage: what is shown.
        rate_share: share of the base learning rate, in (0, 1].
        trains_detail: whether the mask decoder's detail is trained.
    """

    cycle: int
    cycle_end: int
    stage: StageConfig
    rate_share: float
    trains_detail: bool


def total_steps(cfg: ScheduleConfig) -> int:
    """Optimiser steps of all cycles."""
    return _ends(cfg)[-1]


def place(cfg: ScheduleConfig, step: int) -> Place:
    """Where a step (0-based) lies in a schedule with cycles.

    Raises:
        ValueError: the schedule has ended.
    """
    ends = _ends(cfg)
    cycle = bisect_right(ends, step)
    if cycle == len(ends):
        raise ValueError(f"step: expected one below {ends[-1]}, got {step}")
    begin, end = (0, *ends)[cycle : cycle + 2]
    warm = min(1.0, (step + 1) / cfg.warmup_steps) if cfg.warmup_steps else 1.0
    cosine = (1 + math.cos(math.pi * (step - begin) / (end - begin))) / 2
    stage_ends = list(accumulate((_steps(cfg, stage) for stage in cfg.cycles[cycle]), initial=begin))[1:]
    return Place(
        cycle,
        end,
        cfg.cycles[cycle][bisect_right(stage_ends, step)],
        (cfg.later_rate if cycle else 1.0) * warm * cosine,
        cfg.detail_cycles is None or cycle >= max(1, len(ends) - cfg.detail_cycles),
    )


def _steps(cfg: ScheduleConfig, stage: StageConfig) -> int:
    return max(1, round(stage.steps * cfg.share))


def _ends(cfg: ScheduleConfig) -> list[int]:
    """Steps done when each cycle ends."""
    return list(accumulate(sum(_steps(cfg, stage) for stage in cycle) for cycle in cfg.cycles))
