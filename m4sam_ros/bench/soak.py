# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""A long run of camera and node: memory, latency, an account of every frame, and what is left in the graph."""

from __future__ import annotations

import re
import signal
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from m4sam_core.host.processes import ManagedProcess
from m4sam_ros.generated import generate_clip
from m4sam_ros.graph import Graph, running_graph
from m4sam_ros.report import drops_in, finite, newest_first

FAULTS: dict[str, float] = {
    "drop_rgb": 0.02,
    "drop_depth": 0.1,
    "jitter_s": 0.02,
    "stamp_jitter_s": 0.002,
    "depth_delay_s": 0.05,
}
"""Of the player (docs/viewers.md): losses on both streams, images that come late and unevenly, depth later still."""
_CLIP_FRAMES = 120
_PATIENCE_S = 120.0
# A participant that was killed stays in the others' graph for Fast DDS's lease of 20 s.
_LEASE_S = 30.0
_POLL_S = 0.5
_TRACE_KEYS = ("frames", "masks", "drops", "waiting")
# Compared are the third tenth of the run, when everything that warms up is warm, and the last one.
_EARLY, _LATE = (0.2, 0.3), (0.9, 1.0)


@dataclass(frozen=True)
class SoakPlan:
    """What is played.

    Attributes:
        model: as the node's parameter.
        frames: at least this many rgb frames; without restarts in whole loops of the clip.
        fps: pace, frames per second.
        clip: folder with rgb/ and depth/; None generates one in which the scene changes at every loop.
        size: (width, height) of the generated clip, pixels.
        period_s: between two lines of the trace, seconds.
        faults: whether the player puts `FAULTS` into the clip.
        restart_s: the camera ends and is started again this often, in turn by SIGINT as a launch file does it and by
            SIGKILL as a crash does it; 0 never. Seconds.
    """

    model: str
    frames: int
    fps: float
    clip: Path | None = None
    size: tuple[int, int] = (640, 480)
    period_s: float = 10.0
    faults: bool = False
    restart_s: float = 0.0


@dataclass
class _Run:
    """One run under way."""

    node: ManagedProcess
    monitor: ManagedProcess
    began: float
    trace: list[dict[str, Any]] = field(default_factory=list)
    cameras: list[dict[str, Any]] = field(default_factory=list)
    segments: set[Path] = field(default_factory=set)

    @property
    def frames(self) -> int:
        return int(self.trace[-1]["frames"]) if self.trace else 0


def soak(plan: SoakPlan, on_progress: Callable[[float], object]) -> dict[str, Any]:
    """Play a clip in a loop through the node.

    Args:
        plan: what is played.
        on_progress: called now and then with the share done, 0..1.

    Returns:
        Counts, `unexplained` frames (neither mask, nor counted drop, nor waiting for its depth), growth of memory and
        latency in percent and of memory in MB per hour, every camera's life, what the graph and shared memory held in
        the end (`ghosts`, `shared_memory_left`), and the `trace`.

    Raises:
        ProcessError: a process died.
        GraphError: there is no ROS.
    """
    with tempfile.TemporaryDirectory(prefix="m4sam_soak_") as folder:
        clip = plan.clip or Path(folder) / "clip"
        if plan.clip is None:
            generate_clip(clip, Path(folder) / "logs", _CLIP_FRAMES, seed=7, size=plan.size)
        with running_graph() as graph:
            run = _Run(graph.node(plan.model), graph.measure("monitor"), time.time())
            _play(graph, run, plan, clip, on_progress)
            last = _settled(run)
            ghosts = _ghosts(run)
    left = _left_of(run.segments)
    told = [camera for camera in run.cameras if camera["published"] is not None]
    return {
        "model": Path(plan.model).name,
        "fps": plan.fps,
        "faults": FAULTS if plan.faults else {},
        "seconds": round(time.time() - run.began, 1),
        "frames_published": sum(camera["published"] for camera in told),
        "lost_in_transport": sum(camera["published"] - camera["frames_in"] for camera in told),
        "frames_in": last["frames"],
        "masks_out": last["masks"],
        "drops": last["drops"],
        "waiting_for_depth": last["waiting"],
        "unexplained": last["frames"] - last["masks"] - sum(last["drops"].values()) - last["waiting"],
        "rss_growth_pct": _growth(run.trace, "rss_mb"),
        "rss_slope_mb_per_hour": _slope_per_hour(run.trace, "rss_mb"),
        "latency_p50_growth_pct": _growth(run.trace, "latency_ms_p50"),
        "latency_p95_growth_pct": _growth(run.trace, "latency_ms_p95"),
        "camera_restarts": len(run.cameras) - 1,
        "cameras": run.cameras,
        "ghosts": ghosts,
        "shared_memory_left": left,
        "trace": run.trace,
    }


def _play(graph: Graph, run: _Run, plan: SoakPlan, clip: Path, on_progress: Callable[[float], object]) -> None:
    """One camera after the other until there were frames enough."""
    length = len(list((clip / "rgb").iterdir()))
    settings: dict[str, object] = {"fps": float(plan.fps), "loops": 0 if plan.restart_s else -(-plan.frames // length)}
    if plan.faults:
        settings |= {f"faults.{name}": value for name, value in FAULTS.items()}
    while not run.cameras or (plan.restart_s and run.frames < plan.frames):
        before = run.frames
        name = f"camera_{len(run.cameras)}"
        camera = graph.play(clip, {**settings, **({"faults.seed": len(run.cameras)} if plan.faults else {})}, name)
        camera.wait_for("first frame", _PATIENCE_S)
        started = next_look = time.monotonic()
        while camera.exit_code is None and not 0 < plan.restart_s <= time.monotonic() - started:
            time.sleep(_POLL_S)
            run.node.check_alive()
            if time.monotonic() >= next_look:
                run.trace += _line(run)
                next_look = time.monotonic() + plan.period_s
                on_progress(min(1.0, run.frames / plan.frames))
        run.segments |= _segments(run)
        killed = bool(plan.restart_s) and len(run.cameras) % 2 == 1
        published = None
        if killed:
            camera.stop([(signal.SIGKILL, _PATIENCE_S)])
        else:
            camera.send(signal.SIGINT)
            published = camera.result(_PATIENCE_S)["rgb_published"]
        run.trace.append(_settled(run))
        ended = "SIGKILL" if killed else "SIGINT" if plan.restart_s else "the end of the clip"
        run.cameras.append({"name": name, "ended_by": ended, "published": published, "frames_in": run.frames - before})


def _line(run: _Run) -> list[dict[str, Any]]:
    """The newest report as a line of the trace; none before the first report."""
    newest = next(newest_first(run.monitor.output, "values"), None)
    if newest is None:
        return []
    report = newest["values"]
    return [
        {
            "seconds": round(newest["at_s"] - run.began, 1),
            "frames": int(report["rgb_in"]),
            "masks": int(report["masks_out"]),
            "drops": drops_in(report),
            "waiting": int(report["frames_waiting"]),
            "rss_mb": round(run.node.rss_bytes() / 1e6, 2),
            "threads": run.node.threads(),
            "segments": len(_segments(run)),
            "publishers": report["rgb_qos"],
            "latency_ms_p50": finite(report["latency_ms_p50"]),
            "latency_ms_p95": finite(report["latency_ms_p95"]),
        }
    ]


def _settled(run: _Run) -> dict[str, Any]:
    """The first report made after the last frame was through: two in a row with the same counts."""
    deadline = time.monotonic() + _PATIENCE_S
    before: dict[str, Any] = {}
    while time.monotonic() < deadline:
        time.sleep(1.5)
        (line,) = _line(run)
        if [line[key] for key in _TRACE_KEYS] == [before.get(key) for key in _TRACE_KEYS]:
            return line
        before = line
    return before


def _ghosts(run: _Run) -> dict[str, Any]:
    """Who is in the graph that should not be: after the cameras have ended, and after the node has, too.

    A newcomer hears nothing of a participant that was killed, so it is the monitor that is asked, who knew them all.
    """
    (node,) = {line["node"] for line in newest_first(run.monitor.output, "values")}
    found: dict[str, Any] = {}
    for when, expected in (("after_cameras", [node]), ("after_node", [])):
        asked = time.monotonic()
        while (others := _others(run)) != expected and time.monotonic() - asked < _LEASE_S:
            time.sleep(_POLL_S)
        ghosts = list(others)
        for name in expected:
            if name in ghosts:
                ghosts.remove(name)
        found[when] = {"ghosts": ghosts, "within_s": round(time.monotonic() - asked, 1)}
        if expected:
            run.node.send(signal.SIGINT)
            run.node.wait(_PATIENCE_S)
    return found


def _others(run: _Run) -> list[str]:
    """The nodes that the monitor sees just now, other than itself."""
    return next((list(line["others"]) for line in newest_first(run.monitor.output, "others")), [])


def _segments(run: _Run) -> set[Path]:
    """What the node has mapped of its own and its neighbours' messages; ports are shared by all domains and stay."""
    return {path for path in run.node.shared_memory() if re.fullmatch(r"fast(dds|rtps)_[0-9a-f]+", path.name)}


def _left_of(segments: set[Path]) -> dict[str, float]:
    """What is still there of the shared memory of processes that have ended."""
    left = [segment.stat().st_size for segment in segments if segment.exists()]
    return {"segments": len(left), "mb": round(sum(left) / 1e6, 1)}


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


def _slope_per_hour(trace: list[dict[str, Any]], key: str) -> float | None:
    """Of the straight line through everything after the warm-up; None for a run too short to tell."""
    warm = trace[int(_EARLY[0] * len(trace)) :]
    if len({line["seconds"] for line in warm}) < 3:
        return None
    slope, _ = np.polyfit([line["seconds"] for line in warm], [line[key] for line in warm], 1)
    return round(float(slope) * 3600, 2)
