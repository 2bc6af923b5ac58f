# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""`m4sam ablate`: the paper's tables, trained and scored row by row."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Optional

import typer
from rich.console import Console

if TYPE_CHECKING:
    from m4sam_training.eval.ablate_report import Row

NARROWEST = 80


def command(
    data: list[str] = typer.Option(
        ..., "--data", help="Folder of the dataset, or LAYOUT=FOLDER; may be repeated with other layouts."
    ),
    out: Path = typer.Option(..., "--out", help="Folder of all runs, ablation.json and .csv. Finished rows are kept."),
    config: Optional[Path] = typer.Option(
        None, "--config", help="YAML settings of every row, a file or a name. Default: the layout's own."
    ),
    assignments: list[str] = typer.Option([], "--set", help="One setting for every row, e.g. optim.epochs=5."),
    only: list[str] = typer.Option(
        [], "--only", help="comparison, adapter, top-k, memory, feature, depth or clip. May be repeated."
    ),
    processes: int = typer.Option(1, min=1, max=64, help="Training processes (GPUs) per row."),
    split: str = typer.Option("test", help="What is scored: train, val or test."),
    dry_run: bool = typer.Option(False, "--dry-run", help="Only print the training commands."),
) -> None:
    """Train and score the rows of the paper's tables and print them beside its numbers and those of other papers."""
    from m4sam_core.bench.model import machine_now
    from m4sam_core.host.files import write_json
    from m4sam_core.host.outputs import check_outputs
    from m4sam_training.eval.ablate import choose_variants, make_jobs, run_variant
    from m4sam_training.eval.ablate_report import as_list, as_tables, collect, equal_rows, write_csv
    from m4sam_training.train.distributed import choose_device

    console = Console(markup=False, highlight=False)
    jobs = make_jobs(data, config, assignments, out, processes, split)
    variants = choose_variants(only)
    configs = [job.train_config(variant) for job in jobs for variant in variants]
    if dry_run:
        for line in dict.fromkeys(shlex.join(job.command(variant)) for job in jobs for variant in variants):
            typer.echo(line)
        return
    check_outputs(folders=(out,))
    about = {
        "machine": machine_now(str(choose_device(configs[0].run.device, 0))),
        "split": split,
        "config": str(config) if config else None,
        "settings": assignments,
    }
    rows: list[Row] = []
    for job in jobs:
        before, results = rows, []
        seen: dict[str, str] = {}
        for number, variant in enumerate(variants, start=1):
            name = f"{variant.group}: {variant.name}"
            same = f" (the same run as {seen[variant.folder]})" if variant.folder in seen else ""
            seen.setdefault(variant.folder, name)
            console.print(f"{job.dataset} {number}/{len(variants)} {name}{same}", soft_wrap=True)
            results.append((variant, run_variant(job, variant)))
            rows = before + collect(results, job.dataset)
            write_json(out / "ablation.json", {**about, "rows": as_list(rows)})
            write_csv(out / "ablation.csv", rows)
    console.width = max(console.width, NARROWEST)
    for part in as_tables(rows, console.width):
        console.print(part)
    for line in equal_rows(rows):
        console.print(f"warning: {line}", soft_wrap=True)
