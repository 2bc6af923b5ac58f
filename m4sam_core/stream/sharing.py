# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""One network for several streams: frames in turn, or in a batch (docs/decisions/0025-cameras-share-weights.md)."""

from __future__ import annotations

import threading
from collections import deque

import torch
from torch import Tensor

from m4sam_core.stream.recurrence import Network
from m4sam_core.types import FrameFeatures, MemoryFeatures


class Turns:
    """A lock that is granted in the order of asking, so that nobody who asks once per frame can starve.

    Whoever holds it may take it again; it is free when it was given back as often.
    """

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._queue: deque[tuple[int, threading.Lock]] = deque()
        self._holder: int | None = None
        self._times = 0

    def __enter__(self) -> None:
        me = threading.get_ident()
        with self._guard:
            if self._holder in (None, me):
                self._holder = me
                self._times += 1
                return
            called = threading.Lock()
            called.acquire()
            self._queue.append((me, called))
        called.acquire()

    def __exit__(self, *_: object) -> None:
        with self._guard:
            self._times -= 1
            if self._times:
                return
            self._holder = None
            if self._queue:
                self._holder, called = self._queue.popleft()
                self._times = 1
                called.release()


class _Request:
    """A frame that waits to be encoded."""

    def __init__(self, rgb: Tensor, depth: Tensor) -> None:
        self.rgb, self.depth = rgb, depth
        self.features: FrameFeatures | None = None
        self.error: Exception | None = None


class GatheredNetwork:
    """A network that encodes whatever frames wait at the same time as one batch. For GPUs, which one frame leaves idle.

    Nobody waits for a batch to fill: frames that come while another batch is computed make up the next one. Sums of a
    batch may differ from those of single frames in the last bits.

    Attributes:
        input_size_px: side of the square that `encode` takes.
    """

    def __init__(self, network: Network) -> None:
        self._network = network
        self.input_size_px = network.input_size_px
        self._turns = Turns()
        self._guard = threading.Lock()
        self._waiting: list[_Request] = []

    def encode(self, rgb: Tensor, depth: Tensor, *, aux: bool = True) -> FrameFeatures:  # noqa: ARG002 - the Protocol's
        """See `M4SAM.encode`; without the outputs that only training looks at.

        Raises:
            Exception: what this frame raised when it was computed alone, after its batch had failed.
        """
        mine = _Request(rgb, depth)
        with self._guard:
            self._waiting.append(mine)
        with self._turns:
            if mine.features is None and mine.error is None:
                with self._guard:
                    batch, self._waiting = self._waiting, []
                self._encode(batch)
        if mine.error is not None:
            raise mine.error
        assert mine.features is not None
        return mine.features

    def _encode(self, batch: list[_Request]) -> None:
        try:
            rgb = torch.cat([request.rgb for request in batch])
            depth = torch.cat([request.depth for request in batch])
            features = self._network.encode(rgb, depth, aux=False)
        except Exception as error:  # noqa: BLE001 - whatever a device raises belongs to the frame that made it
            if len(batch) == 1:
                batch[0].error = error
                return
            for request in batch:
                self._encode([request])
            return
        at = 0
        for request in batch:
            count = request.rgb.shape[0]
            request.features = features.frames(slice(at, at + count))
            at += count

    def prior(self, features: FrameFeatures) -> Tensor:
        """See `M4SAM.prior`."""
        return self._network.prior(features)

    def initial_sensory(self, memory: MemoryFeatures) -> Tensor:
        """See `M4SAM.initial_sensory`."""
        return self._network.initial_sensory(memory)

    def encode_value(
        self, memory: MemoryFeatures, mask_prob: Tensor, sensory: Tensor, deep_update: bool
    ) -> tuple[Tensor, Tensor]:
        """See `M4SAM.encode_value`."""
        return self._network.encode_value(memory, mask_prob, sensory, deep_update)

    def recall(self, memory: MemoryFeatures, key: Tensor, value: Tensor, sensory: Tensor) -> tuple[Tensor, Tensor]:
        """See `M4SAM.recall`."""
        return self._network.recall(memory, key, value, sensory)
