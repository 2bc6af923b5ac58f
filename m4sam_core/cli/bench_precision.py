"""`m4sam bench precision`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer


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
    from m4sam_core.cli.engine_rows import show_rows
    from m4sam_core.errors import ConfigError
    from m4sam_core.host.files import write_json
    from m4sam_core.model_files import resolve_model

    if write and backend not in ("all", "torch"):
        raise ConfigError(f"--write: expected --backend all or torch, got {backend!r}; the figure is that of torch")
    file, console = resolve_model(model), Console(markup=False)
    with console.status("") as status:
        result = bench_backends(
            file, variants(backend), gate_clips(clip or ()), frames=0, threads=threads, on_step=status.update
        )
    result["model"] = model
    show_rows(console, result)
    if write:
        half = next(row for row in result["rows"] if (row["backend"], row["dtype"]) == ("torch", "bfloat16"))
        update_header(file, {BFLOAT16_IOU: f"{half['iou_min']:.4f}"})
        console.print(f"{file}: {BFLOAT16_IOU} = {half['iou_min']:.4f}")
    if json_file:
        write_json(json_file, result)
