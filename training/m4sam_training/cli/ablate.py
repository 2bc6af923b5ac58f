# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""`m4sam ablate`: the paper's ablations, trained and scored one after another."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Optional

import typer
from rich.console import Console

TABLE_COLUMNS = 140


def command(
    data: Path = typer.Option(..., "--data", help="Folder of the dataset."),
    out: Path = typer.Option(..., "--out", help="Folder of all runs and of ablation.json. Finished rows are kept."),
    config: Optional[Path] = typer.Option(None, "--config", help="YAML settings of every row, a file or a name."),
    assignments: list[str] = typer.Option([], "--set", help="One setting for every row, e.g. optim.epochs=5."),
    only: list[str] = typer.Option(
        [], "--only", help="adapter, top-k, memory, feature, depth or clip. May be repeated."
    ),
    processes: int = typer.Option(1, min=1, max=64, help="Training processes (GPUs) per row."),
    split: str = typer.Option("test", help="What is scored: train, val or test."),
    dry_run: bool = typer.Option(False, "--dry-run", help="Only print the training commands."),
) -> None:
    """Train and score the paper's variants and print them beside its numbers."""
    from m4sam_core.host.files import write_json
    from m4sam_core.host.outputs import check_outputs
    from m4sam_training.eval.ablate import AblationJob, ablation_table, as_list, choose_variants, run_variant

    console = Console(markup=False, soft_wrap=True)
    job = AblationJob(config, tuple(assignments), data, out, processes, split)
    variants = choose_variants(only)
    configs = [job.train_config(variant) for variant in variants]
    if dry_run:
        for line in dict.fromkeys(shlex.join(job.command(variant)) for variant in variants):
            typer.echo(line)
        return
    check_outputs(folders=(out,))
    rows = []
    for variant in variants:
        console.print(f"{variant.group}: {variant.name}")
        rows.append((variant, run_variant(job, variant)))
        write_json(out / "ablation.json", as_list(rows))
    console.width = max(console.width, TABLE_COLUMNS)
    console.print(ablation_table(rows, configs[0].data.layout))
