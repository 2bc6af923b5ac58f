# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""How a model's masks suffer from what goes wrong with cameras (docs/robustness.md).

For every corruption and severity: score, resilience = score / clean score, and harm = score - score with no depth at
all. Negative harm says that a broken depth camera is worse for this model than none.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from m4sam_core.errors import ConfigError, InputError
from m4sam_core.host.journal import Journal, differing, read_journal
from m4sam_core.rgbd.depth_values import from_metres, to_metres
from m4sam_training.data.corruptions import (
    DEPTH_CORRUPTIONS,
    DEPTH_SEVERITIES,
    RGB_CORRUPTIONS,
    RGB_SEVERITIES,
    CorruptedStream,
    corrupt_rgb,
)
from m4sam_training.data.frames import Clip, with_depth
from m4sam_training.data.videos import Scan, Video
from m4sam_training.eval.predict_dataset import Fault, PredictConfig, predict_scan
from m4sam_training.eval.scoring import FrameScore, FrameScorer, by_video, summary, to_uint8

if TYPE_CHECKING:
    from m4sam_core.model.m4sam import M4SAM

MEASURES = ("S", "E_mean", "F_adaptive")
CLEAN, BLACK = "clean", "black depth"


@dataclass(frozen=True)
class Cell:
    """One corruption at one severity.

    Attributes:
        modality: "depth" or "rgb".
        corruption: its name.
        severity: from 1 (mild).
        scores: S, E_mean, F_adaptive, MAE and the rest of `scoring.summary`.
        over_time: mean S of the first, second, ... scored frame of the videos.
    """

    modality: str
    corruption: str
    severity: int
    scores: dict[str, float]
    over_time: tuple[float, ...] = ()


@dataclass(frozen=True)
class RobustnessResult:
    """The whole table.

    Attributes:
        measure: which score the table shows; higher is better.
        clean: scores without corruption.
        black: scores with black depth.
        cells: every corruption at every severity.
        clean_over_time, black_over_time: as `Cell.over_time`.
    """

    measure: str
    clean: dict[str, float]
    black: dict[str, float]
    cells: tuple[Cell, ...]
    clean_over_time: tuple[float, ...] = ()
    black_over_time: tuple[float, ...] = ()

    def resilience(self, cell: Cell) -> float:
        """Corrupted over clean score."""
        return cell.scores[self.measure] / self.clean[self.measure] if self.clean[self.measure] > 0 else float("nan")

    def harm(self, cell: Cell) -> float:
        """Corrupted score minus the score with black depth; negative: worse than no depth."""
        return cell.scores[self.measure] - self.black[self.measure]

    def of(self, corruption: str) -> list[Cell]:
        """A corruption's cells, mild ones first."""
        return sorted((cell for cell in self.cells if cell.corruption == corruption), key=lambda cell: cell.severity)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> RobustnessResult:
        """The table that `as_dict` gave."""
        cells = (
            Cell(cell["modality"], cell["corruption"], cell["severity"], cell["scores"], tuple(cell["over_time"]))
            for cell in values["cells"]
        )
        over_time = (tuple(values[name]) for name in ("clean_over_time", "black_depth_over_time"))
        return cls(values["measure"], values["clean"], values["black_depth"], tuple(cells), *over_time)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "measure": self.measure,
            "clean": self.clean,
            "black_depth": self.black,
            "clean_over_time": self.clean_over_time,
            "black_depth_over_time": self.black_over_time,
            "cells": [
                {**vars(cell), "resilience": self.resilience(cell), "harm": self.harm(cell)} for cell in self.cells
            ],
            "mean_resilience": {
                modality: float(np.mean([self.resilience(c) for c in self.cells if c.modality == modality]))
                for modality in dict.fromkeys(cell.modality for cell in self.cells)
            },
        }


def plan(corruptions: Sequence[str] = (), severities: Sequence[int] = ()) -> list[tuple[str, str, int]]:
    """(modality, corruption, severity) to run.

    Args:
        corruptions: names; empty: all 17.
        severities: empty: 1 to 5 for depth, 1 to 3 for rgb.

    Raises:
        ConfigError: an unknown name, or nothing left to do.
    """
    known = {**dict.fromkeys(DEPTH_CORRUPTIONS, "depth"), **dict.fromkeys(RGB_CORRUPTIONS, "rgb")}
    unknown = [name for name in corruptions if name not in known]
    if unknown:
        raise ConfigError(f"corruptions: expected some of {', '.join(known)}, got {', '.join(unknown)}")
    steps = [
        (known[name], name, severity)
        for name in corruptions or known
        for severity in (DEPTH_SEVERITIES if known[name] == "depth" else RGB_SEVERITIES)
        if not severities or severity in severities
    ]
    if not steps:
        raise ConfigError(f"severities: expected some of 1 to 5, got {', '.join(map(str, severities))}")
    return steps


def make_fault(modality: str, name: str, severity: int, seed: int) -> Fault:
    """The corruption as a change of a video's clips; seeded by the video's name, so that runs agree frame by frame."""

    def for_video(video: Video) -> Callable[[Clip], Clip]:
        own_seed = zlib.crc32(f"{seed}/{video.name}/{name}/{severity}".encode())
        if modality == "rgb":
            return _rgb_fault(name, severity, own_seed)
        stream = CorruptedStream(name, severity, own_seed)

        def change(clip: Clip) -> Clip:
            unit_m = clip.depth_unit_m
            return with_depth(clip, [from_metres(stream(to_metres(d, unit_m)), d, unit_m) for d in clip.depth])

        return change

    return for_video


def _rgb_fault(name: str, severity: int, seed: int) -> Callable[[Clip], Clip]:
    frame = iter(range(seed, 2**63))

    def change(clip: Clip) -> Clip:
        return replace(clip, rgb=tuple(corrupt_rgb(rgb, name, severity, next(frame)) for rgb in clip.rgb))

    return change


def run_robustness(
    model: M4SAM,
    scan: Scan,
    cfg: PredictConfig,
    steps: Sequence[tuple[str, str, int]],
    measure: str = "S",
    seed: int = 0,
    progress: Callable[[str], None] = lambda _: None,
    journal: Path | None = None,
    about: Mapping[str, Any] | None = None,
) -> RobustnessResult:
    """Score the model clean, without depth, and under every step of the plan.

    Args:
        model: in evaluation mode.
        scan: the split.
        cfg: how the model is run.
        steps: from `plan`.
        measure: S, E_mean or F_adaptive.
        seed: of the corruptions.
        progress: called with the name of each run before it begins.
        journal: file that keeps every finished run, so that a repeated call does not repeat them; None keeps none.
        about: what the scores depend on besides `cfg` and `seed` (weights, data); compared with the journal's.

    Raises:
        ConfigError: unknown measure, or a journal about something else.
        InputError: no frame could be scored.
    """
    if measure not in MEASURES:
        raise ConfigError(f"measure: expected one of {', '.join(MEASURES)}, got {measure!r}")

    def score(settings: PredictConfig) -> _Run:
        scorer = FrameScorer()
        scores = [
            scorer.score(item.video, item.frame.stem, to_uint8(item.mask_prob, minmax=True), item.ground_truth)
            for item in predict_scan(model, scan, settings)
        ]
        if not scores:
            raise InputError("robustness: expected at least one frame to score, got none; run `m4sam dataset check`")
        return _Run(summary(scores), _over_time(scores))

    facts = {"mode": cfg.mode, "clip_length": cfg.clip_length, "seed": seed, "frames": scan.frame_count}
    with _KeptRuns(journal, {**(about or {}), **facts}) as kept:

        def run(title: str, settings: PredictConfig) -> _Run:
            progress(title)
            return kept.get(title, lambda: score(settings))

        clean = run(CLEAN, cfg)
        black = run(BLACK, replace(cfg, depth_kind="black"))
        cells = []
        for step in steps:
            done = run(f"{step[1]} {step[2]}", replace(cfg, fault=make_fault(*step, seed)))
            cells.append(Cell(*step, done.scores, done.over_time))
    return RobustnessResult(measure, clean.scores, black.scores, tuple(cells), clean.over_time, black.over_time)


class _Run(NamedTuple):
    scores: dict[str, float]
    over_time: tuple[float, ...]


def _over_time(scores: Sequence[FrameScore]) -> tuple[float, ...]:
    """Mean S by the frame's place in its video, for as long as half of the videos last."""
    videos = [[score.s_measure for score in frames] for frames in by_video(scores).values()]
    length = int(np.median([len(frames) for frames in videos]))
    means = (np.mean([frames[place] for frames in videos if place < len(frames)]) for place in range(length))
    return tuple(round(float(mean), 6) for mean in means)


class _KeptRuns:
    """Scores by run, kept in a journal when there is one."""

    def __init__(self, path: Path | None, about: dict[str, Any]) -> None:
        lines = read_journal(path) if path else []
        changed = differing(about, lines[0]) if lines else []
        if changed:
            raise ConfigError(
                f"{path}: expected runs of the same weights, data and settings, got other {', '.join(changed)}; "
                "choose another --out or remove the file"
            )
        self._done = {line["run"]: _Run(line["scores"], tuple(line.get("over_time", ()))) for line in lines[1:]}
        self._journal = Journal(path, about, lines[1:]) if path else None

    def __enter__(self) -> _KeptRuns:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._journal:
            self._journal.close()

    def get(self, title: str, score: Callable[[], _Run]) -> _Run:
        """The scores of a run, which is made if it was not."""
        if title not in self._done:
            self._done[title] = score()
            if self._journal:
                self._journal.add({"run": title, **self._done[title]._asdict()})
        return self._done[title]
