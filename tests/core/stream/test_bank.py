# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""The preallocated ring, and its equality with the training bank."""

from __future__ import annotations

import pytest
import torch

from m4sam_core.errors import StreamError
from m4sam_core.stream.bank import RingBank
from m4sam_core.stream.recurrence import GrowingBank

TOKENS, KEY, VALUE = 6, 5, 4


def entry(index, batch=1):
    generator = torch.Generator().manual_seed(index)
    key = torch.randn(batch, TOKENS, KEY, generator=generator)
    value = torch.randn(batch, TOKENS, VALUE, generator=generator)
    return key, value


def test_fills_in_order_then_overwrites_in_place():
    bank = RingBank(3)
    assert bank.is_empty
    for index in range(3):
        bank.write(*entry(index))
    before = bank.read_view()[0].data_ptr()
    bank.write(*entry(9), slot=1)
    key, value = bank.read_view()
    assert key.shape == (1, 3 * TOKENS, KEY)
    assert key.data_ptr() == before, "the ring must not be reallocated"
    expected = [entry(index) for index in (0, 9, 2)]
    assert torch.equal(key, torch.cat([pair[0] for pair in expected], dim=1))
    assert torch.equal(value, torch.cat([pair[1] for pair in expected], dim=1))


def test_bytes_are_constant_from_the_first_write():
    bank = RingBank(4)
    bank.write(*entry(0))
    held = bank.nbytes
    assert held == 4 * TOKENS * (KEY + VALUE) * 4
    for index in range(20):
        bank.write(*entry(index), slot=index % 4 if index >= 4 else min(index, bank.count))
    assert bank.nbytes == held


def test_same_entries_as_the_training_bank():
    growing = GrowingBank()
    ring = RingBank(5)
    for index in range(5):
        ring.write(*entry(index, batch=2))
        growing.write(*entry(index, batch=2), None)
        for ours, theirs in zip(ring.read_view(), growing.read_view(), strict=True):
            assert torch.equal(ours, theirs)


def test_clear_forgets_and_keeps_the_memory():
    bank = RingBank(2)
    bank.write(*entry(0))
    address = bank.read_view()[0].data_ptr()
    bank.clear()
    assert bank.is_empty
    with pytest.raises(StreamError, match="empty bank"):
        bank.read_view()
    bank.write(*entry(1))
    key, _ = bank.read_view()
    assert torch.equal(key, entry(1)[0])
    assert key.data_ptr() == address


@pytest.mark.parametrize("slot", [-1, 1, 2, 7])
def test_no_gaps(slot):
    with pytest.raises(StreamError, match="slot"):
        RingBank(2).write(*entry(0), slot=slot)


def test_a_full_bank_wants_to_know_what_to_overwrite():
    bank = RingBank(1)
    bank.write(*entry(0))
    with pytest.raises(StreamError, match="overwrite"):
        bank.write(*entry(1))


def test_another_shape_or_type_is_refused():
    bank = RingBank(2)
    key, value = entry(0)
    bank.write(key, value)
    with pytest.raises(StreamError, match="bank key"):
        bank.write(key[:, :-1], value)
    with pytest.raises(StreamError, match="value"):
        bank.write(key, value.double())


def test_capacity_is_checked():
    with pytest.raises(StreamError, match="at least 1"):
        RingBank(0)
