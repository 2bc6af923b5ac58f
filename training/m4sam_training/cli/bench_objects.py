# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""`m4sam bench objects`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Optional

import typer


def command(
    clips: Annotated[int, typer.Option(min=1, help="Generated clips.")] = 10,
    frames: Annotated[int, typer.Option(min=30, help="Frames of each; 60 and more hold an occlusion of 2 s.")] = 75,
    json_file: Annotated[Optional[Path], typer.Option("--json", help="Also write every figure to this file.")] = None,
) -> None:
    """Position and identity of objects on generated clips whose truth is known, with every depth fault at severity 3.

    The masks are the true ones with a wavering outline: what is measured is everything after the network.

    Example: m4sam bench objects --json objects.json
    """
    from rich.console import Console

    from m4sam_core.bench.model import machine
    from m4sam_core.host.files import write_json
    from m4sam_core.host.outputs import check_outputs
    from m4sam_training.bench.objects import bench_objects

    check_outputs(files=(json_file,))
    console = Console(markup=False)
    with console.status("starting") as status:
        result = bench_objects(clips, frames, status.update)
    _show(console, result)
    if json_file:
        write_json(json_file, {**result, "clips": clips, "frames": frames, "machine": machine("cpu")})


def _show(console: Any, result: dict[str, Any]) -> None:
    from rich.table import Table

    table = Table(title="Centroid of the visible surface, error in percent of its distance")
    for heading in ("depth fault", "objects", "median %", "p95 %", "without position", "missed"):
        table.add_column(heading, justify="left" if heading == "depth fault" else "right")
    for name, row in result["position"].items():
        table.add_row(name, *("-" if value is None else f"{value:g}" for value in row.values()))
    console.print(table)
    for name, row in result["identity"].items():
        console.print(
            f"{name}: {row['consistency']:.1%} of {row['frames']} sightings under the first id, "
            f"worst clip {row['worst_clip']:.1%}, {row['merged']} taken together, {row['ids_reused']} ids reused"
        )
    attention = result["attention"]
    console.print(
        f"main object: {attention['most_changes_in_10_s']} change(s) at most in 10 s of a still scene; follows "
        f"attention within {attention['frames_to_follow']} frames ({attention['moves']} moves)"
    )
