# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""`m4sam bench outputs`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer


def command(
    repeats: Annotated[int, typer.Option(min=1, help="Frames for each figure.")] = 60,
    json_file: Annotated[Optional[Path], typer.Option("--json", help="Also write every figure to this file.")] = None,
) -> None:
    """Processor time of a frame's outputs besides the mask, for a subscriber of one of them and of all.

    Example: m4sam bench outputs --json outputs.json
    """
    from rich.console import Console
    from rich.table import Table

    from m4sam_core.bench.model import machine_now
    from m4sam_core.host.files import write_json
    from m4sam_ros.bench.outputs import bench_outputs

    console = Console(markup=False)
    with console.status("measuring"):
        found = bench_outputs(repeats)
    table = Table(title="Processor time of a frame with three objects, ms")
    table.add_column("subscribed to")
    for size in found:
        table.add_column(size, justify="right")
    for topic in next(iter(found.values())):
        table.add_row(topic, *(f"{by_topic[topic]:.1f}" for by_topic in found.values()))
    console.print(table)
    if json_file:
        write_json(json_file, {"outputs_ms": found, "repeats": repeats, "machine": machine_now("cpu")})
