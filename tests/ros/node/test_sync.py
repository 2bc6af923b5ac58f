# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Both pairing backends behind the one interface: the same promises, the same tests."""

from __future__ import annotations

import importlib.util
import random

import pytest

from m4sam_core.errors import ConfigError
from m4sam_core.rgbd.pairing import NearestStampPairer
from m4sam_ros.node.intake.sync import make_synchronizer
from m4sam_ros.settings import SyncConfig

BACKENDS = ["nearest", pytest.param("message_filters", marks=pytest.mark.needs_ros_install("message_filters"))]
both = pytest.mark.parametrize("backend", BACKENDS)


def make(backend, **settings):
    return make_synchronizer(SyncConfig(backend=backend, **settings))


def feed(synchronizer, rgb, depth, depth_latency=0.012):
    """Items are their stamps, in order of arrival."""
    events = sorted(
        [(stamp, "rgb", stamp) for stamp in rgb] + [(stamp + depth_latency, "depth", stamp) for stamp in depth]
    )
    pairs = []
    for _, kind, stamp in events:
        pairs += synchronizer.add_rgb(stamp, stamp) if kind == "rgb" else synchronizer.add_depth(stamp, stamp)
    return pairs


def ticks(rate_hz, seconds, start=100.0):
    return [start + i / rate_hz for i in range(int(rate_hz * seconds))]


@both
def test_equal_rates_with_an_offset(backend):
    synchronizer = make(backend, missing_depth="drop")
    rgb = ticks(30, 3)
    pairs = feed(synchronizer, rgb, [stamp + 0.004 for stamp in rgb])
    assert len(pairs) >= len(rgb) - 3
    assert all(abs(pair.skew_s - 0.004) < 1e-5 for pair in pairs)
    assert [pair.rgb for pair in pairs] == sorted(pair.rgb for pair in pairs)


@both
def test_exactly_equal_stamps_and_a_tiny_tolerance(backend):
    synchronizer = make(backend, tolerance_s=1e-4, missing_depth="drop")
    assert len(feed(synchronizer, ticks(30, 2), ticks(30, 2))) >= 59


@both
def test_losses_never_make_wide_pairs(backend):
    rng = random.Random(5)
    full = ticks(30, 20)
    rgb = [stamp for stamp in full if rng.random() > 0.1]
    depth = [stamp for stamp in full if rng.random() > 0.1]
    synchronizer = make(backend, missing_depth="drop")
    pairs = feed(synchronizer, rgb, depth)
    assert len(pairs) > 0.95 * len(set(rgb) & set(depth))
    assert max(abs(pair.skew_s) for pair in pairs) <= 1 / 60 + 0.001
    drops = sum(synchronizer.drops.values())
    assert len(rgb) - len(pairs) - drops <= 10


@both
def test_twenty_loops(backend):
    synchronizer = make(backend, missing_depth="drop")
    for _ in range(20):
        assert len(feed(synchronizer, ticks(15, 4), ticks(15, 4))) >= 56
    assert synchronizer.counts["time_jumps"] >= 19


@both
@pytest.mark.parametrize("policy", ["hold", "rgb_only", "drop"])
def test_policy_for_missing_depth(backend, policy):
    synchronizer = make(backend, missing_depth=policy, max_hold_s=0.3)
    rgb = ticks(30, 6)
    pairs = feed(synchronizer, rgb, [stamp for stamp in rgb if stamp < 103])
    late = [pair for pair in pairs if pair.rgb > 104]
    held = [pair for pair in pairs if pair.held]
    assert (len(late) > 30) is (policy != "drop")
    assert all(pair.depth is None for pair in late)
    assert (len(held) > 3) is (policy == "hold")
    assert all(abs(pair.skew_s) <= 0.3 for pair in held)


@both
def test_depth_offset(backend):
    synchronizer = make(backend, depth_stamp_offset_s=0.05, missing_depth="drop")
    rgb = ticks(30, 2)
    pairs = feed(synchronizer, rgb, [stamp - 0.05 for stamp in rgb], depth_latency=0.06)
    assert len(pairs) >= 57
    assert all(abs(pair.skew_s) < 1e-5 for pair in pairs)


@both
def test_clear_starts_anew(backend):
    synchronizer = make(backend, missing_depth="drop")
    feed(synchronizer, ticks(30, 1), ticks(30, 1))
    synchronizer.clear()
    assert len(feed(synchronizer, ticks(30, 1, start=5), ticks(30, 1, start=5))) >= 28


def test_our_own_is_the_default():
    assert isinstance(make_synchronizer(SyncConfig()), NearestStampPairer)


@pytest.mark.skipif(importlib.util.find_spec("message_filters") is not None, reason="message_filters is installed")
def test_a_backend_that_is_not_installed_is_refused_with_advice():
    with pytest.raises(ConfigError, match=r"sync.backend: expected message_filters to be installed.*nearest"):
        make("message_filters")
