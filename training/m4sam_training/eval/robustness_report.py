# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Robustness tables of one or several models: on the terminal, in a page and as charts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Column, Table

from m4sam_core.errors import ConfigError
from m4sam_core.host.files import whole_file, write_text
from m4sam_core.host.optional import require
from m4sam_training.data.corruptions import RGB_CORRUPTIONS
from m4sam_training.eval.robustness import BLACK, CLEAN, RobustnessResult

Results = Mapping[str, RobustnessResult]
"""Tables by the name of their model."""
MARKS = ("<!-- robustness table -->", "<!-- end of table -->")
_OVER_TIME = {"depth_lag": "depth is late", "frame_loss": "depth is missing now and then"}
_COLOURS = ("tab:blue", "tab:orange", "tab:purple", "tab:red", "tab:brown", "tab:pink")
_DPI = 70


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
    for name in _names(result):
        cells = {cell.severity: cell for cell in result.of(name)}
        scores = [f"{cells[s].scores[measure]:.3f}" if s in cells else "-" for s in severities]
        table.add_row(name, *scores, f"{_resilience(result, name):.3f}", f"{_harm(result, name):+.3f}")
    table.add_section()
    for name, scores_of in ((CLEAN, result.clean), (BLACK, result.black)):
        table.add_row(name, f"{scores_of[measure]:.3f}", *[""] * (len(severities) + 1))
    return table


def markdown_table(results: Results) -> str:
    """Resilience (mean over the severities) and worst harm of every corruption, two columns for each model."""
    first = next(iter(results.values()))
    head = ["corruption", *(f"{model}: {what}" for model in results for what in ("resilience", "worst harm"))]
    rows = [head, ["---"] * len(head)]
    for name in _names(first):
        cells = [text for r in results.values() for text in (f"{_resilience(r, name):.3f}", f"{_harm(r, name):+.3f}")]
        rows.append([f"`{name}` (rgb)" if name in RGB_CORRUPTIONS else f"`{name}`", *cells])
    for title, pick in (("clean", "clean"), ("black depth", "black")):
        scores = [text for r in results.values() for text in (f"{first.measure} {getattr(r, pick)[r.measure]:.3f}", "")]
        rows.append([f"*{title}*", *scores])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def page_text(values: Mapping[str, Any]) -> str:
    """What stands between the marks of a page, from the JSON that the command wrote."""
    models = values.get("models") or {str(values["checkpoint"]): values}
    results = {name: RobustnessResult.from_dict(entry) for name, entry in models.items()}
    one = next(iter(models.values()))
    about = (
        f"{one['measure']} of {one['frames']} frames in {one['videos']} videos ({one['source']}), mode {one['mode']}, "
        f"seed {one['seed']}, severities {_severities(one)}; weights "
        + ", ".join(f"{name} `{entry['weights'][:12]}`" for name, entry in models.items())
        + "."
    )
    return f"{about}\n\n{markdown_table(results)}"


def _severities(values: Mapping[str, Any]) -> str:
    return ", ".join(map(str, sorted({cell["severity"] for cell in values["cells"]})))


def update_page(page: Path, values: Mapping[str, Any]) -> None:
    """Put the table of a JSON between the marks of a page.

    Raises:
        ConfigError: see `around_table`.
    """
    head, tail = around_table(page)
    write_text(page, f"{head}\n{page_text(values)}\n{tail}")


def around_table(page: Path) -> tuple[str, str]:
    """What stands before and after the table of a page, with the marks.

    Raises:
        ConfigError: the page cannot be read, or has no marks.
    """
    try:
        head, begin, rest = page.read_text(encoding="utf-8").partition(MARKS[0])
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{page}: expected a Markdown file, got {error}; check --page") from None
    _, end, tail = rest.partition(MARKS[1])
    if not begin or not end:
        raise ConfigError(f"{page}: expected the marks {MARKS[0]} and {MARKS[1]}, got none; add them")
    return head + begin, end + tail


def write_chart(path: Path, results: Results) -> None:
    """Score over severity for every corruption, with the clean score (dashed) and black depth (dotted) as lines.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    names = _names(next(iter(results.values())))
    columns = min(5, len(names))
    rows = -(-len(names) // columns)
    figure = _figure(2.6 * columns, 2.1 * rows)
    axes = figure.subplots(rows, columns, squeeze=False, sharey=True).reshape(-1)
    for axis, name in zip(axes, names, strict=False):
        for colour, (model, result) in zip(_COLOURS * len(results), results.items(), strict=False):
            cells = result.of(name)
            label = f"{'/'.join(Path(model).parts[-2:])}, " if len(results) > 1 else ""
            axis.axhline(result.clean[result.measure], color=colour, lw=1, ls="--", label=f"{label}{CLEAN}")
            axis.axhline(result.black[result.measure], color=colour, lw=1, ls=":", label=f"{label}{BLACK}")
            scores = [c.scores[result.measure] for c in cells]
            axis.plot([c.severity for c in cells], scores, "o-", color=colour, ms=3)
            axis.set_xticks([c.severity for c in cells])
        axis.set_title(name.replace("_", " "), fontsize=9)
        axis.grid(alpha=0.3)
    for axis in axes[len(names) :]:
        axis.set_visible(False)
    axes[0].legend(fontsize=7)
    figure.supxlabel("severity", fontsize=9)
    figure.supylabel(next(iter(results.values())).measure, fontsize=9)
    with whole_file(path) as draft:
        figure.savefig(draft, dpi=_DPI)


def write_over_time(path: Path, result: RobustnessResult) -> bool:
    """S over the frames of a video while depth is late or missing; False where neither was measured.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    shown = [name for name in _OVER_TIME if any(cell.over_time for cell in result.of(name))]
    if not shown:
        return False
    figure = _figure(4.5 * len(shown), 2.8)
    axes = figure.subplots(1, len(shown), squeeze=False, sharey=True)[0]
    for axis, name in zip(axes, shown, strict=True):
        frames = range(1, len(result.clean_over_time) + 1)
        axis.plot(frames, result.clean_over_time, color="black", ls="--", label=CLEAN)
        axis.plot(frames, result.black_over_time, color="black", ls=":", label=BLACK)
        for cell in result.of(name):
            shade = 0.25 + 0.15 * cell.severity
            axis.plot(frames, cell.over_time, color=(shade, 0.2, 1 - shade), lw=1, label=f"severity {cell.severity}")
        axis.set(title=_OVER_TIME[name], xlabel="frame")
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("S")
    axes[-1].legend(fontsize=7)
    with whole_file(path) as draft:
        figure.savefig(draft, dpi=_DPI)
    return True


def _figure(width: float, height: float) -> Any:
    require("matplotlib", "eval")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _names(result: RobustnessResult) -> list[str]:
    return list(dict.fromkeys(cell.corruption for cell in result.cells))


def _resilience(result: RobustnessResult, name: str) -> float:
    return float(np.mean([result.resilience(cell) for cell in result.of(name)]))


def _harm(result: RobustnessResult, name: str) -> float:
    return min(result.harm(cell) for cell in result.of(name))
