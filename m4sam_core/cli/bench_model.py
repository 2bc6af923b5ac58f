# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""`m4sam bench model`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Optional

import typer

_STAGE_BY_STAGE = ("warmup", "entries", "dtype", "device", "side")  # what whole frames of engines do not take


def command(
    ctx: typer.Context,
    size: Annotated[
        str, typer.Option(help="Architecture, with fresh weights: a preset such as large or edge.")
    ] = "large",
    checkpoint: Annotated[Optional[Path], typer.Option(help="Measure this checkpoint's architecture instead.")] = None,
    backend: Annotated[
        str,
        typer.Option(
            help="Absent: torch, stage by stage. Else whole frames of one engine beside torch, or of all: "
            "all, torch, openvino, onnxruntime, tensorrt."
        ),
    ] = "",
    frames: Annotated[int, typer.Option(min=1, help="Frames timed.")] = 10,
    busy: Annotated[
        int, typer.Option(min=0, max=64, help="With --backend: processes that compute beside it, as on a busy robot.")
    ] = 0,
    priority: Annotated[
        int,
        typer.Option(
            min=-20, max=19, help="With --backend: nice value of the engines' threads; below 0 needs permission."
        ),
    ] = 0,
    warmup: Annotated[int, typer.Option(min=0, help="Frames run before the clock starts.")] = 2,
    entries: Annotated[int, typer.Option(min=1, help="Memory entries every frame reads; the stream holds 16.")] = 16,
    dtype: Annotated[str, typer.Option(help="float32, bfloat16 or float16.")] = "float32",
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N.")] = "cpu",
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0 leaves torch's choice.")] = 0,
    side: Annotated[int, typer.Option(min=0, help="Side of the square input in px; 0 takes the model's own.")] = 0,
    json_file: Annotated[Optional[Path], typer.Option("--json", help="Also write every figure to this file.")] = None,
) -> None:
    """Milliseconds and memory of a model per RGB-D frame with a full memory: stage by stage, or engine by engine.

    Engines are timed in one run, frame about frame, each in a process of its own, and their masks are compared with
    those of torch in float32. Size edge takes the packaged weights then.

    Example: m4sam bench model --size large --json large.json
    """
    import torch
    from rich.console import Console

    from m4sam_core.bench.model import bench_model
    from m4sam_core.build import build_model
    from m4sam_core.cli.bench_precision import compare_engines, show_rows
    from m4sam_core.config import ModelConfig
    from m4sam_core.errors import ConfigError
    from m4sam_core.host.files import write_json
    from m4sam_core.host.outputs import check_outputs
    from m4sam_core.host.progress import tracked
    from m4sam_core.release import load_model

    check_outputs(files=(json_file,))
    if dtype not in ("float32", "bfloat16", "float16"):
        raise ConfigError(f"--dtype: expected float32, bfloat16 or float16, got {dtype!r}")
    if torch.device(device).type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"--device: expected a device torch can reach, got {device!r}; m4sam doctor tells why")
    if threads:
        torch.set_num_threads(threads)
    console = Console(markup=False)
    if backend:
        for name in _STAGE_BY_STAGE:
            source = ctx.get_parameter_source(name)
            if source is not None and source.name != "DEFAULT":
                raise ConfigError(
                    f"--{name}: expected none with --backend, which times whole frames as a stream has them"
                )
        compared = compare_engines(console, checkpoint, size, backend, frames, threads, busy, priority)
        show_rows(console, compared)
        if json_file:
            write_json(json_file, compared)
        return
    with console.status("building the model"):
        model = load_model(checkpoint) if checkpoint else build_model(ModelConfig.preset(size))
    ticks = tracked(range(warmup + frames), "frames")
    result = bench_model(
        model,
        frames=frames,
        warmup=warmup,
        entries=entries,
        dtype=dtype,  # type: ignore[arg-type]  # checked above
        device=device,
        side_px=side or None,
        on_frame=lambda: next(ticks, None),
    )
    result["model"] = str(checkpoint) if checkpoint else size
    _show(console, result)
    if json_file:
        write_json(json_file, result)


def _show(console: Any, result: dict[str, Any]) -> None:
    from rich.table import Table

    frame = result["ms_per_frame"]
    settings = result["settings"]
    table = Table(title=f"{result['model']}, {settings['dtype']}, {settings['entries']} memory entries")
    for heading in ("stage", "ms", "share"):
        table.add_column(heading, justify="left" if heading == "stage" else "right")
    for name, ms in sorted(result["stages_ms"].items(), key=lambda item: -item[1]):
        table.add_row(name, f"{ms:.1f}", f"{100 * ms / frame['mean']:.0f}%")
    console.print(table)
    console.print(
        f"{frame['p50']:.0f} ms per frame (p95 {frame['p95']:.0f}), {result['frames_per_s']:.2f} frames/s, "
        f"peak RSS {result['peak_rss_mb']:.0f} MB, {result['machine']['threads']} threads, {result['machine']['cpu']}"
    )
