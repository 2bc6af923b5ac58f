# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""The tables of the paper with our rows, its own, and those quoted from other papers: on the terminal, JSON and CSV."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations, groupby
from pathlib import Path
from typing import Any, Literal, Optional

import torch
from rich import box
from rich.table import Column, Table

from m4sam_core.host.files import whole_file
from m4sam_training.eval.ablate import SCORES, Variant
from m4sam_training.eval.protocols import PUBLISHED, QUOTED

WIDE_COLUMNS = 120
COMPARISON = "comparison"
_LEAD = "the paper's mean lead in E over the three datasets: MDSAM 6.9 %, SAM2-UNet 7.6 %, KAN-SAM 2.9 %"


@dataclass(frozen=True)
class Row:
    """A line of a table: measured here, the paper's, or quoted from another paper.

    Attributes:
        table: the paper's table it belongs to, a group of `VARIANTS`.
        dataset: layout of the dataset.
        name: what is varied, or the method.
        kind: where the figures come from. Quoted rows are never ranked with others: their protocols differ.
        E_mean, S, F_adaptive, MAE: scores; None where they are not given.
        memory_gb: training memory. Gigabytes (1e9).
        trainable_parameters: how many weights are trained.
        clips_per_s: speed of training.
        source: folder of the run, or the paper.
        protocol: how was scored.
        settings: `key=value` on top of the run's own, and a note.
    """

    table: str
    dataset: str
    name: str
    kind: Literal["measured", "paper", "quoted"]
    E_mean: Optional[float] = None
    S: Optional[float] = None
    F_adaptive: Optional[float] = None
    MAE: Optional[float] = None
    memory_gb: Optional[float] = None
    trainable_parameters: Optional[int] = None
    clips_per_s: Optional[float] = None
    source: str = ""
    protocol: str = "m4sam"
    settings: str = ""


def collect(results: Sequence[tuple[Variant, dict[str, Any]]], dataset: str) -> list[Row]:
    """Every line of the tables that `results` belong to, in order.

    Args:
        results: rows with what `run_variant` found.
        dataset: layout of the dataset they were scored on.
    """
    rows: list[Row] = []
    published = PUBLISHED.get(dataset, {})
    for group, members in groupby(results, key=lambda item: item[0].group):
        for variant, result in members:
            settings = "; ".join([*variant.settings, *([variant.note] if variant.note else [])])
            rows.append(
                Row(
                    group,
                    dataset,
                    variant.name,
                    "measured",
                    **{name: result[name] for name in SCORES},
                    memory_gb=result["peak_memory_gb"],
                    trainable_parameters=result["trainable_parameters"],
                    clips_per_s=result["clips_per_s"],
                    source=variant.folder,
                    settings=settings,
                )
            )
            paper: dict[str, Any] = dict(published.get(variant.paper, {}))
            if paper or (variant.paper_memory_gb and dataset == "rdvs"):
                memory = variant.paper_memory_gb if dataset == "rdvs" else None
                rows.append(
                    Row(group, dataset, variant.name, "paper", **paper, memory_gb=memory, source="M4-SAM, CVPR 2026")
                )
        if group == COMPARISON:
            for quoted in QUOTED.get(dataset, ()):
                scores: dict[str, Any] = dict(quoted.scores)
                where: dict[str, Any] = {"source": quoted.source, "protocol": quoted.protocol}
                rows.append(Row(group, dataset, quoted.method, "quoted", **scores, **where))
    return rows


def as_tables(rows: Sequence[Row], width: int) -> Iterator[Table | str]:
    """The rows as rich tables, each followed by its notes; from 120 columns on with what each line is.

    Args:
        rows: from `collect`.
        width: columns of the terminal, at least 80.
    """
    memory = "GB GPU" if torch.cuda.is_available() else "GB RAM"
    for (dataset, group), lines in groupby(rows, key=lambda row: (row.dataset, row.table)):
        columns = [Column(group, no_wrap=True, width=27)]
        columns += [Column(name, justify="right", no_wrap=True) for name in ("E", "S", "F", "MAE")]
        columns += [Column(name, justify="right", no_wrap=True) for name in (memory, "M par.", "clip/s")]
        wide = width >= WIDE_COLUMNS
        columns += [Column("what it is", overflow="fold")] if wide else []
        table = Table(*columns, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), title=f"{dataset}: {group}", show_edge=False)
        notes: list[str] = []
        for row in lines:
            table.add_row(
                _label(row, notes),
                *[_number(getattr(row, name), 3) for name in SCORES],
                _number(row.memory_gb, 2),
                _number(row.trainable_parameters and row.trainable_parameters / 1e6, 2),
                _number(row.clips_per_s, 1),
                *([row.settings if row.kind == "measured" else ""] if wide else []),
                style={"measured": "bold", "paper": "", "quoted": "dim"}[row.kind],
            )
        yield table
        yield from notes
        if group == COMPARISON:
            yield f"quoted rows are copied, not measured here, and not to be ranked with the others; {_LEAD}"


def equal_rows(rows: Sequence[Row]) -> list[str]:
    """One line for each pair of runs of one dataset that differ in settings and not in a single score.

    A setting that changes nothing, or masks that are all empty: such rows compare nothing.
    """
    runs: dict[tuple[str, str], Row] = {}
    for row in rows:
        if row.kind == "measured":
            runs.setdefault((row.dataset, row.source), row)
    return [
        f"{one.dataset}: {one.table} {one.name} and {other.table} {other.name} have the same scores to the last digit; "
        "either their masks are empty or a setting does nothing"
        for one, other in combinations(runs.values(), 2)
        if one.dataset == other.dataset and all(getattr(one, name) == getattr(other, name) for name in SCORES)
    ]


def _label(row: Row, notes: list[str]) -> str:
    if row.kind == "measured":
        return row.name
    if row.kind == "paper":
        return "  the paper's"
    note = f"{row.source}; protocol: {row.protocol}"
    known = [text.split("] ", 1)[1] for text in notes]
    if note not in known:
        notes.append(f"[{len(notes) + 1}] {note}")
        known.append(note)
    return f"quoted: {row.name} [{known.index(note) + 1}]"


def _number(value: float | None, digits: int) -> str:
    if value is None:
        return "-"
    return f"{value:.{digits}f}".removeprefix("0") if digits == 3 else f"{value:.{digits}f}"


def as_list(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """All lines as plain values, for JSON."""
    return [asdict(row) for row in rows]


def write_csv(path: Path, rows: Sequence[Row]) -> None:
    """One line per row, every field of `Row` a column; a figure that is not given is empty."""
    with whole_file(path) as draft, draft.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(Row.__dataclass_fields__))
        writer.writeheader()
        writer.writerows(as_list(rows))
