# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""What several cameras cost in one process and in separate ones: memory, and how evenly masks are shared out."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from m4sam_core.host.processes import ManagedProcess
from m4sam_ros.bench.node import write_clip
from m4sam_ros.environment import CAMERA
from m4sam_ros.graph import NODE_CODE, Graph, ros_arguments, running_graph
from m4sam_ros.report import drops_in, newest_first

_PATIENCE_S = 300.0
_START_S = 300.0
_SIZE = (480, 640)


def bench_cameras(
    count: int, model: str, backend: str, masks: int, fps: float, on_step: Callable[[str], object]
) -> dict[str, Any]:
    """One camera, `count` cameras that share a process, and `count` processes.

    Args:
        count: cameras, at least 2.
        model: as the node's parameter.
        backend: as the node's parameter.
        masks: masks that every camera must have given before memory is read; 20 fill the stream's memory.
        fps: of each camera, 640x480. Frames per second.
        on_step: called with the name of what begins.

    Returns:
        `cases` (cameras, process, rss_mb, and for each camera masks and drops since the measurement began) and
        `shared_to_one`, resident memory of the shared process over that of one camera's.

    Raises:
        ProcessError: a process died, or masks did not come.
        GraphError: there is no ROS.
    """
    cases = []
    with tempfile.TemporaryDirectory(prefix="m4sam_bench_") as folder:
        write_clip(Path(folder), *_SIZE)
        on_step("filling the cache of engines")
        with running_graph() as graph:
            graph.node(model, backend=backend)
        for cameras, process in ((1, "separate"), (count, "shared"), (count, "separate")):
            on_step(f"{cameras} camera(s), {process}")
            with running_graph() as graph:
                cases.append(
                    _case(graph, Path(folder), cameras, process, {"model": model, "backend": backend}, masks, fps)
                )
    return {
        "model": model,
        "backend": backend,
        "fps": fps,
        "cases": cases,
        "shared_to_one": round(cases[1]["rss_mb"] / cases[0]["rss_mb"], 3),
        "separate_to_one": round(cases[2]["rss_mb"] / cases[0]["rss_mb"], 3),
    }


def _case(
    graph: Graph, clip: Path, count: int, process: str, parameters: dict[str, str], masks: int, fps: float
) -> dict[str, Any]:
    spaces = [f"/camera{number}/saliency" for number in range(1, count + 1)]
    common = ros_arguments(parameters)
    if process == "shared":
        own = [word for space in spaces for word in (CAMERA, *ros_arguments(remappings={"__ns": space}), "--")]
        commands = [[*own, *common]]
    else:
        commands = [[*common, *ros_arguments(remappings={"__ns": space})] for space in spaces]
    nodes = [graph.start("node", [sys.executable, "-c", NODE_CODE, *words]) for words in commands]
    graph.wait_until(lambda: sum(node.output.count("active: ") for node in nodes) == count, "active nodes", _START_S)
    monitor = graph.measure("monitor")
    for space in spaces:
        settings = {"source": clip, "loops": 0, "fps": float(fps), "wait_for_subscribers": 1}
        words = ros_arguments(settings, {"__ns": space})
        graph.start("player", [sys.executable, "-m", "m4sam_ros.player", *words])

    def all_there() -> bool:
        found = _newest(monitor)
        return len(found) == count and all(one["masks"] >= masks for one in found.values())

    graph.wait_until(all_there, f"{masks} masks of each camera", _PATIENCE_S)
    found = _newest(monitor)
    return {
        "cameras": count,
        "process": process,
        "rss_mb": round(sum(node.rss_bytes() for node in nodes) / 2**20, 1),
        "each": [found[name] for name in sorted(found)],
    }


def _newest(monitor: ManagedProcess) -> dict[str, dict[str, Any]]:
    """Masks and drops of each node, from its newest report."""
    found: dict[str, dict[str, Any]] = {}
    for report in newest_first(monitor.output, "values"):
        values = report["values"]
        about = {"masks": int(values["masks_out"]), "frames": int(values["rgb_in"]), "drops": drops_in(values)}
        found.setdefault(report["node"], {"node": report["node"], **about})
    return found


def evenness(each: Sequence[dict[str, Any]]) -> float:
    """The least camera's masks over the most busy one's."""
    counts = [one["masks"] for one in each]
    return min(counts) / max(counts)
