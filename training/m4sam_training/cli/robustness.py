# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""`m4sam robustness`: score a checkpoint under sensor faults."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

import typer
from rich.console import Console


def command(
    dataset: str = typer.Option(..., "--dataset", help="Layout: rdvs, vidsod100, dvisal or m4sam."),
    data: Path = typer.Option(..., "--data", help="The dataset's folder."),
    checkpoint: str = typer.Option(..., help="A name (default, edge), ours (.safetensors) or a published one (.pth)."),
    split: str = typer.Option("test", help="train, val or test."),
    mode: str = typer.Option("clip", help="clip: as published; stream: as the robot runs it."),
    corruption: Optional[list[str]] = typer.Option(None, help="Only this one; may be repeated. Default: all 17."),
    severity: Optional[list[int]] = typer.Option(None, help="Only this one; may be repeated. Default: all."),
    measure: str = typer.Option("S", help="S, E_mean or F_adaptive, for table and chart."),
    seed: int = typer.Option(0, min=0, help="Of the corruptions."),
    device: str = typer.Option("auto", help="auto, cpu, cuda or cuda:N."),
    out: Optional[Path] = typer.Option(
        None, help="Folder for robustness.png and robustness.jsonl, from which a stopped run goes on."
    ),
    json_path: Optional[Path] = typer.Option(None, "--json", help="Write every number here."),
) -> None:
    """Score, resilience and harm under 13 depth and 4 rgb corruptions."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    from m4sam_core.cli.choices import load_for_evaluation, one_of
    from m4sam_core.download import sha256_of
    from m4sam_core.host.files import write_json
    from m4sam_core.host.outputs import check_outputs
    from m4sam_core.model_files import resolve_model
    from m4sam_training.data.scan import scan_split
    from m4sam_training.eval.predict_dataset import PredictConfig
    from m4sam_training.eval.robustness import plan, run_robustness
    from m4sam_training.eval.robustness_report import robustness_table, write_chart

    check_outputs(folders=(out,), files=(json_path,))
    scan = scan_split(data, dataset, split)
    for line in scan.flaws():
        typer.echo(line, err=True)
    steps = plan(corruption or (), severity or ())
    weights = resolve_model(checkpoint)
    model = load_for_evaluation(weights, device)
    about = {"weights": sha256_of(weights), "dataset": dataset, "data": str(data.resolve()), "split": split}
    columns = (TextColumn("{task.description:20}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn()) as bar:
        task = bar.add_task("clean", total=len(steps) + 2, completed=-1)

        def progress(title: str) -> None:
            bar.update(task, advance=1, description=title)

        cfg = PredictConfig(one_of("mode", mode, ("clip", "stream")))
        journal = out / "robustness.jsonl" if out else None
        result = run_robustness(model, scan, cfg, steps, measure, seed, progress, journal, about)
        bar.update(task, advance=1)
    Console(markup=False, soft_wrap=True).print(
        robustness_table(result, f"{scan.layout.title} {split}, {scan.frame_count} frames")
    )
    if (warning := scan.warning()) is not None:
        typer.echo(warning)
    if json_path:
        source = {
            "dataset": dataset,
            "split": split,
            "checkpoint": checkpoint,
            "weights": about["weights"],
            "mode": mode,
            "seed": seed,
        }
        write_json(json_path, {**source, **result.as_dict()})
    if out:
        write_chart(out / "robustness.png", result)
