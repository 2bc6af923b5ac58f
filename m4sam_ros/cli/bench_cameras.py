# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""`m4sam bench cameras`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer


def command(
    cameras: Annotated[int, typer.Option(min=2, max=16, help="How many.")] = 3,
    model: Annotated[str, typer.Option(help="Weights, as the node takes them.")] = "default",
    backend: Annotated[str, typer.Option(help="As the node takes it.")] = "auto",
    masks: Annotated[int, typer.Option(min=1, help="Masks of each camera before memory is read.")] = 20,
    fps: Annotated[float, typer.Option(min=1, max=240, help="Frames per second of each camera.")] = 10.0,
    json_file: Annotated[Optional[Path], typer.Option("--json", help="Also write every figure to this file.")] = None,
) -> None:
    """Memory of several cameras in one process on one set of weights, beside one camera and separate processes.

    Example: m4sam bench cameras --cameras 3 --json cameras.json
    """
    from rich.console import Console
    from rich.table import Table

    from m4sam_core.bench.model import machine_now
    from m4sam_core.host.files import write_json
    from m4sam_ros.bench.cameras import bench_cameras, evenness

    console = Console(markup=False)
    with console.status("starting") as status:
        result = bench_cameras(cameras, model, backend, masks, fps, on_step=status.update)
    result["machine"] = machine_now("cpu")
    table = Table(title=f"{model}, {backend}, 640x480 at {fps:g} Hz each")
    for heading in ("cameras", "process", "resident MB", "masks of each", "least to most"):
        table.add_column(heading, justify="right")
    for case in result["cases"]:
        counts = ", ".join(str(one["masks"]) for one in case["each"])
        table.add_row(
            str(case["cameras"]), case["process"], f"{case['rss_mb']:.0f}", counts, f"{evenness(case['each']):.2f}"
        )
    console.print(table)
    console.print(
        f"shared: {result['shared_to_one']:.2f} times one camera; separate: {result['separate_to_one']:.2f} times"
    )
    if json_file:
        write_json(json_file, result)
