# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""`m4sam bench image`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer


def command(
    size: Annotated[int, typer.Option(min=64, max=1024, help="Side of the model's square. Pixels.")] = 224,
    frames: Annotated[int, typer.Option(min=10, help="Frames at each size.")] = 60,
    json_file: Annotated[Optional[Path], typer.Option("--json", help="Also write every figure to this file.")] = None,
) -> None:
    """Milliseconds of a frame around the network: decoding, the model's input, the scene's glance, the mask.

    Example: m4sam bench image --json image.json
    """
    from rich.console import Console
    from rich.table import Table

    from m4sam_core.bench.image import bench_image
    from m4sam_core.bench.model import machine_now
    from m4sam_core.host.files import write_json
    from m4sam_core.host.outputs import check_outputs

    check_outputs(files=(json_file,))
    console = Console(markup=False)
    with console.status("starting") as status:
        rows = bench_image(size, frames, on_step=status.update)
    table = Table(title=f"Around a network of {size} px, one thread: processor time p50 (p95), clock p50. Milliseconds")
    for heading in ("camera", *rows[0]["parts"], "total", "clock"):
        table.add_column(heading, justify="right")
    for row in rows:
        cells = [
            f"{part['cpu_ms_p50']:.2f} ({part['cpu_ms_p95']:.2f})" for part in (*row["parts"].values(), row["total"])
        ]
        table.add_row(row["size"], *cells, f"{row['total']['ms_p50']:.2f}")
    console.print(table)
    if json_file:
        write_json(json_file, {"rows": rows, "model_px": size, "frames": frames, "machine": machine_now("cpu")})
