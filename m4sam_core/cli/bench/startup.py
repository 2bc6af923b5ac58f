# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""`m4sam bench startup`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer


def command(
    model: Annotated[str, typer.Option(help="A name or a weights file.")] = "default",
    backend: Annotated[str, typer.Option(help="auto, torch, openvino or onnxruntime.")] = "auto",
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0 leaves the engine's choice.")] = 0,
    runs: Annotated[int, typer.Option(min=1, help="Processes measured, after one that fills the cache.")] = 3,
    json_file: Annotated[Optional[Path], typer.Option("--json", help="Also write every figure to this file.")] = None,
) -> None:
    """Where the time goes from an empty process to the first mask, with engines from the cache.

    Example: m4sam bench startup --backend openvino --json startup.json
    """
    from rich.console import Console
    from rich.table import Table

    from m4sam_core.bench.model import machine_now
    from m4sam_core.bench.startup import bench_startup
    from m4sam_core.host.files import write_json
    from m4sam_core.host.outputs import check_outputs

    check_outputs(files=(json_file,))
    console = Console(markup=False)
    with console.status("starting") as status:
        result = bench_startup(model, backend, threads, runs, status.update)
    result["machine"] = machine_now("cpu")
    table = Table(title=f"{model}, {backend}, median of {runs}, load {result['machine']['load_average_1min']:.1f}")
    for heading in ("stage", "ms", "CPU ms"):
        table.add_column(heading, justify="left" if heading == "stage" else "right")
    for name, stage in [*result["stages"].items(), ("total", result["total"])]:
        table.add_row(name, f"{stage['ms']:.0f}", f"{stage['cpu_ms']:.0f}")
    console.print(table)
    if json_file:
        write_json(json_file, result)
