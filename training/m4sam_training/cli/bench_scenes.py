# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""`m4sam bench scenes`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

if TYPE_CHECKING:
    from m4sam_training.bench.scenes import SceneScore


def command(
    minutes: Annotated[float, typer.Option(min=0.1, help="Video time to judge, per camera kind.")] = 20.0,
    seed: Annotated[int, typer.Option(min=0, help="Of clips, order and disturbances.")] = 0,
    sensitivity: Annotated[float, typer.Option(min=0, max=1, help="stream.scene.sensitivity.")] = 0.5,
    rgb_only: Annotated[bool, typer.Option("--rgb-only", help="Also judge a camera without depth.")] = False,
    clip: Annotated[
        Optional[list[Path]], typer.Option(help="Real clip of one scene (rgb/, depth/): must not reset. Repeatable.")
    ] = None,
    json_file: Annotated[Optional[Path], typer.Option("--json", help="Also write every figure to this file.")] = None,
) -> None:
    """Recall and false alarms of the scene-change detector on generated recordings with known cuts.

    Example: m4sam bench scenes --minutes 20 --clip recordings/desk
    """
    from rich.console import Console
    from rich.progress import Progress
    from rich.table import Table

    from m4sam_core.bench.model import machine
    from m4sam_core.config import SceneConfig
    from m4sam_core.host.files import write_json
    from m4sam_core.host.outputs import check_outputs
    from m4sam_core.predict_folder import list_frames
    from m4sam_core.rgbd.depth_files import read_depth
    from m4sam_core.rgbd.image_files import read_rgb
    from m4sam_training.bench.scenes import bench_scenes, undisturbed_score

    check_outputs(files=(json_file,))
    cfg, console = SceneConfig(sensitivity=sensitivity), Console(markup=False)
    rows: dict[str, SceneScore] = {}
    with Progress(console=console, transient=True) as progress:
        for name, with_depth in (("rgb and depth", True), ("rgb only", False)):
            if with_depth or rgb_only:
                bar = progress.add_task(name, total=minutes)

                def advance(done: float, bar: Any = bar) -> None:
                    progress.update(bar, completed=done)

                rows[name] = bench_scenes(seed, minutes, cfg, with_depth=with_depth, advance=advance)
    for folder in clip or []:
        files = list_frames(folder / "rgb", folder / "depth")
        views = [(read_rgb(file.rgb), read_depth(file.depth)) for file in files if file.depth is not None]
        rows[folder.name] = undisturbed_score(views, cfg)
    table = Table(title=f"Scene changes, sensitivity {sensitivity}")
    for heading in ("recording", "minutes", "cuts", "recall", "late", "missed", "false", "false / 10 min"):
        table.add_column(heading, justify="left" if heading == "recording" else "right")
    for name, row in rows.items():
        cells = [f"{row.seconds / 60:.1f}", str(row.cuts), f"{row.recall:.3f}", str(row.late)]
        false = sum(row.false_resets.values())
        table.add_row(name, *cells, str(sum(row.missed.values())), str(false), f"{row.false_per_10_min:.2f}")
    console.print(table)
    for name, row in rows.items():
        if row.false_resets or row.missed:
            console.print(f"{name}: false in {dict(row.false_resets)}, missed {dict(row.missed)}")
    if json_file:
        figures = {name: row.as_dict() for name, row in rows.items()}
        result = {"recordings": figures, "settings": cfg.model_dump(), "seed": seed, "machine": machine("cpu")}
        write_json(json_file, result)
