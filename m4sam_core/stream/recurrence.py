# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""The recurrence: one step in time, used by training, evaluation and the robot alike (docs/model.md#recurrence).

An empty bank means a new scene: the memory is pseudo-initialised from the frame's own coarse mask, no prompt needed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal, Protocol

import torch
from torch import Tensor

from m4sam_core.errors import InputError
from m4sam_core.model.m4sam import M4SAM
from m4sam_core.types import ClipOutput, FrameFeatures, MemoryFeatures

DeepUpdate = Literal["always", "never", "random", "policy"]


class Network(Protocol):
    """What the recurrence asks of a network: verbs over frames, without a memory of their own.

    `M4SAM` is the reference; `m4sam_core.backends` has others that compute the same.

    Attributes:
        input_size_px: side of the square that `encode` takes.
    """

    input_size_px: int

    def encode(self, rgb: Tensor, depth: Tensor, *, aux: bool = True) -> FrameFeatures:
        """See `M4SAM.encode`."""
        ...

    def prior(self, features: FrameFeatures) -> Tensor:
        """See `M4SAM.prior`."""
        ...

    def initial_sensory(self, memory: MemoryFeatures) -> Tensor:
        """See `M4SAM.initial_sensory`."""
        ...

    def encode_value(
        self, memory: MemoryFeatures, mask_prob: Tensor, sensory: Tensor, deep_update: bool
    ) -> tuple[Tensor, Tensor]:
        """See `M4SAM.encode_value`."""
        ...

    def recall(self, memory: MemoryFeatures, key: Tensor, value: Tensor, sensory: Tensor) -> tuple[Tensor, Tensor]:
        """See `M4SAM.recall`."""
        ...


class Bank(Protocol):
    """Storage of memory entries; which entry goes where is a policy's business."""

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to read."""
        ...

    def read_view(self) -> tuple[Tensor, Tensor]:
        """Keys (B, M, E) and values (B, M, Cv) of the M elements held."""
        ...

    def write(self, key: Tensor, value: Tensor, slot: int | None) -> None:
        """Store one entry: key (B, h*w, E), value (B, h*w, Cv); `slot` None appends."""
        ...


class GrowingBank:
    """Keeps every entry; out of place, so that gradients flow. Training and clip evaluation use it."""

    def __init__(self) -> None:
        self._keys: list[Tensor] = []
        self._values: list[Tensor] = []

    @property
    def is_empty(self) -> bool:
        """Whether nothing was written yet."""
        return not self._keys

    def read_view(self) -> tuple[Tensor, Tensor]:
        """All entries, oldest first."""
        return torch.cat(self._keys, dim=1), torch.cat(self._values, dim=1)

    def write(self, key: Tensor, value: Tensor, slot: int | None = None) -> None:
        """Append an entry, or replace entry `slot`."""
        if slot is None:
            self._keys.append(key)
            self._values.append(value)
        else:
            self._keys[slot], self._values[slot] = key, value


@dataclass
class MemoryState:
    """All that a stream carries from frame to frame."""

    bank: Bank
    sensory: Tensor | None = None


@dataclass
class FrameOutput:
    """What one step gives.

    Attributes:
        mask_logits (B, 1, H, W): final mask logits.
        mask_prob (B, 1, H, W): their sigmoid.
        features: the frame's features, with its coarse logits.
        initialised: whether this frame started a scene.
    """

    mask_logits: Tensor
    mask_prob: Tensor
    features: FrameFeatures
    initialised: bool


@dataclass(frozen=True)
class WriteDecision:
    """How to remember a frame.

    Attributes:
        deep_update: whether the sensory state follows the written value.
        slot: which bank slot to overwrite; None appends.
    """

    deep_update: bool = True
    slot: int | None = None


def step(
    model: Network,
    features: FrameFeatures,
    state: MemoryState,
    decide: Callable[[FrameOutput], WriteDecision | None],
    remembered: Callable[[Tensor], Tensor] | None = None,
) -> FrameOutput:
    """Segment one frame of B videos and remember it if `decide` says so. Changes `state`.

    Args:
        model: the network.
        features: of the B frames of this time step.
        state: the videos' memory; an empty bank starts a new scene.
        decide: given the frame's output, how to write it to memory, or None to leave the memory as it is.
        remembered: given the mask (B, 1, H, W) that is about to be remembered, pseudo-guided priors included, what to
            remember in its place. Training shows the memory other masks than the model's own in this way.
    """
    memory = features.memory
    if memory is None:
        logits = features.coarse_logits[-1]
        return FrameOutput(logits, torch.sigmoid(logits), features, initialised=False)

    initialised = state.bank.is_empty or state.sensory is None
    if initialised:
        sensory = model.initial_sensory(memory)
        # The first value is always deep, whatever the policy; it serves this frame alone and is not kept.
        prior = model.prior(features)
        prior = prior if remembered is None else remembered(prior)
        value, sensory = model.encode_value(memory, prior, sensory, deep_update=True)
        key = memory.key
    else:
        assert state.sensory is not None
        sensory = state.sensory
        key, value = state.bank.read_view()
    logits, state.sensory = model.recall(memory, key, value, sensory)
    output = FrameOutput(logits, torch.sigmoid(logits), features, initialised)

    decision = decide(output)
    if decision is not None:
        mask = output.mask_prob if remembered is None else remembered(output.mask_prob)
        value, state.sensory = model.encode_value(memory, mask, state.sensory, decision.deep_update)
        state.bank.write(memory.key, value, decision.slot)
    return output


def unroll_clip(
    model: M4SAM,
    rgb: Tensor,
    depth: Tensor,
    deep_update: DeepUpdate = "policy",
    generator: torch.Generator | None = None,
    aux: bool = True,
    remembered: Callable[[int, Tensor], Tensor] | None = None,
) -> ClipOutput:
    """Run a clip from its first frame, remembering every frame but the last.

    Args:
        model: the network.
        rgb (B, T, 3, H, W): colour in [0, 1] at the model's input size; multiples of 32.
        depth (B, T, 1, H, W): depth in [0, 1], larger = farther, holes 0.
        deep_update: whether writes update the sensory state: always, never, at random with p = 0.5 (the release's coin,
            one flip per written frame, shared by the batch), or policy, the deterministic one of the stream: always.
        generator: source of the coin; torch's global one when absent.
        aux: also compute the coarser masks, the edges.
        remembered: see `step`; called with the frame's number too, -1 for the prior of the first frame.

    Raises:
        InputError: wrong shapes.
    """
    _check_clip(rgb, depth)
    batch, length = rgb.shape[:2]
    features = model.encode(rgb.flatten(0, 1), depth.flatten(0, 1), aux=aux)
    state = MemoryState(GrowingBank())
    outputs = []
    for t in range(length):
        decision = WriteDecision(_coin(deep_update, generator)) if t < length - 1 else None
        frame = features.frames(slice(t, None, length))
        outputs.append(step(model, frame, state, partial(_as_decided, decision), _numbered(remembered, t)))

    def unflatten(x: Tensor) -> Tensor:
        return x.unflatten(0, (batch, length))

    return ClipOutput(
        mask_prob=torch.stack([output.mask_prob for output in outputs], dim=1),
        mask_logits=torch.stack([output.mask_logits for output in outputs], dim=1),
        coarse_logits=tuple(map(unflatten, features.coarse_logits)),
        edge_logits=tuple(map(unflatten, features.edge_logits)),
        moe_loss=features.moe_loss,
    )


def _as_decided(decision: WriteDecision | None, _: FrameOutput) -> WriteDecision | None:
    """A decision taken before the frame was seen."""
    return decision


def _numbered(remembered: Callable[[int, Tensor], Tensor] | None, number: int) -> Callable[[Tensor], Tensor] | None:
    """The hook for frame `number`; the first call in frame 0 is about the prior."""
    if remembered is None:
        return None
    numbers = iter((-1, 0) if number == 0 else (number,))
    return lambda mask: remembered(next(numbers), mask)


def _coin(deep_update: DeepUpdate, generator: torch.Generator | None) -> bool:
    if deep_update == "random":
        return bool(torch.rand((), generator=generator) < 0.5)
    return deep_update != "never"


def _check_clip(rgb: Tensor, depth: Tensor) -> None:
    if rgb.ndim != 5 or rgb.shape[2] != 3 or rgb.shape[1] < 1:
        raise InputError(f"rgb: expected a clip (B, T, 3, H, W) with T >= 1, got {tuple(rgb.shape)}")
    if depth.shape != (*rgb.shape[:2], 1, *rgb.shape[3:]):
        raise InputError(
            f"depth: expected {(*rgb.shape[:2], 1, *rgb.shape[3:])} to match rgb, got {tuple(depth.shape)}"
        )
    if rgb.shape[3] % 32 or rgb.shape[4] % 32:
        raise InputError(f"rgb: expected height and width to be multiples of 32, got {tuple(rgb.shape[3:])}")
