# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""The nearest-stamp pairer under everything a camera, a network and a looping bag can do to two streams."""

from __future__ import annotations

import random

import pytest

from m4sam_core.errors import ConfigError
from m4sam_core.rgbd.pairing import NearestStampPairer
from m4sam_core.rgbd.pairing.stamps import TOLERANCE_BOUNDS_S

EPS = 1e-9


def arrivals(rgb, depth, rgb_latency=0.005, depth_latency=0.02, jitter=0.0, seed=0):
    """Interleave two lists of stamps in order of arrival: [(kind, stamp)]."""
    rng = random.Random(seed)
    events = [(stamp + rgb_latency + rng.uniform(0, jitter), "rgb", stamp) for stamp in rgb]
    events += [(stamp + depth_latency + rng.uniform(0, jitter), "depth", stamp) for stamp in depth]
    return [(kind, stamp) for _, kind, stamp in sorted(events)]


def feed(pairer, events):
    pairs = []
    for kind, stamp in events:
        pairs += pairer.add_rgb(stamp, stamp) if kind == "rgb" else pairer.add_depth(stamp, stamp)
    return pairs


def ticks(rate_hz, seconds, start=100.0, phase=0.0):
    return [start + phase + i / rate_hz for i in range(int(seconds * rate_hz))]


def assert_accounted(pairer, pairs):
    """Every rgb item became exactly one pair, one counted drop, or still waits."""
    assert pairer.counts["rgb"] == len(pairs) + sum(pairer.drops.values()) + pairer.waiting
    assert pairer.counts["pairs"] + pairer.counts["held"] + pairer.counts["rgb_only"] == len(pairs)


def assert_within_tolerance(pairs, tolerance_s):
    for pair in pairs:
        if pair.depth is not None and not pair.held:
            assert abs(pair.skew_s) <= tolerance_s + EPS


@pytest.mark.parametrize("phase", [0.0, 0.004, -0.004, 0.015])
def test_equal_rates_pair_every_frame_with_its_nearest(phase):
    pairer = NearestStampPairer(missing_depth="drop")
    rgb, depth = ticks(30, 4), ticks(30, 4, phase=phase)
    pairs = feed(pairer, arrivals(rgb, depth, jitter=0.004))
    assert len(pairs) >= len(rgb) - 2
    for pair in pairs:
        assert pair.depth == min(depth, key=lambda stamp: abs(stamp - pair.rgb))
    assert_accounted(pairer, pairs)


@pytest.mark.parametrize("depth_latency", [0.0, 0.01, 0.05, 0.15])
def test_each_stream_may_be_the_late_one(depth_latency):
    pairer = NearestStampPairer(missing_depth="drop")
    rgb = ticks(30, 4)
    pairs = feed(pairer, arrivals(rgb, rgb, rgb_latency=0.04, depth_latency=depth_latency))
    assert len(pairs) >= len(rgb) - 6
    assert all(pair.skew_s == 0 for pair in pairs)


def test_a_pair_is_given_out_as_soon_as_it_is_certain():
    pairer = NearestStampPairer()
    feed(pairer, arrivals(ticks(30, 1), ticks(30, 1)))
    assert pairer.add_rgb(101.0, "rgb") == []
    (pair,) = pairer.add_depth(101.002, "depth")
    assert (pair.rgb, pair.depth, pair.held) == ("rgb", "depth", False)
    assert pair.skew_s == pytest.approx(0.002)


def test_waits_for_a_nearer_depth_under_a_wide_tolerance():
    pairer = NearestStampPairer(tolerance_s=0.5)
    for i in range(3):
        pairer.add_depth(10 + i * 0.1, f"depth{i}")
    assert pairer.add_rgb(10.28, "rgb") == []
    (pair,) = pairer.add_depth(10.3, "nearer")
    assert pair.depth == "nearer"


@pytest.mark.parametrize("seed", range(10))
def test_ten_per_cent_drops_on_each_stream(seed):
    rng = random.Random(seed)
    full = ticks(30, 60)
    rgb = [stamp for stamp in full if rng.random() > 0.1]
    depth = [stamp + rng.uniform(-0.005, 0.005) for stamp in full if rng.random() > 0.1]
    pairer = NearestStampPairer(missing_depth="drop")
    pairs = feed(pairer, arrivals(rgb, depth, jitter=0.01, seed=seed))
    possible = sum(any(abs(d - r) <= 0.005 for d in depth) for r in rgb)
    assert len(pairs) > 0.98 * possible
    assert_within_tolerance(pairs, 1 / 60 + 0.002)
    assert_accounted(pairer, pairs)


@pytest.mark.parametrize(("rgb_rate", "depth_rate"), [(30, 15), (15, 30), (60, 30), (30, 10), (5, 30)])
def test_unequal_rates(rgb_rate, depth_rate):
    rgb, depth = ticks(rgb_rate, 10), ticks(depth_rate, 10, phase=0.003)
    dropping = NearestStampPairer(missing_depth="drop")
    pairs = feed(dropping, arrivals(rgb, depth))
    slower = min(len(rgb), len(depth))
    assert slower - 4 <= len(pairs) <= slower
    assert all(abs(pair.skew_s - 0.003) < 1e-6 for pair in pairs)

    holding = NearestStampPairer(missing_depth="hold")
    pairs = feed(holding, arrivals(rgb, depth)) + holding.flush()
    assert [pair.rgb for pair in pairs] == rgb
    assert all(pair.depth is not None for pair in pairs)
    assert holding.counts["held"] == pytest.approx(max(0, len(rgb) - len(depth)), abs=4)
    assert_accounted(holding, pairs)


def test_frames_between_two_depths_do_not_wait():
    pairer = NearestStampPairer()
    feed(pairer, arrivals(ticks(30, 2), ticks(15, 2)))
    pairer.add_rgb(102.0, "a")
    (pair,) = pairer.add_depth(102.0, "depth a")
    assert not pair.held
    (pair,) = pairer.add_rgb(102 + 1 / 30, "b")
    assert (pair.rgb, pair.depth, pair.held) == ("b", "depth a", True)
    assert pairer.add_rgb(102 + 2 / 30, "c") == []


def test_twenty_loops_of_a_bag_with_dropped_frames():
    rng = random.Random(7)
    pairer = NearestStampPairer(missing_depth="drop")
    for _ in range(20):
        full = ticks(15, 6)
        rgb = [stamp for stamp in full if rng.random() > 0.1]
        depth = [stamp for stamp in full if rng.random() > 0.1]
        possible = len(set(rgb) & set(depth))
        pairs = feed(pairer, arrivals(rgb, depth))
        assert len(pairs) >= possible - 3
        assert_within_tolerance(pairs, 1 / 30 + EPS)
    # 19 loops, each seen on both streams.
    assert pairer.counts["time_jumps"] == 2 * 19


@pytest.mark.parametrize("late", ["rgb", "depth"])
def test_a_loop_costs_at_most_a_few_frames_when_one_stream_lags(late):
    pairer = NearestStampPairer(missing_depth="drop")
    latencies = {"rgb_latency": 0.15, "depth_latency": 0.0} if late == "rgb" else {"depth_latency": 0.15}
    stamps = ticks(30, 3)
    # Arrival times are continuous while stamps start over.
    first = [
        (kind, stamp)
        for kind, stamp in arrivals(stamps + [s + 3 for s in stamps], stamps + [s + 3 for s in stamps], **latencies)
    ]
    looped = [(kind, stamp if stamp < 103 - EPS else stamp - 3) for kind, stamp in first]
    pairs = feed(pairer, looped)
    assert len(pairs) >= 2 * len(stamps) - 12
    assert all(pair.skew_s == pytest.approx(0, abs=1e-6) for pair in pairs)


def test_rgb_clock_alone_jumping_recovers():
    pairer = NearestStampPairer(missing_depth="drop")
    feed(pairer, arrivals(ticks(30, 2), ticks(30, 2)))
    glitch = arrivals(ticks(30, 1, start=50), ticks(30, 1, start=102))
    assert feed(pairer, glitch) == []
    assert len(feed(pairer, arrivals(ticks(30, 2, start=103), ticks(30, 2, start=103)))) >= 56


def test_late_and_repeated_messages_are_counted_and_do_not_disturb():
    pairer = NearestStampPairer(missing_depth="drop")
    pairer.add_rgb(1.0, "a")
    assert pairer.add_rgb(1.0, "again") == []
    assert pairer.add_rgb(0.95, "late") == []
    assert pairer.drops["late"] == 2
    assert [pair.rgb for pair in pairer.add_depth(1.0, "d")] == ["a"]
    pairer.add_depth(1.0, "again")
    assert pairer.counts["depth_late"] == 1


def test_depth_that_never_comes():
    waiting = NearestStampPairer(missing_depth="rgb_only")
    pairs = feed(waiting, arrivals(ticks(30, 5), []))
    assert all(pair.depth is None for pair in pairs)
    # Two seconds of patience for the camera to start, then every frame at once.
    assert len(pairs) >= 5 * 30 - 62
    assert waiting.waiting == 0
    assert_accounted(waiting, pairs)

    dropping = NearestStampPairer(missing_depth="drop")
    assert feed(dropping, arrivals(ticks(30, 5), [])) == []
    assert_accounted(dropping, [])


def test_depth_that_stops_and_returns():
    pairer = NearestStampPairer(missing_depth="hold", max_hold_s=0.5)
    rgb = ticks(30, 9)
    depth = [stamp for stamp in rgb if not 103 <= stamp < 106]
    pairs = feed(pairer, arrivals(rgb, depth))
    by_stamp = {pair.rgb: pair for pair in pairs}
    assert by_stamp[rgb[95]].held
    assert by_stamp[rgb[130]].depth is None
    assert not by_stamp[rgb[200]].held
    assert by_stamp[rgb[200]].skew_s == 0
    assert len(pairs) >= len(rgb) - 8
    assert_accounted(pairer, pairs)


def test_hold_never_reuses_older_depth_than_allowed():
    pairer = NearestStampPairer(missing_depth="hold", max_hold_s=0.3)
    rgb = ticks(30, 6)
    pairs = feed(pairer, arrivals(rgb, [stamp for stamp in rgb if stamp < 103])) + pairer.flush()
    assert max(abs(pair.skew_s) for pair in pairs if pair.depth is not None) <= 0.3 + EPS
    assert pairs[-1].depth is None


def test_depth_offset_is_added_to_depth_stamps():
    pairer = NearestStampPairer(depth_offset_s=-0.25, missing_depth="drop")
    rgb = ticks(30, 2)
    pairs = feed(pairer, arrivals(rgb, [stamp + 0.25 for stamp in rgb], depth_latency=-0.2))
    assert len(pairs) >= len(rgb) - 2
    assert all(abs(pair.skew_s) < 1e-6 for pair in pairs)


@pytest.mark.parametrize(
    ("rate", "expected"), [(30, 1 / 60), (10, 0.05), (1, TOLERANCE_BOUNDS_S[1]), (400, TOLERANCE_BOUNDS_S[0])]
)
def test_tolerance_adapts_to_half_a_period_within_bounds(rate, expected):
    pairer = NearestStampPairer()
    feed(pairer, arrivals(ticks(rate, 20 / rate), ticks(rate, 20 / rate)))
    assert pairer.tolerance_s == pytest.approx(expected, rel=1e-3)


def test_streams_on_different_clocks_say_how_far_apart_they_are():
    pairer = NearestStampPairer(missing_depth="rgb_only")
    pairs = feed(pairer, arrivals(ticks(30, 4, start=1000), ticks(30, 4, start=500), depth_latency=500.02))
    assert pairs
    assert all(pair.depth is None for pair in pairs)
    assert pairer.nearest_miss_s == pytest.approx(500, abs=1)


def test_queues_are_bounded():
    pairer = NearestStampPairer(capacity=4, missing_depth="drop")
    for stamp in ticks(30, 20):
        pairer.add_depth(stamp, stamp)
        assert len(pairer._depth_queue) <= 4
    for stamp in ticks(30, 20, start=1e6):
        pairer.add_rgb(stamp, stamp)
        assert pairer.waiting <= 4


def test_stamps_that_are_not_numbers_are_counted():
    pairer = NearestStampPairer()
    assert pairer.add_rgb(float("nan"), "x") == []
    assert pairer.add_depth(float("inf"), "x") == []
    assert pairer.drops["bad_stamp"] == 1
    assert pairer.counts["depth_bad_stamp"] == 1


def test_flush_gives_out_the_rest():
    pairer = NearestStampPairer(missing_depth="rgb_only")
    assert pairer.add_rgb(1.0, "a") == []
    assert pairer.add_rgb(1.03, "b") == []
    assert [(pair.rgb, pair.depth) for pair in pairer.flush()] == [("a", None), ("b", None)]


def test_clear_forgets_what_waits():
    pairer = NearestStampPairer()
    pairer.add_rgb(5.0, "old")
    pairer.clear()
    assert pairer.add_depth(5.0, "old depth") == []
    (pair,) = pairer.add_rgb(5.0, "new")
    assert pair.rgb == "new"
    assert pairer.drops["cleared"] == 1


@pytest.mark.parametrize("seed", range(40))
def test_any_sequence_is_accounted_for_and_within_tolerance(seed):
    rng = random.Random(seed)
    policy = rng.choice(["hold", "rgb_only", "drop"])
    tolerance = rng.choice([None, 0.01, 0.2])
    pairer = NearestStampPairer(tolerance_s=tolerance, missing_depth=policy, capacity=rng.randint(1, 12))
    pairs, now = [], 0.0
    for _ in range(2000):
        now += rng.choice([0.0, 0.005, 0.03, 0.03, 0.03, 0.5, 5.0, -0.05, -20.0]) if rng.random() < 0.2 else 0.015
        stamp = now + rng.uniform(-0.01, 0.01)
        new = pairer.add_rgb(stamp, stamp) if rng.random() < 0.5 else pairer.add_depth(stamp, stamp)
        assert_within_tolerance(new, TOLERANCE_BOUNDS_S[1] if tolerance is None else tolerance)
        pairs += new
        assert_accounted(pairer, pairs)
    pairs += pairer.flush()
    assert pairer.waiting == 0
    assert_accounted(pairer, pairs)


@pytest.mark.parametrize(
    "bad", [{"tolerance_s": 0}, {"tolerance_s": float("nan")}, {"capacity": 0}, {"missing_depth": "x"}]
)
def test_bad_settings_are_refused(bad):
    with pytest.raises(ConfigError, match=next(iter(bad))):
        NearestStampPairer(**bad)
