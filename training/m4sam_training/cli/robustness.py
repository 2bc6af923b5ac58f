# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""`m4sam robustness`: score checkpoints under sensor faults."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

import typer
from rich.console import Console

if TYPE_CHECKING:
    from m4sam_training.data.videos import Scan
    from m4sam_training.eval.predict_dataset import PredictConfig


def command(
    checkpoint: list[str] = typer.Option(
        ..., help="A name (default, edge), ours (.safetensors) or a published one (.pth); may be repeated to compare."
    ),
    dataset: str = typer.Option("m4sam", "--dataset", help="Layout: rdvs, vidsod100, dvisal or m4sam."),
    data: Optional[Path] = typer.Option(None, "--data", help="The dataset's folder. Default: generated clips."),
    split: str = typer.Option("test", help="train, val or test."),
    clips: int = typer.Option(4, min=1, max=1000, help="Generated clips, without --data."),
    frames: int = typer.Option(12, min=1, max=1000, help="Frames of each, without --data."),
    mode: str = typer.Option("clip", help="clip: as published; stream: as the robot runs it."),
    mask_values: str = typer.Option(
        "auto", help="Salient values of the ground truth: auto, bright, nonzero, alpha, or 1,3-5."
    ),
    depth_coding: str = typer.Option("plain", help="How distance stands in depth files, see docs/datasets.md."),
    corruption: Optional[list[str]] = typer.Option(None, help="Only this one; may be repeated. Default: all 17."),
    severity: Optional[list[int]] = typer.Option(None, help="Only this one; may be repeated. Default: all."),
    measure: str = typer.Option("S", help="S, E_mean or F_adaptive, for table and chart."),
    seed: int = typer.Option(0, min=0, help="Of the corruptions."),
    device: str = typer.Option("auto", help="auto, cpu, cuda or cuda:N."),
    out: Optional[Path] = typer.Option(
        None, help="Folder for the charts and robustness*.jsonl, from which a stopped run goes on."
    ),
    json_path: Optional[Path] = typer.Option(None, "--json", help="Write every number here."),
    page: Optional[Path] = typer.Option(None, help="Put the table between the marks of this Markdown file."),
) -> None:
    """Score, resilience and harm under 13 depth and 4 rgb corruptions."""
    import tempfile

    from m4sam_core.cli.choices import one_of
    from m4sam_core.errors import ConfigError
    from m4sam_core.host.files import write_json
    from m4sam_core.host.outputs import check_outputs, only_user
    from m4sam_core.rgbd.depth_files import DEPTH_CODINGS
    from m4sam_core.rgbd.masks import MaskRule
    from m4sam_training.data.scan import scan_split
    from m4sam_training.eval.predict_dataset import PredictConfig
    from m4sam_training.eval.robustness import MEASURES, plan
    from m4sam_training.eval.robustness_report import (
        around_table,
        robustness_table,
        update_page,
        write_chart,
        write_over_time,
    )

    check_outputs(folders=(out,), files=(json_path, page))
    if data is None and (dataset, split, mask_values, depth_coding) != ("m4sam", "test", "auto", "plain"):
        raise ConfigError(
            "--dataset, --split, --mask-values, --depth-coding: expected --data with them, got none; without it clips "
            "are generated"
        )
    rule, coding = MaskRule.parse(mask_values), one_of("depth_coding", depth_coding, DEPTH_CODINGS)
    if page is not None:
        around_table(page)
    cfg = PredictConfig(one_of("mode", mode, ("clip", "stream")))
    measure = one_of("measure", measure, MEASURES)
    steps = plan(corruption or (), severity or ())
    with only_user(out), tempfile.TemporaryDirectory(prefix="m4sam_clips_") as scratch:
        where = data or _generated(Path(scratch) / "clips", clips, frames)
        scan = scan_split(where, dataset, split, "real", rule, coding)
        for line in scan.flaws():
            typer.echo(line, err=True)
        source = str(data.resolve()) if data else f"generated, {clips} clips of {frames} frames"
        settings = {"dataset": dataset, "source": source, "split": split, "mode": mode, "seed": seed, "device": device}
        settings |= {"mask_values": mask_values, "depth_coding": depth_coding}
        results, values = {}, {}
        for name, own in _apart(checkpoint).items():
            journal = out / f"robustness{own}.jsonl" if out else None
            results[name], weights = _measure(name, scan, cfg, steps, settings, measure, journal)
            about = {**settings, "checkpoint": name, "weights": weights}
            about |= {"videos": len(scan.videos), "frames": scan.frame_count}
            values[name] = {**about, **results[name].as_dict()}
    console = Console(markup=False, soft_wrap=True)
    for name, result in results.items():
        title = f"{scan.layout.title} {split}" if data else source
        console.print(robustness_table(result, f"{name} on {title}, {scan.frame_count} frames"))
    if (warning := scan.warning()) is not None:
        console.print(warning)
    whole: dict[str, Any] = {"models": values} if len(values) > 1 else next(iter(values.values()))
    if json_path:
        write_json(json_path, whole)
    if page:
        update_page(page, whole)
    if out:
        write_chart(out / "robustness.png", results)
        write_over_time(out / "over_time.png", next(iter(results.values())))


def _apart(checkpoints: list[str]) -> dict[str, str]:
    """What tells the journal of each model from the others': nothing, its file's name, or its number too."""
    names = list(dict.fromkeys(checkpoints))
    if len(names) == 1:
        return {names[0]: ""}
    stems = [Path(name).stem for name in names]
    alike = len(set(stems)) < len(stems)
    return {
        name: f"_{number}_{stem}" if alike else f"_{stem}"
        for number, (name, stem) in enumerate(zip(names, stems, strict=True), 1)
    }


def _generated(folder: Path, clips: int, frames: int) -> Path:
    """Plain rooms and scenes that are hard without depth, in turn."""
    from m4sam_training.data.generate import generate_dataset
    from m4sam_training.synth.clip import draw_room
    from m4sam_training.synth.scenes.situations import draw_situation

    typer.echo(f"generating {clips} clips of {frames} frames", err=True)
    generate_dataset(folder, "m4sam", clips, frames, seed=_SEED, splits=("test",), kinds=(draw_room, draw_situation))
    return folder


_READ_SO = ("dataset", "source", "split", "mask_values", "depth_coding")
_SEED = 7_000_000
"""Of the generated clips; far from those that anything was trained on."""


def _measure(
    name: str, scan: Scan, cfg: PredictConfig, steps: Any, settings: dict[str, Any], measure: str, journal: Path | None
) -> tuple[Any, str]:
    """The table of one model, and the hash of its weights."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    from m4sam_core.cli.choices import load_for_evaluation
    from m4sam_core.download import sha256_of
    from m4sam_core.model_files import resolve_model
    from m4sam_training.eval.robustness import run_robustness

    file = resolve_model(name)
    model, weights = load_for_evaluation(file, settings["device"]), sha256_of(file)
    about = {"weights": weights, **{key: settings[key] for key in _READ_SO}}
    columns = (TextColumn("{task.description:20}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn()) as bar:
        task = bar.add_task("clean", total=len(steps) + 2, completed=-1)

        def progress(title: str) -> None:
            bar.update(task, advance=1, description=title)

        result = run_robustness(model, scan, cfg, steps, measure, settings["seed"], progress, journal, about)
        bar.update(task, advance=1)
    return result, weights
