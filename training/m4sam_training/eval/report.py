# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""What an evaluation leaves behind: tables, JSON, CSV, curves and the worst frames as pictures."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from rich.table import Column, Table

from m4sam_core.host.files import whole_file
from m4sam_core.host.optional import require
from m4sam_core.rgbd.image_files import write_png
from m4sam_core.rgbd.pictures import contact_sheet, draw_overlay, fit_picture
from m4sam_training.eval.protocols import PUBLISHED, QUOTED
from m4sam_training.eval.scoring import FrameScore, by_video, summary

_TILE_PX = (320, 240)
_LABELS = {"E_mean": "E mean", "E_max": "E max", "E_adaptive": "E adaptive", "F_mean": "F mean", "F_max": "F max"}
_LABELS["F_adaptive"] = "F adaptive"
_LABELS |= {"E_dvsod": "E dvsod", "F_dvsod": "F dvsod", "E_soft": "E soft", "F_mean_pr": "F mean PR"}


def score_table(dataset: str, title: str, rows: Mapping[str, Mapping[str, float]]) -> Table:
    """Our rows above the paper's for this dataset; a score the paper does not give is a dash."""
    columns = list(dict.fromkeys(name for row in rows.values() for name in row))
    table = Table(Column("", no_wrap=True), *[_LABELS.get(name, name) for name in columns], title=title)
    for name, values in rows.items():
        table.add_row(name, *[_number(values.get(column)) for column in columns], style="bold")
    table.add_section()
    published = PUBLISHED.get(dataset, {})
    for name, values in published.items() if len(rows) == 1 else list(published.items())[:1]:
        table.add_row(f"paper: {name}", *[_number(values.get(column)) for column in columns])
    table.add_section()
    for quoted in QUOTED.get(dataset, ()):
        if quoted.scores.keys() & set(columns):
            cells = [_number(quoted.scores.get(column)) for column in columns]
            table.add_row(f"quoted: {quoted.method} ({quoted.source})", *cells, style="dim")
    return table


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def write_csv(path: Path, scores: Sequence[FrameScore]) -> None:
    """One row per video, then one for all frames."""
    with whole_file(path) as draft, draft.open("w", newline="") as file:
        groups = {**by_video(scores), "(all frames)": list(scores)}
        names = list(summary(scores))
        writer = csv.writer(file)
        writer.writerow(["video", "frames", *names])
        for video, frames in groups.items():
            values = summary(frames)
            writer.writerow([video, len(frames), *[f"{values[name]:.6f}" for name in names]])


def write_curves(path: Path, scores: Sequence[FrameScore], label: str) -> None:
    """Precision-recall, F and E over the threshold, in one picture.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    require("matplotlib", "eval")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    thresholds = np.arange(255, -1, -1)
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    curve, f_axis, e_axis = figure.subplots(1, 3)
    mean = {name: np.mean([getattr(s, name) for s in scores], axis=0) for name in ("precision", "recall")}
    curve.plot(mean["recall"], mean["precision"], label=label)
    curve.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))
    for axis, name, what in ((f_axis, "f_curve", "F-measure"), (e_axis, "e_curve", "E-measure")):
        axis.plot(thresholds, np.mean([getattr(score, name) for score in scores], axis=0), label=label)
        axis.set(xlabel="threshold", ylabel=what, xlim=(0, 255), ylim=(0, 1.02))
    for axis in (curve, f_axis, e_axis):
        axis.grid(alpha=0.3)
        axis.legend(loc="lower left")
    with whole_file(path) as draft:
        figure.savefig(draft, dpi=120)


class WorstFrames:
    """Keeps the frames with the lowest S-measure while an evaluation runs, and draws them."""

    def __init__(self, count: int) -> None:
        """Keep `count` frames."""
        self._count = count
        self._kept: list[tuple[float, str, np.ndarray]] = []

    def add(self, score: FrameScore, rgb: np.ndarray, ground_truth: np.ndarray, prediction: np.ndarray) -> None:
        """Consider one frame: rgb (H, W, 3), ground truth and prediction (H, W), all uint8."""
        full = len(self._kept) >= self._count
        if self._count < 1 or (full and score.s_measure >= self._kept[-1][0]):
            return
        caption = f"{score.video}/{score.stem}  S {score.s_measure:.2f}  MAE {score.mae:.2f}"
        left = draw_overlay(rgb, ground_truth, color=(0, 220, 90), caption=caption)
        right = draw_overlay(rgb, prediction, caption="predicted")
        tile = np.concatenate([fit_picture(side, *_TILE_PX) for side in (left, right)], axis=1)
        self._kept.append((score.s_measure, f"{score.video}/{score.stem}", tile))
        self._kept.sort(key=lambda item: item[:2])
        del self._kept[self._count :]

    def write(self, path: Path) -> None:
        """Write the sheet, worst first; ground truth left (green), prediction right."""
        if self._kept:
            write_png(path, contact_sheet([tile for _, _, tile in self._kept], columns=2))
