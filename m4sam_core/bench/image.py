# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""What a frame costs around the network, part by part: from messages to the model's square, and back to the camera."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from m4sam_core.bench.stream import textured_view
from m4sam_core.config import PipelineConfig
from m4sam_core.host.memory import keep_freed_memory
from m4sam_core.rgbd.encodings import image_to_depth, image_to_rgb
from m4sam_core.vision.cues import FrameCues, compare_frames
from m4sam_core.vision.images import resize_mask
from m4sam_core.vision.prepare import FramePreparation

SIZES = {"640x480": (480, 640), "1280x720": (720, 1280), "1920x1080": (1080, 1920), "3840x2160": (2160, 3840)}
_HOLES = 0.05  # share of blocks of 8x8 pixels without depth
_STEP_PX = 4  # the view moves from frame to frame


def bench_image(size_px: int, frames: int, on_step: Callable[[str], object]) -> list[dict[str, Any]]:
    """Time every part of the image work, in one thread.

    Parts: `decode` (bgr8 and 16UC1 messages to arrays), `prepare` (see FramePreparation), `scene` (comparing the frame
    with the one before at a glance), `mask` (back to the camera's size).

    Args:
        size_px: side of the model's square.
        frames: timed at each size.
        on_step: called with the name of each size before it begins.

    Returns:
        for each size: `size`, and `parts` and `total`, each with `cpu_ms_p50`, `cpu_ms_p95`, `ms_p50`, `ms_p95`.
        Processor time is this thread's; the clock counts other programs too.
    """
    threads = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    keep_freed_memory()
    try:
        rows = []
        for name, (height, width) in SIZES.items():
            on_step(name)
            rows.append({"size": name, **_size(height, width, size_px, frames)})
        return rows
    finally:
        torch.set_num_threads(threads[0])
        cv2.setNumThreads(threads[1])


def _size(height: int, width: int, size_px: int, frames: int) -> dict[str, Any]:
    rgb, depth = textured_view(0, height, width + _STEP_PX * 8)
    holes = np.random.default_rng(0).random((height // 8, width // 8 + _STEP_PX)) < _HOLES
    depth[: height // 8 * 8, : width // 8 * 8 + _STEP_PX * 8][holes.repeat(8, 0).repeat(8, 1)] = 0
    views = [slice(_STEP_PX * index, _STEP_PX * index + width) for index in range(8)]
    messages = [(_message(rgb[:, view], "bgr8"), _message(depth[:, view], "16UC1")) for view in views]
    coarse = torch.rand(1, 1, 9, 9, generator=torch.Generator().manual_seed(0))
    prob = torch.nn.functional.interpolate(coarse, size=(size_px, size_px), mode="bicubic").clamp(0, 1)
    preparation, cfg, last = FramePreparation(size_px, torch.device("cpu")), PipelineConfig(), None
    clock = _Clock()
    for index in range(frames + 2):
        if index == 2:
            clock.spent.clear()
        rgb_msg, depth_msg = messages[index % len(messages)]
        with clock.part("decode"):
            picture, readings = image_to_rgb(rgb_msg), image_to_depth(depth_msg)
        with clock.part("prepare"):
            prepared = preparation.prepare(picture, readings, cfg)
        with clock.part("scene"):
            _compare(last, prepared.cues)
        with clock.part("mask"):
            resize_mask(prob, height, width, cfg.threshold)
        last = prepared.cues
    return clock.figures()


def _message(pixels: NDArray[Any], encoding: str) -> Any:
    """A sensor_msgs/Image as it comes: a read-only buffer."""
    height, width = pixels.shape[:2]
    data = np.ascontiguousarray(pixels).tobytes()
    return SimpleNamespace(
        height=height, width=width, encoding=encoding, is_bigendian=0, step=len(data) // height, data=data
    )


def _compare(old: FrameCues | None, new: FrameCues) -> None:
    if old is not None:
        compare_frames(old, new)


class _Clock:
    """Wall and processor time of named parts of a frame."""

    def __init__(self) -> None:
        self.spent: dict[str, list[tuple[float, float]]] = defaultdict(list)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Time what is inside the block."""
        wall, cpu = time.perf_counter(), time.thread_time()
        yield
        self.spent[name].append((time.perf_counter() - wall, time.thread_time() - cpu))

    def figures(self) -> dict[str, Any]:
        """`parts` and `total`."""
        whole = np.sum([np.array(times) for times in self.spent.values()], axis=0)
        return {
            "parts": {name: _percentiles(np.array(times)) for name, times in self.spent.items()},
            "total": _percentiles(whole),
        }


def _percentiles(times_s: NDArray[np.float64]) -> dict[str, float]:
    """Of (N, 2) wall and processor times."""
    (ms_p50, cpu_ms_p50), (ms_p95, cpu_ms_p95) = np.percentile(times_s * 1e3, (50, 95), axis=0).round(3).tolist()
    return {"cpu_ms_p50": cpu_ms_p50, "cpu_ms_p95": cpu_ms_p95, "ms_p50": ms_p50, "ms_p95": ms_p95}
