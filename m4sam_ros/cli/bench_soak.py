# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""`m4sam bench soak`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer


def command(
    model: Annotated[str, typer.Option(help="Weights, as the node takes them.")] = "default",
    frames: Annotated[
        int, typer.Option(min=100, help="Frames to play, rounded up; without restarts to whole loops of the clip.")
    ] = 30_000,
    fps: Annotated[float, typer.Option(min=1, max=240, help="Pace. Frames per second.")] = 15.0,
    clip: Annotated[
        Optional[Path], typer.Option(help="Folder with rgb/ and depth/; default: a generated clip.")
    ] = None,
    width: Annotated[int, typer.Option(min=64, max=4096, help="Of a generated clip. Pixels.")] = 640,
    height: Annotated[int, typer.Option(min=64, max=4096, help="Of a generated clip. Pixels.")] = 480,
    faults: Annotated[
        bool, typer.Option("--faults", help="The player loses, delays and jitters images of both streams.")
    ] = False,
    restart: Annotated[
        float,
        typer.Option(min=0, help="The camera is ended this often, by SIGINT and SIGKILL in turn; 0: never. Seconds."),
    ] = 0.0,
    period: Annotated[float, typer.Option(min=1, help="Seconds between two lines of the trace.")] = 10.0,
    json_file: Annotated[Optional[Path], typer.Option("--json", help="Also write the trace to this file.")] = None,
) -> None:
    """Player and node at camera pace for a long time: memory and latency flat, every frame accounted for.

    Example: m4sam bench soak --frames 30000 --faults --restart 60 --json soak_faults.json
    """
    from rich.console import Console
    from rich.progress import Progress

    from m4sam_core.bench.model import machine_now
    from m4sam_core.host.files import write_json
    from m4sam_ros.bench.soak import SoakPlan, soak

    plan = SoakPlan(model, frames, fps, clip, (width, height), period, faults, restart)
    console = Console(markup=False)
    with Progress(console=console, transient=True) as progress:
        bar = progress.add_task(f"{frames} frames at {fps:g} Hz", total=1.0)
        result = soak(plan, lambda done: progress.update(bar, completed=done))
    if clip is None:
        result["size"] = f"{width}x{height}"
    result["machine"] = machine_now("cpu")
    drops = ", ".join(f"{cause} {count}" for cause, count in result["drops"].items()) or "none"
    console.print(
        f"{result['frames_in']} frames in {result['seconds']:.0f} s: {result['masks_out']} masks, "
        f"drops: {drops}, waiting {result['waiting_for_depth']}, lost in transport {result['lost_in_transport']}, "
        f"unexplained {result['unexplained']}"
    )
    first, last = result["trace"][0], result["trace"][-1]
    console.print(
        f"memory {first['rss_mb']:.0f} -> {last['rss_mb']:.0f} MB ({result['rss_growth_pct']}% after warm-up, "
        f"{result['rss_slope_mb_per_hour']} MB an hour), "
        f"latency p50 {first['latency_ms_p50']} -> {last['latency_ms_p50']} ms ({result['latency_p50_growth_pct']}%)"
    )
    ghosts = [name for look in result["ghosts"].values() for name in look["ghosts"]]
    console.print(
        f"{result['camera_restarts']} restarts of the camera; ghosts in the graph: {', '.join(ghosts) or 'none'}; "
        f"left in shared memory: {result['shared_memory_left']['mb']} MB"
    )
    if json_file:
        write_json(json_file, result)
