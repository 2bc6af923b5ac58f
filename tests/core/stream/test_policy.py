# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Which frames the memory keeps."""

from __future__ import annotations

import itertools

import pytest

from m4sam_core.config import BankConfig
from m4sam_core.errors import ConfigError
from m4sam_core.stream.policy import build_policy


def feed(policy, stamps, trusted=lambda index: True):
    """Offer frames; returns [(frame index, slot or None)]."""
    log = []
    for index, stamp_s in enumerate(stamps):
        if policy.restarts():
            policy.clear()
        slot = policy.place(stamp_s, trusted(index)) if policy.wants(stamp_s) else None
        log.append((index, slot))
    return log


def stamps(count, fps=15.0, start_s=1000.0):
    return [start_s + index / fps for index in range(count)]


def held(policy):
    return sorted(entry.stamp_s for entry in policy.entries)


def gaps(policy):
    return [later - earlier for earlier, later in itertools.pairwise(held(policy))]


def test_every_frame_is_remembered_as_training_does():
    policy = build_policy(BankConfig())
    assert [slot for _, slot in feed(policy, stamps(16))] == list(range(16))
    for index in range(16, 60):
        (stamp_s,) = stamps(1, start_s=1000.0 + index / 15)
        feed(policy, [stamp_s])
        assert held(policy)[-1] == stamp_s, "the frame before is always there to be read"


@pytest.mark.parametrize("fps", [7.0, 15.0, 30.0, 60.0])
def test_steady_state_is_anchor_even_samples_and_the_newest(fps):
    cfg = BankConfig()
    policy = build_policy(cfg)
    feed(policy, stamps(int(20 * fps), fps=fps))
    assert held(policy)[0] == 1000.0
    older, newest = gaps(policy)[1 : -1 - cfg.recent], gaps(policy)[-cfg.recent :]
    assert len(policy.entries) == cfg.capacity
    assert min(older) >= 0.9 * cfg.write_interval_s
    assert max(older) <= cfg.write_interval_s + 1 / fps
    assert newest == pytest.approx([1 / fps] * cfg.recent)
    assert held(policy)[-1] == pytest.approx(1000.0 + 20 - 1 / fps)


def test_span_never_shrinks_while_thinning():
    policy = build_policy(BankConfig())
    spans = []
    for stamp_s in stamps(15 * 10):
        feed(policy, [stamp_s])
        spans.append(held(policy)[-1] - held(policy)[1] if len(policy.entries) > 2 else 0.0)
    full = spans[15:]
    assert all(later >= earlier - 1e-6 for earlier, later in itertools.pairwise(full[:26]))
    assert min(spans[45:]) == pytest.approx(12 * 0.2)


def test_jitter_does_not_halve_the_rate():
    jitter = [0.0, 0.004, -0.004, 0.002, -0.003]
    noisy = [stamp_s + jitter[index % 5] for index, stamp_s in enumerate(stamps(150))]
    even, uneven = build_policy(BankConfig()), build_policy(BankConfig())
    feed(even, stamps(150))
    feed(uneven, noisy)
    assert held(uneven)[-1] - held(uneven)[1] == pytest.approx(held(even)[-1] - held(even)[1], abs=0.1)


def test_recent_entries_survive():
    policy = build_policy(BankConfig(capacity=6, recent=3, write_interval_s=0.2))
    for stamp_s in stamps(200):
        newest = held(policy)[-3:]
        before = held(policy)
        feed(policy, [stamp_s])
        gone = set(before) - set(held(policy))
        assert not gone & set(newest)


def test_untrusted_frames_are_not_remembered():
    policy = build_policy(BankConfig())
    feed(policy, stamps(100), trusted=lambda index: index % 2 == 0)
    assert all(entry.trusted for entry in policy.entries)
    assert held(policy)[0] == 1000.0


@pytest.mark.parametrize("name", ["sampled", "sliding"])
def test_a_first_untrusted_frame_is_held_until_a_trusted_one_comes(name):
    policy = build_policy(BankConfig(policy=name))
    log = feed(policy, stamps(6), trusted=lambda index: index >= 3)
    assert [slot for _, slot in log] == [0, None, None, 0, 1, 2]
    assert held(policy)[0] == pytest.approx(1000.0 + 3 / 15)
    assert all(entry.trusted for entry in policy.entries)


def test_the_same_stamp_twice_is_the_same_frame():
    policy = build_policy(BankConfig())
    assert [slot for _, slot in feed(policy, [5.0, 5.0, 5.0, 5.1])] == [0, None, None, 1]


def test_sliding_keeps_the_newest():
    policy = build_policy(BankConfig(policy="sliding", capacity=4))
    feed(policy, stamps(50))
    assert held(policy) == stamps(50)[-4:]


def test_clip16_restarts_and_ignores_the_gate():
    policy = build_policy(BankConfig(policy="clip16"))
    log = feed(policy, stamps(40), trusted=lambda index: False)
    assert [slot for _, slot in log] == [index % 16 for index in range(40)]


@pytest.mark.parametrize("name", ["sampled", "sliding", "clip16"])
def test_slots_are_always_legal_and_clear_starts_over(name):
    policy = build_policy(BankConfig(policy=name, capacity=5))
    first = feed(policy, stamps(60), trusted=lambda index: index % 3 > 0)
    count = 0
    for _, slot in first:
        if slot is not None:
            assert 0 <= slot <= count or name == "clip16"
            assert slot < 5
            count = max(count, slot + 1)
    policy.clear()
    assert policy.entries == ()
    assert feed(policy, stamps(60), trusted=lambda index: index % 3 > 0) == first


def test_capacity_must_leave_room_for_samples():
    with pytest.raises(ConfigError, match="capacity must be at least"):
        BankConfig.parse({"capacity": 3, "recent": 2})
