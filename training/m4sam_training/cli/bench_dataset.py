# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""`m4sam bench dataset`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer


def command(
    frames: Annotated[int, typer.Option(min=1, help="Frames of all videos; DViSal has 175442.")] = 175442,
    videos: Annotated[int, typer.Option(min=1, help="Videos; DViSal has 237.")] = 237,
    annotated: Annotated[int, typer.Option(min=1, help="Frames with ground truth; DViSal has 7117.")] = 7117,
    work: Annotated[Optional[Path], typer.Option(help="Folder for the files; default: a temporary one.")] = None,
    json_file: Annotated[Optional[Path], typer.Option("--json", help="Also write every figure to this file.")] = None,
) -> None:
    """Time and memory of reading, indexing, checking and loading a large dataset, made of hard links."""
    import tempfile

    from rich.console import Console
    from rich.table import Table

    from m4sam_core.bench.model import machine_now
    from m4sam_core.host.files import write_json
    from m4sam_core.host.outputs import check_outputs
    from m4sam_training.bench.dataset import bench_dataset, link_dataset

    check_outputs(files=(json_file,), folders=(work,))
    with tempfile.TemporaryDirectory(dir=work) as folder:
        link_dataset(Path(folder) / "data", frames, videos, min(annotated, frames))
        rows = bench_dataset(Path(folder) / "data", Path(folder) / "cache")
    table = Table(title=f"{frames} frames in {videos} videos, {annotated} with ground truth")
    for heading in ("", "wall s", "CPU s", "peak MB", "sent to each worker, MB"):
        table.add_column(heading, justify="right" if heading else "left")
    for row in rows:
        sent = row.get("sent_to_each_worker_mb")
        shown = (
            f"{row['wall_s']:.1f}",
            f"{row['cpu_s']:.1f}",
            str(row["peak_mb"]),
            "" if sent is None else f"{sent:.1f}",
        )
        table.add_row(row["step"], *shown)
    Console(markup=False).print(table)
    if json_file:
        where = machine_now("cpu")
        asked = {"frames": frames, "videos": videos, "annotated": annotated}
        write_json(json_file, {"machine": where, **asked, "steps": rows})
