# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""The soak benchmark sees a leak when there is one."""

from __future__ import annotations

import mmap
from types import SimpleNamespace

import numpy as np
import pytest

from m4sam_core.bench.stream import bench_stream
from m4sam_core.errors import ConfigError

MEGABYTE = 2**20


class Stream:
    """Stands for a pipeline; keeps `leak` bytes of every frame."""

    memory_bytes = MEGABYTE

    def __init__(self, leak=0, lost=(), jumps=()):
        self.leak, self.kept, self.stamps = leak, [], []
        self.lost, self.jumps, self.place = lost, jumps, [0, -1]

    def process(self, rgb, depth, stamp):
        assert rgb.shape == (48, 64, 3)
        assert rgb.dtype == np.uint8
        assert depth.shape == (48, 64)
        assert depth.dtype == np.uint16
        self.stamps.append(stamp)
        if self.leak:  # pages of its own: the heap may have room left from earlier tests
            pages = mmap.mmap(-1, self.leak)
            pages.write(bytes([1]) * self.leak)
            self.kept.append(pages)
        number = len(self.stamps) - 1
        self.place = [self.place[0] + 1, 0] if number == 250 else [self.place[0], self.place[1] + 1]
        if number in self.jumps:
            self.place[1] += 1
        mask = np.zeros((48, 60 if number in self.lost else 64), np.uint8)
        reason = "scene change" if number == 250 else None
        scene, frame = self.place
        return SimpleNamespace(mask=mask, stamp=stamp, scene_id=scene, frame_index=frame, reset_reason=reason)


def test_windows_are_the_second_hundred_and_the_last():
    stream, ticks = Stream(), []
    figures = bench_stream(stream, 400, 48, 64, on_frame=lambda: ticks.append(1))
    assert (figures.early.first, figures.early.last) == (100, 199)
    assert (figures.late.first, figures.late.last) == (300, 399)
    assert (figures.scenes, figures.scenes_begun) == (2, 1)
    assert [window.last for window in figures.trace] == [*range(39, 400, 40)]
    assert (figures.frames, figures.masks, figures.unexplained) == (400, 400, 0)
    assert figures.early.memory_mb == 1.0
    assert len(ticks) == len(stream.stamps) == 400
    assert np.all(np.diff(stream.stamps) > 0)


def test_a_leak_shows():
    figures = bench_stream(Stream(leak=MEGABYTE), 400, 48, 64)
    assert figures.late.rss_mb - figures.early.rss_mb > 150
    assert figures.rss_growth > 0.01


def test_a_frame_without_its_mask_and_a_gap_in_the_stream_are_unexplained():
    figures = bench_stream(Stream(lost=(120,), jumps=(300, 310)), 400, 48, 64)
    assert (figures.masks, figures.unexplained) == (399, 3)


def test_a_run_that_takes_too_long_ends_with_the_frames_it_did():
    figures = bench_stream(Stream(), 10_000, 48, 64, longest_s=0.0)
    assert (figures.frames, figures.masks, figures.late.last) == (300, 300, 299)


def test_too_short_a_run_is_refused():
    with pytest.raises(ConfigError, match="at least 300"):
        bench_stream(Stream(), 299, 48, 64)
