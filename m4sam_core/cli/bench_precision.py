# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""`m4sam bench precision`, and what `m4sam bench model --backend` shares with it: engines side by side."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from m4sam_core.bench.gate import Frame

COLUMNS = ("backend", "dtype", "ms_p50", "ms_p95", "cpu_ms", "iou_min", "iou_mean", "rss_mb")


def command(
    model: Annotated[str, typer.Option(help="A name or a weights file.")] = "default",
    clip: Annotated[
        Optional[list[Path]], typer.Option(help="A folder with rgb and depth, beside the generated.")
    ] = None,
    backend: Annotated[str, typer.Option(help="all, torch, openvino, onnxruntime or tensorrt.")] = "all",
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0 leaves the engine's choice.")] = 0,
    write: Annotated[bool, typer.Option(help="Store the figure for torch in bfloat16 in the weights file.")] = False,
    json_file: Annotated[Optional[Path], typer.Option("--json", help="Also write every figure to this file.")] = None,
) -> None:
    """Overlap of masks with those of torch in float32, on scenes where little decides what stands out.

    `dtype: auto` takes bfloat16 only for weights whose stored figure is .98 or more.

    Example: m4sam bench precision --model mine.safetensors --clip my_clip --write
    """
    from rich.console import Console

    from m4sam_core.bench.backends import bench_backends, variants
    from m4sam_core.bench.gate import gate_clips
    from m4sam_core.checkpoint import BFLOAT16_IOU, update_header
    from m4sam_core.errors import ConfigError
    from m4sam_core.host.files import write_json
    from m4sam_core.host.outputs import check_outputs
    from m4sam_core.model_files import resolve_model

    check_outputs(files=(json_file,))
    if write and backend not in ("all", "torch"):
        raise ConfigError(f"--write: expected --backend all or torch, got {backend!r}; the figure is that of torch")
    file, console = resolve_model(model), Console(markup=False)
    clips = gate_clips() | {folder.name: recorded_clip(folder) for folder in clip or ()}
    with console.status("") as status:
        result = bench_backends(file, variants(backend), clips, frames=0, threads=threads, on_step=status.update)
    result["model"] = model
    show_rows(console, result)
    if write:
        half = next(row for row in result["rows"] if (row["backend"], row["dtype"]) == ("torch", "bfloat16"))
        update_header(file, {BFLOAT16_IOU: f"{half['iou_min']:.4f}"})
        console.print(f"{file}: {BFLOAT16_IOU} = {half['iou_min']:.4f}")
    if json_file:
        write_json(json_file, result)


def compare_engines(
    console: Console,
    checkpoint: Path | None,
    size: str,
    backend: str,
    frames: int,
    threads: int,
    busy: int = 0,
    priority: int = 0,
) -> dict[str, Any]:
    """Time and compare engines on a checkpoint, the packaged weights (size edge) or fresh weights of a preset."""
    from m4sam_core.bench.backends import bench_backends, variants
    from m4sam_core.bench.gate import gate_clips
    from m4sam_core.build import build_model
    from m4sam_core.checkpoint import save_checkpoint
    from m4sam_core.config import ModelConfig
    from m4sam_core.model_files import resolve_model

    rows = variants(backend)
    with TemporaryDirectory() as folder, console.status("") as status:
        file = checkpoint or (resolve_model("default") if size == "edge" else None)
        trained = file is not None
        if file is None:
            file = Path(folder) / f"{size}.safetensors"
            save_checkpoint(file, build_model(ModelConfig.preset(size)))
        result = bench_backends(
            file,
            rows,
            gate_clips(),
            frames=frames,
            threads=threads,
            busy=busy,
            priority=priority,
            on_step=status.update,
        )
    name = str(checkpoint) if checkpoint else f"{size}, {'packaged' if trained else 'fresh'} weights"
    return {"model": name, **result}


def show_rows(console: Console, result: dict[str, Any]) -> None:
    """Print the rows of `bench_backends` as a table."""
    from rich.table import Table

    table = Table(title=f"{result['model']}, {result['machine']['cpu']}, load {result['load_after'][0]:.1f}")
    for name in COLUMNS:
        table.add_column(name, justify="left" if name in ("backend", "dtype") else "right")
    for row in result["rows"]:
        table.add_row(*(_cell(name, row[name]) for name in COLUMNS))
    console.print(table)
    for row in result["rows"]:
        if row["note"]:
            console.print(f"{row['backend']} {row['dtype']}: {row['note']}")


def _cell(name: str, value: float | str | None) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    return f"{value:.4f}" if name.startswith("iou") else f"{value:.1f}"


def recorded_clip(folder: Path) -> list[Frame]:
    """The first frames of a folder with rgb and depth in it, as many as a generated clip has.

    Raises:
        InputError: a folder without such frames.
    """
    from m4sam_core.bench.gate import FRAMES
    from m4sam_core.errors import InputError
    from m4sam_core.predict_folder import list_frames
    from m4sam_core.rgbd.depth_files import read_depth
    from m4sam_core.rgbd.image_files import read_rgb

    listed = list_frames(folder / "rgb", folder / "depth")[:FRAMES]
    frames: list[Frame] = [(read_rgb(each.rgb), read_depth(each.depth)) for each in listed if each.depth is not None]
    if not frames:
        raise InputError(f"{folder}: expected rgb and depth images, got none of both; give a clip folder")
    return frames
