# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""`m4sam bench train`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Optional

import typer


def command(
    config: Annotated[Optional[Path], typer.Option(help="YAML settings; default: the release's.")] = None,
    assignments: Annotated[
        Optional[list[str]], typer.Option("--set", help="One setting, e.g. optim.amp=bf16. May be repeated.")
    ] = None,
    adapter: Annotated[
        Optional[list[str]], typer.Option(help="none, bottleneck, lora, conv_lora, moe_lora. May be repeated.")
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Steps timed, after one that warms up.")] = 3,
    data: Annotated[
        Optional[Path], typer.Option(help="Dataset for the pipeline; default: generated 640x480 clips.")
    ] = None,
    workers: Annotated[Optional[list[int]], typer.Option(min=0, help="Loader processes. May be repeated.")] = None,
    json_file: Annotated[Optional[Path], typer.Option("--json", help="Also write every figure to this file.")] = None,
) -> None:
    """Time and memory of training steps per adapter, and frames per second of the data pipeline.

    Example: m4sam bench train --set data.batch_size=1 --set data.clip_length=2 --adapter lora --adapter moe_lora
    """
    import tempfile

    from rich.console import Console

    from m4sam_core.bench.model import machine_now
    from m4sam_core.host.files import write_json
    from m4sam_core.host.outputs import check_outputs
    from m4sam_training.bench.training import bench_loader, bench_step_apart
    from m4sam_training.data.generate import generate_dataset
    from m4sam_training.train.config import load_train_config
    from m4sam_training.train.distributed import choose_device

    check_outputs(files=(json_file,))
    console = Console(markup=False)
    cfg = load_train_config(config, assignments or [])
    figures = []
    for kind in adapter or [cfg.model.adapter.kind]:
        with console.status(f"training steps with {kind}"):
            chosen = load_train_config(config, [*(assignments or []), f"model.adapter.kind={kind}"])
            figures.append(bench_step_apart(chosen, steps))
    with tempfile.TemporaryDirectory() as folder, console.status("data pipeline"):
        if data is None:
            data = Path(folder) / "data"
            generate_dataset(data, cfg.data.layout, videos=2, frames=16, height=480, width=640)
        pipeline = bench_loader(cfg, data, workers or [0, 2], batches=8)
    device = str(choose_device(cfg.run.device, 0))
    result = {
        "machine": machine_now(device),
        "settings": cfg.model_dump(mode="json"),
        "steps": [asdict(row) for row in figures],
        "pipeline": [asdict(row) for row in pipeline],
    }
    _show(console, result)
    if json_file:
        write_json(json_file, result)


def _show(console: Any, result: dict[str, Any]) -> None:
    from rich.table import Table

    machine, optim = result["machine"], result["settings"]["optim"]
    where = machine["gpu"] or f"{machine['cpu']}, {machine['threads']} threads"
    title = f"training steps, amp {optim['amp']}, recompute {'on' if optim['recompute'] else 'off'}, {where}"
    table = Table(title=title)
    for heading in ("adapter", "frames", "s/step", "frames/s", "kept GB", "peak GB", "trainable M"):
        table.add_column(heading, justify="left" if heading == "adapter" else "right")
    for row in result["steps"]:
        table.add_row(
            row["adapter"],
            str(row["frames"]),
            f"{row['step_s']:.2f}",
            f"{row['frames_per_s']:.2f}",
            f"{row['kept_gb']:.2f}",
            f"{row['peak_memory_gb']:.2f}",
            f"{row['trainable_parameters'] / 1e6:.2f}",
        )
    console.print(table)
    table = Table(title="data pipeline")
    table.add_column("loader processes", justify="right")
    table.add_column("RGB-D frames/s", justify="right")
    for row in result["pipeline"]:
        table.add_row(str(row["workers"]), f"{row['frames_per_s']:.1f}")
    console.print(table)
