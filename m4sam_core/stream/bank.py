# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""The robot's memory bank: a preallocated ring of whole frames, overwritten in place.

Which frame goes where is the policy's business (policy.py). Training keeps a growing list instead (recurrence.py),
because in-place writes break autograd; both read the same, which a test proves.
"""

from __future__ import annotations

from torch import Tensor

from m4sam_core.errors import StreamError


class RingBank:
    """Fixed memory for `capacity` frames; allocated at the first write, never again.

    Filled slots are always the first ones: an empty bank fills in order, a full one is overwritten in place. Reading
    is therefore a view, without a copy. The similarity keys arrive ready made (`MemoryFeatures.key`), so each is
    computed once, when its frame is written, and not once per frame that reads it.
    """

    def __init__(self, capacity: int) -> None:
        """Describe the ring; it is allocated when the first frame shows its size.

        Args:
            capacity: frames held, at least 1.

        Raises:
            StreamError: capacity below 1.
        """
        if capacity < 1:
            raise StreamError(f"bank capacity: expected at least 1 entry, got {capacity}")
        self.capacity = capacity
        self.count = 0
        self._key: Tensor | None = None
        self._value: Tensor | None = None
        self._tokens = 0  # elements per frame, h*w

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to read."""
        return self.count == 0

    @property
    def nbytes(self) -> int:
        """Bytes held, constant after the first write."""
        if self._key is None or self._value is None:
            return 0
        return self._key.nbytes + self._value.nbytes

    def write(self, key: Tensor, value: Tensor, slot: int | None = None) -> None:
        """Copy one frame into the ring.

        Args:
            key (B, hw, E): similarity keys of the frame's h*w elements.
            value (B, hw, Cv): what they say about saliency.
            slot: where; None takes the next free slot. At most `count`: the ring fills without gaps.

        Raises:
            StreamError: no free slot, a gap, or a shape, type or device other than the first write's.
        """
        slot = self.count if slot is None else slot
        if not 0 <= slot <= self.count or slot >= self.capacity:
            raise StreamError(
                f"bank slot: expected 0 to {min(self.count, self.capacity - 1)}, got {slot}; "
                "name the entry to overwrite once the bank is full"
            )
        if self._key is None or self._value is None:
            self._tokens = key.shape[1]
            self._key = self._allocate(key)
            self._value = self._allocate(value)
        self._check("key", key, self._key)
        self._check("value", value, self._value)
        start = slot * self._tokens
        self._key[:, start : start + self._tokens].copy_(key)
        self._value[:, start : start + self._tokens].copy_(value)
        self.count = max(self.count, slot + 1)

    def read_view(self) -> tuple[Tensor, Tensor]:
        """What there is to read, in slot order; views of the ring, valid until the next write.

        Returns:
            key (B, count*hw, E) and value (B, count*hw, Cv).

        Raises:
            StreamError: the bank is empty.
        """
        if self._key is None or self._value is None or self.is_empty:
            raise StreamError("bank: expected at least one entry, got an empty bank; write before reading")
        filled = self.count * self._tokens
        return self._key[:, :filled], self._value[:, :filled]

    def clear(self) -> None:
        """Forget everything and keep the memory; nothing written before can be read again."""
        self.count = 0

    def _allocate(self, like: Tensor) -> Tensor:
        return like.new_zeros(like.shape[0], self.capacity * self._tokens, like.shape[2])

    def _check(self, name: str, given: Tensor, ring: Tensor) -> None:
        expected = (ring.shape[0], self._tokens, ring.shape[2])
        if tuple(given.shape) != expected or given.dtype != ring.dtype or given.device != ring.device:
            raise StreamError(
                f"bank {name}: expected {expected} {ring.dtype} on {ring.device}, "
                f"got {tuple(given.shape)} {given.dtype} on {given.device}; start a new stream"
            )
