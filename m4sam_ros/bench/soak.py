# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""A long run of player and node at camera pace: memory, latency, and an account of every frame."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from m4sam_core.host.processes import ManagedProcess
from m4sam_ros.generated import generate_clip
from m4sam_ros.graph import Graph, running_graph
from m4sam_ros.report import drops_in, finite

_CLIP_FRAMES = 120
_PATIENCE_S = 120.0
# Compared are the third tenth of the run, when everything that warms up is warm, and the last one.
_EARLY, _LATE = (0.2, 0.3), (0.9, 1.0)


def soak(
    model: str,
    frames: int,
    fps: float,
    clip: Path | None,
    period_s: float,
    on_progress: Callable[[float], object],
) -> dict[str, Any]:
    """Play a clip in a loop through the node.

    Args:
        model: as the node's parameter.
        frames: at least this many rgb-depth pairs, in whole loops of the clip.
        fps: pace.
        clip: folder with rgb/ and depth/; None generates one of 640x480 in which the scene changes at every loop.
        period_s: seconds between two lines of the trace.
        on_progress: called now and then with the share done, 0..1.

    Returns:
        Counts, `unexplained` frames (neither mask nor counted drop), growth of memory and latency in percent, and the
        `trace`: seconds, frames, masks, drops by cause, rss_mb, latency_ms_p50, latency_ms_p95 per line.

    Raises:
        ProcessError: a process died.
        GraphError: there is no ROS.
    """
    with tempfile.TemporaryDirectory(prefix="m4sam_soak_") as folder:
        if clip is None:
            clip = Path(folder) / "clip"
            generate_clip(clip, Path(folder) / "logs", _CLIP_FRAMES, seed=7)
        length = len(list((clip / "rgb").iterdir()))
        loops = -(-frames // length)
        with running_graph() as graph:
            return _run(graph, model, clip, loops, loops * length / fps, fps, period_s, on_progress)


def _run(
    graph: Graph,
    model: str,
    clip: Path,
    loops: int,
    expected_s: float,
    fps: float,
    period_s: float,
    on_progress: Callable[[float], object],
) -> dict[str, Any]:
    node = graph.node(model)
    monitor = graph.measure("monitor")
    player = graph.play(clip, {"loops": loops, "fps": float(fps)})
    player.wait_for("first frame", _PATIENCE_S)
    began = time.time()
    trace: list[dict[str, Any]] = []
    while player.exit_code is None:
        time.sleep(0.5)
        elapsed_s = time.time() - began
        on_progress(min(1.0, elapsed_s / expected_s))
        if elapsed_s >= len(trace) * period_s:
            trace += _line(node, monitor, began)
    played = player.result(_PATIENCE_S)
    last = _settled(node, monitor, began)
    trace.append(last)
    return {
        "model": model,
        "fps": fps,
        "seconds": played["seconds"],
        "frames_published": played["rgb_published"],
        "lost_in_transport": played["rgb_published"] - last["frames"],
        "frames_in": last["frames"],
        "masks_out": last["masks"],
        "drops": last["drops"],
        "unexplained": last["frames"] - last["masks"] - sum(last["drops"].values()),
        "rss_growth_pct": _growth(trace, "rss_mb"),
        "latency_p50_growth_pct": _growth(trace, "latency_ms_p50"),
        "latency_p95_growth_pct": _growth(trace, "latency_ms_p95"),
        "trace": trace,
    }


def _line(node: ManagedProcess, monitor: ManagedProcess, began: float) -> list[dict[str, Any]]:
    """The newest report as a line of the trace; none before the first report."""
    reports = [text for text in monitor.output.splitlines() if text.startswith("{") and text.endswith("}")]
    if not reports:
        return []
    newest = json.loads(reports[-1])
    report = newest["values"]
    return [
        {
            "seconds": round(newest["at_s"] - began, 1),
            "frames": int(report["rgb_in"]),
            "masks": int(report["masks_out"]),
            "drops": drops_in(report),
            "rss_mb": round(node.rss_bytes() / 1e6, 2),
            "latency_ms_p50": finite(report["latency_ms_p50"]),
            "latency_ms_p95": finite(report["latency_ms_p95"]),
        }
    ]


def _settled(node: ManagedProcess, monitor: ManagedProcess, began: float) -> dict[str, Any]:
    """The first report made after the last frame was through: two in a row with the same counts."""
    deadline = time.monotonic() + _PATIENCE_S
    before: dict[str, Any] = {}
    while time.monotonic() < deadline:
        time.sleep(1.5)
        (line,) = _line(node, monitor, began)
        if [line[key] for key in ("frames", "masks", "drops")] == [
            before.get(key) for key in ("frames", "masks", "drops")
        ]:
            return line
        before = line
    return before


def _growth(trace: list[dict[str, Any]], key: str) -> float | None:
    """Median of the late lines over that of the early ones, minus one, percent; None for a run too short to tell."""
    known = [line for line in trace if line[key] is not None]
    parts = [
        [line[key] for line in known[int(low * len(known)) : int(high * len(known))]] for low, high in (_EARLY, _LATE)
    ]
    if not all(parts):
        return None
    early, late = (median(part) for part in parts)
    return round(100 * (late / early - 1), 2) if early > 0 else None
