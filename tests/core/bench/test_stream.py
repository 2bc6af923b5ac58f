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

    def __init__(self, leak=0):
        self.leak, self.kept, self.stamps = leak, [], []

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
        return SimpleNamespace(mask=None, scene_id=1)


def test_windows_are_the_second_hundred_and_the_last():
    stream, ticks = Stream(), []
    figures = bench_stream(stream, 400, 48, 64, on_frame=lambda: ticks.append(1))
    assert (figures.early.first, figures.early.last) == (100, 199)
    assert (figures.late.first, figures.late.last) == (300, 399)
    assert figures.scenes == 2
    assert figures.early.memory_mb == 1.0
    assert len(ticks) == len(stream.stamps) == 400
    assert np.all(np.diff(stream.stamps) > 0)


def test_a_leak_shows():
    figures = bench_stream(Stream(leak=MEGABYTE), 400, 48, 64)
    assert figures.late.rss_mb - figures.early.rss_mb > 150
    assert figures.rss_growth > 0.01


def test_too_short_a_run_is_refused():
    with pytest.raises(ConfigError, match="at least 300"):
        bench_stream(Stream(), 299, 48, 64)
