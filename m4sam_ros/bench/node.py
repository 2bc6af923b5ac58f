# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Cost of the ROS node without a model: what it adds to the latency, what it loses, what it burns."""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from m4sam_core.rgbd.image_files import write_png
from m4sam_ros.graph import running_graph

SIZES = {"640x480": (480, 640), "1280x720": (720, 1280)}
REFERENCE = ("640x480", True)
_DISTINCT_FRAMES = 15
_PROBE_IDLE_S = 2.0
_PATIENCE_S = 90.0


@dataclass(frozen=True)
class NodeCase:
    """One run: player, node with `model:=identity`, and a subscriber of images and mask, each a process.

    Attributes:
        size: of rgb and depth.
        dds_profile: with config/dds/fastdds_shm.xml.
        frames: rgb-depth pairs published.
        masks: masks that arrived.
        loss_pct: frames without a mask, percent.
        added_latency_ms: from the later of a frame's two images to its mask, at a subscriber of all three.
        end_to_end_ms: from the publication of the frame to the arrival of its mask.
        cpu_pct: processor time of the node, percent of one core.
        executor: what calls the node's callbacks, the parameter `executor`.
        after_mask_ms: from a frame's mask to the last output of its objects, when all of them are subscribed to.
    """

    size: str
    dds_profile: bool
    frames: int
    masks: int
    loss_pct: float
    added_latency_ms: dict[str, float]
    end_to_end_ms: dict[str, float]
    cpu_pct: float
    executor: str = "single"
    after_mask_ms: dict[str, float] | None = None


def bench_node(seconds: float, fps: float, on_step: Callable[[str], object]) -> dict[str, Any]:
    """Every case, publishing, and conversions.

    Args:
        seconds: of video per case.
        fps: of rgb and depth.
        on_step: called with the name of what begins.

    Returns:
        `added_latency_ms` (p50, p95), `cpu_pct` and `loss_pct` of the reference case, `publish_mask_720p_ms` (p50),
        `convert_us` by conversion, and all `cases`.
    """
    cases = []
    for size, (height, width) in SIZES.items():
        with tempfile.TemporaryDirectory(prefix="m4sam_bench_") as folder:
            write_clip(Path(folder), height, width)
            for profile in (True, False):
                on_step(f"{size}, {'config/dds' if profile else 'stock'} DDS profile")
                cases.append(_run(Path(folder), size, profile, seconds, fps))
            if has_events_executor():
                on_step(f"{size}, EventsExecutor")
                cases.append(_run(Path(folder), size, True, seconds, fps, executor="events"))
            on_step(f"{size}, every output of the objects")
            cases.append(_run(Path(folder), size, True, seconds, fps, everything=True))
    on_step("publishing masks")
    published = _publishing()
    on_step("conversions")
    with running_graph() as graph:
        conversions = graph.measure("convert").result(_PATIENCE_S)
    reference = next(case for case in cases if (case.size, case.dds_profile, case.executor) == (*REFERENCE, "single"))
    return {
        "added_latency_ms": reference.added_latency_ms,
        "cpu_pct": reference.cpu_pct,
        "loss_pct": reference.loss_pct,
        "publish_mask_720p_ms": published["p50"],
        "publish_mask_720p_ms_p95": published["p95"],
        "convert_us": conversions,
        "cases": [asdict(case) for case in cases],
    }


def write_clip(folder: Path, height: int, width: int) -> None:
    """A short clip of noise over a gradient: nothing in it compresses, as in a real image."""
    rng = np.random.default_rng(0)
    ramp = np.linspace(500, 4000, width)[None].repeat(height, 0)
    for name in ("rgb", "depth"):
        (folder / name).mkdir(parents=True)
    for index in range(_DISTINCT_FRAMES):
        write_png(folder / "rgb" / f"{index:03}.png", rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
        depth = (ramp + rng.normal(0, 5, (height, width))).astype(np.uint16)
        write_png(folder / "depth" / f"{index:03}.png", depth)


def has_events_executor() -> bool:
    """Whether there is an rclpy, of a release that has the EventsExecutor."""
    return all(importlib.util.find_spec(name) is not None for name in ("rclpy", "rclpy.experimental"))


def _run(
    clip: Path,
    size: str,
    profile: bool,
    seconds: float,
    fps: float,
    *,
    everything: bool = False,
    executor: str = "single",
) -> NodeCase:
    loops = max(1, round(seconds * fps / _DISTINCT_FRAMES))
    with running_graph(profile) as graph:
        node = graph.node("identity", executor=executor)
        probe = graph.measure("probe", "--idle", str(_PROBE_IDLE_S), *(["--all"] if everything else []))
        probe.wait_for("listening", _PATIENCE_S)
        player = graph.play(clip, {"loops": loops, "fps": float(fps), "wait_for_subscribers": 2, "start_delay_s": 1.0})
        player.wait_for("first frame", _PATIENCE_S)
        cpu_before = node.cpu_s()
        played = player.result(seconds + _PATIENCE_S)
        cpu_s = node.cpu_s() - cpu_before
        probed = probe.result(_PATIENCE_S)
    frames = played["rgb_published"]
    return NodeCase(
        size=size,
        dds_profile=profile,
        frames=frames,
        masks=probed["masks"],
        loss_pct=round(100 * (frames - probed["masks"]) / frames, 2),
        added_latency_ms=probed["added_ms"],
        end_to_end_ms=probed["end_to_end_ms"],
        cpu_pct=round(100 * cpu_s / played["seconds"], 1),
        executor=executor,
        after_mask_ms=probed.get("all_ms"),
    )


def _publishing() -> dict[str, Any]:
    with running_graph() as graph:
        publisher = graph.measure("publish")
        graph.measure("probe", "--idle", str(_PROBE_IDLE_S))
        return publisher.result(_PATIENCE_S)
