# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""`m4sam bench node`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Optional

import typer


def command(
    seconds: Annotated[float, typer.Option(min=1, help="Video time per case.")] = 20.0,
    fps: Annotated[float, typer.Option(min=1, max=240, help="Frames per second of rgb and of depth.")] = 30.0,
    json_file: Annotated[Optional[Path], typer.Option("--json", help="Also write every figure to this file.")] = None,
) -> None:
    """Latency, loss and processor time of the ROS node without a model, over DDS between processes.

    Example: m4sam bench node --json node.json
    """
    from rich.console import Console

    from m4sam_core.bench.model import machine_now
    from m4sam_core.host.files import write_json
    from m4sam_ros.bench.node import bench_node

    console = Console(markup=False)
    with console.status("starting") as status:
        result = bench_node(seconds, fps, on_step=status.update)
    result["machine"] = {
        **machine_now("cpu"),
        "real_time_priority": os.sched_getscheduler(0) in (os.SCHED_FIFO, os.SCHED_RR),
    }
    _show(console, result, fps)
    if json_file:
        write_json(json_file, result)


def _show(console: Any, result: dict[str, Any], fps: float) -> None:
    from rich.table import Table

    table = Table(title=f"Node without a model, rgb and depth at {fps:g} Hz, player, node and subscriber in processes")
    for heading in ("images", "DDS profile", "added ms p50", "p95", "end to end ms p50", "p95", "loss %", "node CPU %"):
        table.add_column(heading, justify="right")
    for case in result["cases"]:
        latencies = [case[name][key] for name in ("added_latency_ms", "end_to_end_ms") for key in ("p50", "p95")]
        cells = ["-" if value is None else f"{value:.1f}" for value in latencies]
        profile = "config/dds" if case["dds_profile"] else "stock"
        profile += ", events" if case["executor"] == "events" else ""
        profile += ", all outputs" if case["after_mask_ms"] is not None else ""
        table.add_row(case["size"], profile, *cells, f"{case['loss_pct']:.1f}", f"{case['cpu_pct']:.0f}")
    console.print(table)
    for case in result["cases"]:
        if case["after_mask_ms"] is not None:
            after = case["after_mask_ms"]
            mask_ms = case["added_latency_ms"]["p50"]
            console.print(
                f"{case['size']}, every output of the objects: the mask after {mask_ms} ms, the last of them "
                f"{after['p50']} ms later (p95 {after['p95']})"
            )
    conversions = Table(title="Conversions, median microseconds (640x480 unless named)")
    conversions.add_column("conversion")
    conversions.add_column("µs", justify="right")
    for name, took in result["convert_us"].items():
        conversions.add_row(name, f"{took:.0f}")
    console.print(conversions)
    console.print(
        f"making and publishing a 1280x720 mask: {result['publish_mask_720p_ms']:.2f} ms "
        f"(p95 {result['publish_mask_720p_ms_p95']:.2f}); load average {result['machine']['load_average_1min']}"
    )
