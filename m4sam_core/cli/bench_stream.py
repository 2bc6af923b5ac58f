# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""`m4sam bench stream`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer


def command(
    model: Annotated[str, typer.Option(help="A name or a weights file, or a preset with fresh weights, e.g. nano.")],
    frames: Annotated[int, typer.Option(min=300, help="Length of the stream.")] = 10_000,
    height: Annotated[int, typer.Option(min=64, help="Rows of the camera image. Pixels.")] = 480,
    width: Annotated[int, typer.Option(min=64, help="Columns of the camera image. Pixels.")] = 640,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    backend: Annotated[str, typer.Option(help="auto, torch, openvino, onnxruntime or tensorrt.")] = "auto",
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0 leaves torch's choice.")] = 0,
    minutes: Annotated[float, typer.Option(min=0, help="End after this time; 0: when all frames are done.")] = 0.0,
    json_file: Annotated[Optional[Path], typer.Option("--json", help="Also write every figure to this file.")] = None,
) -> None:
    """Memory and time per frame of an endless stream: frames 100-200 against the last hundred, and what became of each.

    Example: m4sam bench stream --model default --backend openvino --frames 30000
    """
    from rich.console import Console
    from rich.table import Table

    from m4sam_core.bench.model import machine_now
    from m4sam_core.bench.stream import bench_stream
    from m4sam_core.build import build_model
    from m4sam_core.config import MODEL_PRESETS, ModelConfig, PipelineConfig
    from m4sam_core.host.files import write_json
    from m4sam_core.host.outputs import check_outputs
    from m4sam_core.host.progress import tracked
    from m4sam_core.pipeline import SaliencyPipeline

    check_outputs(files=(json_file,))
    cfg = PipelineConfig.parse({"device": device, "threads": threads, "backend": backend})
    if model in MODEL_PRESETS and not Path(model).exists():
        pipeline = SaliencyPipeline(build_model(ModelConfig.preset(model)), cfg)
    else:
        pipeline = SaliencyPipeline.from_name(model, cfg)
    console = Console(markup=False)
    ticks = tracked(range(frames), "frames")
    longest_s = 60 * minutes or float("inf")
    figures = bench_stream(pipeline, frames, height, width, lambda: next(ticks, None), longest_s)
    table = Table(title=f"{model}, {pipeline.backend}, {width}x{height}, {figures.scenes} scenes")
    for heading in ("frames", "ms per frame (p50)", "ms (mean)", "CPU ms (p50)", "resident MB", "memory bank MB"):
        table.add_column(heading, justify="right")
    for window in (figures.early, figures.late):
        numbers = (window.ms_p50, window.ms_mean, window.cpu_ms_p50, window.rss_mb, window.memory_mb)
        table.add_row(f"{window.first}-{window.last}", *(f"{number:.2f}" for number in numbers))
    console.print(table)
    console.print(
        f"growth: memory {figures.rss_growth:+.2%} (limit 1%), time {figures.time_growth:+.2%} (limit 5%), "
        f"processor time {figures.cpu_growth:+.2%}"
    )
    console.print(f"{figures.masks} masks of {figures.frames} frames, {figures.unexplained} unexplained")
    if json_file:
        result = {
            **figures.as_dict(),
            "model": model,
            "backend": pipeline.backend,
            "image": [height, width],
            "machine": machine_now(str(pipeline.device)),
        }
        write_json(json_file, result)
