# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Does an endless stream stay as fast and as small as it began? (docs/stream.md#memory)."""

from __future__ import annotations

import gc
import resource
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from m4sam_core.errors import ConfigError
from m4sam_core.pipeline import SaliencyPipeline
from m4sam_core.result import SaliencyResult

FPS = 15.0
WINDOW = 100  # frames compared: the second hundred with the last


@dataclass(frozen=True)
class StreamWindow:
    """A hundred frames of the stream.

    Attributes:
        first: number of the first frame.
        last: number of the last frame.
        ms_p50: median time of a whole frame.
        ms_mean: mean time of a whole frame.
        cpu_ms_p50: median processor time of a whole frame; unlike the clock it does not count other programs.
        rss_mb: resident memory after the last frame.
        memory_mb: what the stream's bank and sensory state hold.
    """

    first: int
    last: int
    ms_p50: float
    ms_mean: float
    cpu_ms_p50: float
    rss_mb: float
    memory_mb: float


@dataclass(frozen=True)
class StreamFigures:
    """Early against late.

    Attributes:
        early: frames 100 to 200.
        late: the last hundred.
        trace: the last hundred of each tenth of the run that was asked for.
        frames: processed.
        masks: that came back, at the size of their picture and with its stamp.
        scenes_begun: scenes that say why they begin, the first one not counted.
        unexplained: frames without a mask, or that neither follow the frame before nor begin a scene with a reason.
        rss_growth: late over early resident memory, minus 1.
        time_growth: late over early median time, minus 1.
        cpu_growth: late over early median processor time, minus 1.
        scenes: scenes the stream went through.
    """

    early: StreamWindow
    late: StreamWindow
    trace: list[StreamWindow]
    frames: int
    masks: int
    scenes_begun: int
    unexplained: int
    rss_growth: float
    time_growth: float
    cpu_growth: float
    scenes: int

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return asdict(self)


def bench_stream(
    pipeline: SaliencyPipeline,
    frames: int,
    height: int,
    width: int,
    on_frame: Callable[[], object] | None = None,
    longest_s: float = float("inf"),
) -> StreamFigures:
    """Run a long stream through the whole pipeline, camera size in, mask out.

    Generated views drift, and every few hundred frames the scene is another one, so resets are part of it.

    Args:
        pipeline: the pipeline.
        frames: at least 300.
        height: rows of the camera image. Pixels.
        width: columns of the camera image. Pixels.
        on_frame: called after every frame.
        longest_s: end after this time with the frames that were done, at least 300. Seconds.

    Raises:
        ConfigError: fewer than 300 frames.
    """
    if frames < 3 * WINDOW:
        raise ConfigError(f"frames: expected at least {3 * WINDOW}, got {frames}")
    scenes = [textured_view(seed, height, width + 100) for seed in range(3)]
    spent_ms, cpu_ms = np.empty(frames), np.empty(frames)
    early: StreamWindow | None = None
    trace: list[StreamWindow] = []
    account = _Account()
    ends_at, done = time.monotonic() + longest_s, 0
    for index in range(frames):
        rgb, depth = scenes[index // 700 % len(scenes)]
        shift = index % 700 % 97
        view = (
            np.ascontiguousarray(rgb[:, shift : shift + width]),
            np.ascontiguousarray(depth[:, shift : shift + width]),
        )
        start, cpu_start = time.perf_counter(), time.process_time()
        result = pipeline.process(*view, index / FPS)
        mask = result.mask
        spent_ms[index] = (time.perf_counter() - start) * 1e3
        cpu_ms[index] = (time.process_time() - cpu_start) * 1e3
        account.take(result, mask, (height, width), index / FPS)
        if index + 1 == 2 * WINDOW:
            early = _window(pipeline, spent_ms, cpu_ms, index + 1)
        if (index + 1) * 10 // frames > len(trace):
            trace.append(_window(pipeline, spent_ms, cpu_ms, index + 1))
        if on_frame:
            on_frame()
        done = index + 1
        if done >= 3 * WINDOW and time.monotonic() > ends_at:
            break
    assert early is not None
    late = _window(pipeline, spent_ms, cpu_ms, done)
    return StreamFigures(
        early=early,
        late=late,
        trace=trace,
        frames=done,
        masks=account.masks,
        scenes_begun=account.scenes_begun,
        unexplained=account.unexplained,
        rss_growth=late.rss_mb / early.rss_mb - 1,
        time_growth=late.ms_p50 / early.ms_p50 - 1,
        cpu_growth=late.cpu_ms_p50 / early.cpu_ms_p50 - 1,
        scenes=account.scene_id + 1,
    )


class _Account:
    """What became of every frame."""

    def __init__(self) -> None:
        self.masks = self.scenes_begun = self.unexplained = 0
        self.scene_id, self._frame_index = 0, -1

    def take(self, result: SaliencyResult, mask: np.ndarray, size: tuple[int, int], stamp: float) -> None:
        made = mask.shape == size and mask.dtype == np.uint8 and result.stamp == stamp
        follows = (result.scene_id, result.frame_index) == (self.scene_id, self._frame_index + 1)
        begins = (result.scene_id, result.frame_index) == (self.scene_id + 1, 0) and bool(result.reset_reason)
        self.masks += made
        self.scenes_begun += begins
        self.unexplained += not (made and (follows or begins))
        self.scene_id, self._frame_index = result.scene_id, result.frame_index


def _window(pipeline: SaliencyPipeline, spent_ms: np.ndarray, cpu_ms: np.ndarray, end: int) -> StreamWindow:
    first = max(0, end - WINDOW)
    part = spent_ms[first:end]
    gc.collect()
    return StreamWindow(
        first=first,
        last=end - 1,
        ms_p50=float(np.median(part)),
        ms_mean=float(part.mean()),
        cpu_ms_p50=float(np.median(cpu_ms[first:end])),
        rss_mb=resident_mb(),
        memory_mb=pipeline.memory_bytes / 2**20,
    )


def textured_view(seed: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """A smooth texture (height, width, 3) and its depth in millimetres."""
    import cv2

    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (24, 36, 4), dtype=np.uint8)
    wide = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return wide[..., :3], (wide[..., 3].astype(np.uint16) * 10 + 500)


def resident_mb() -> float:
    """Resident memory of this process. MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20
