# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""The robustness table on the terminal and as a chart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from rich.table import Column, Table

from m4sam_core.host.files import whole_file
from m4sam_core.host.optional import require
from m4sam_training.eval.robustness import BLACK, CLEAN, RobustnessResult


def robustness_table(result: RobustnessResult, title: str) -> Table:
    """One row per corruption: the score at every severity, mean resilience, worst harm."""
    measure = result.measure
    severities = sorted({cell.severity for cell in result.cells})
    table = Table(
        Column("corruption", no_wrap=True),
        *[str(s) for s in severities],
        "resilience",
        "worst harm",
        title=f"{title}, {measure}",
    )
    for name in dict.fromkeys(cell.corruption for cell in result.cells):
        cells = {cell.severity: cell for cell in result.cells if cell.corruption == name}
        scores = [f"{cells[s].scores[measure]:.3f}" if s in cells else "-" for s in severities]
        resilience = np.mean([result.resilience(cell) for cell in cells.values()])
        harm = min(result.harm(cell) for cell in cells.values())
        table.add_row(name, *scores, f"{resilience:.3f}", f"{harm:+.3f}")
    table.add_section()
    for name, scores_of in ((CLEAN, result.clean), (BLACK, result.black)):
        table.add_row(name, f"{scores_of[measure]:.3f}", *[""] * (len(severities) + 1))
    return table


def write_chart(path: Path, result: RobustnessResult) -> None:
    """Score over severity for every corruption, with the clean score and black depth as lines.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    require("matplotlib", "eval")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(cell.corruption for cell in result.cells))
    columns = min(5, len(names))
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(2.6 * columns, 2.1 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False, sharey=True).reshape(-1)
    for axis, name in zip(axes, names, strict=False):
        cells = sorted((c for c in result.cells if c.corruption == name), key=lambda c: c.severity)
        axis.axhline(result.clean[result.measure], color="tab:green", lw=1, label=CLEAN)
        axis.axhline(result.black[result.measure], color="black", lw=1, ls=":", label=BLACK)
        axis.plot([c.severity for c in cells], [c.scores[result.measure] for c in cells], "o-", color="tab:blue")
        axis.set_title(name.replace("_", " "), fontsize=9)
        axis.set_xticks([c.severity for c in cells])
        axis.grid(alpha=0.3)
    for axis in axes[len(names) :]:
        axis.set_visible(False)
    axes[0].legend(fontsize=7)
    figure.supxlabel("severity", fontsize=9)
    figure.supylabel(result.measure, fontsize=9)
    with whole_file(path) as draft:
        figure.savefig(draft, dpi=120)
