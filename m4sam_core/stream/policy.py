# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Which frames the memory keeps. Storage (bank.py) knows nothing of time; this knows nothing of tensors.

Three small objects behind one Protocol (docs/stream.md#memory; docs/decisions/0010-memory-policy.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from m4sam_core.config import BankConfig

_JITTER = 0.9  # cameras jitter: this share of the interval already counts as the whole


@dataclass(frozen=True)
class MemoryEntry:
    """What the policy remembers of one slot.

    Attributes:
        stamp_s: time of the frame.
        trusted: the write gate let it pass.
    """

    stamp_s: float
    trusted: bool


class MemoryPolicy(Protocol):
    """Decides what is written where."""

    @property
    def entries(self) -> tuple[MemoryEntry, ...]:
        """What is held now, in slot order."""

    def restarts(self) -> bool:
        """Whether memory and sensory state must be cleared before the next frame; asked once per frame."""

    def wants(self, stamp_s: float) -> bool:
        """Whether this frame should be written if it is good enough."""

    def place(self, stamp_s: float, trusted: bool) -> int | None:
        """Slot for this frame, or None to leave it unwritten. A slot returned is a slot taken."""

    def clear(self) -> None:
        """Forget all entries."""


class _SlotPolicy:
    """Book-keeping that the policies share: one entry per slot, filled in order."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._entries: list[MemoryEntry] = []

    @property
    def entries(self) -> tuple[MemoryEntry, ...]:
        """See `MemoryPolicy.entries`."""
        return tuple(self._entries)

    def restarts(self) -> bool:
        """See `MemoryPolicy.restarts`."""
        return False

    def clear(self) -> None:
        """See `MemoryPolicy.clear`."""
        self._entries.clear()

    def _put(self, slot: int, entry: MemoryEntry) -> int:
        if slot == len(self._entries):
            self._entries.append(entry)
        else:
            self._entries[slot] = entry
        return slot

    def _is_new(self, stamp_s: float) -> bool:
        return all(stamp_s > entry.stamp_s for entry in self._entries)

    def _by_age(self) -> list[int]:
        return sorted(range(len(self._entries)), key=lambda slot: self._entries[slot].stamp_s)


class SampledPolicy(_SlotPolicy):
    """Anchor, the newest few, and entries sampled by time.

    - Slot 0 is the anchor: the first trusted frame of the scene. It is never evicted.
    - If the first frame is not trusted it is held only until a trusted one replaces it.
    - Every trusted frame is written, as in training, so that the frame before is always there to be read.
    - A full bank gives up the oldest entry that is closer to its predecessor than the interval, else the oldest but the
      anchor. So it ends up with the newest `recent` and before them entries at the interval, reaching ever further
      back on the way there.
    """

    def __init__(self, capacity: int, recent: int, write_interval_s: float) -> None:
        """See BankConfig for the arguments' units and bounds."""
        super().__init__(capacity)
        self.recent = recent
        self.write_interval_s = write_interval_s

    def wants(self, stamp_s: float) -> bool:
        """See `MemoryPolicy.wants`."""
        return not self._entries or self._is_new(stamp_s)

    def place(self, stamp_s: float, trusted: bool) -> int | None:
        """See `MemoryPolicy.place`."""
        entry = MemoryEntry(stamp_s, trusted)
        if not self._entries:
            return self._put(0, entry)
        if not self._entries[0].trusted:
            return self._put(0, entry) if trusted else None
        if not trusted:
            return None
        if len(self._entries) < self.capacity:
            return self._put(len(self._entries), entry)
        return self._put(self._evicted(), entry)

    def _evicted(self) -> int:
        order = self._by_age()
        candidates = [slot for slot in order[: len(order) - self.recent] if slot != 0]
        age_rank = {slot: rank for rank, slot in enumerate(order)}
        for slot in candidates:
            older = order[age_rank[slot] - 1]
            if self._entries[slot].stamp_s - self._entries[older].stamp_s < _JITTER * self.write_interval_s:
                return slot
        return candidates[0]


class SlidingPolicy(_SlotPolicy):
    """The last `capacity` trusted frames."""

    def wants(self, stamp_s: float) -> bool:
        """See `MemoryPolicy.wants`."""
        return self._is_new(stamp_s)

    def place(self, stamp_s: float, trusted: bool) -> int | None:
        """See `MemoryPolicy.place`."""
        entry = MemoryEntry(stamp_s, trusted)
        if not self._entries:
            return self._put(0, entry)
        if not trusted:
            return None
        untrusted = [slot for slot, held in enumerate(self._entries) if not held.trusted]
        if untrusted:
            return self._put(untrusted[0], entry)
        if len(self._entries) < self.capacity:
            return self._put(len(self._entries), entry)
        return self._put(self._by_age()[0], entry)


class ClipPolicy(_SlotPolicy):
    """The release's habit: remember every frame, start from nothing every `capacity` frames. The gate has no say."""

    def restarts(self) -> bool:
        """See `MemoryPolicy.restarts`."""
        return len(self._entries) >= self.capacity

    def wants(self, stamp_s: float) -> bool:  # noqa: ARG002 - the Protocol's signature
        """See `MemoryPolicy.wants`."""
        return True

    def place(self, stamp_s: float, trusted: bool) -> int | None:
        """See `MemoryPolicy.place`."""
        return self._put(len(self._entries), MemoryEntry(stamp_s, trusted))


def build_policy(cfg: BankConfig) -> MemoryPolicy:
    """The policy that `cfg.policy` names."""
    if cfg.policy == "sampled":
        return SampledPolicy(cfg.capacity, cfg.recent, cfg.write_interval_s)
    if cfg.policy == "sliding":
        return SlidingPolicy(cfg.capacity)
    return ClipPolicy(cfg.capacity)
