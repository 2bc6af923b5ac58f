# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""The two halves of a network: what says what a picture shows, and what remembers (docs/training.md#halves)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn

    from m4sam_core.model.m4sam import M4SAM

Parts = Literal["all", "picture", "memory"]
MEMORY_PARTS = ("gated_fusion", "key_path", "value_path", "fuser", "sensory_update", "mask_decoder")


def freeze_other_half(model: M4SAM, parts: Parts) -> None:
    """Leave only the parameters of a half trainable.

    Args:
        model: the network; its frozen trunk stays frozen.
        parts: what is trained. "picture": trunk adapters, fusion, receptive fields and coarse decoders; "memory":
            `MEMORY_PARTS`.
    """
    for child in _other_half(model, parts):
        child.requires_grad_(False)


def train_half(model: M4SAM, parts: Parts) -> None:
    """Training mode for a half; the other one computes as it does in use: statistics, gates without noise."""
    model.train()
    for child in _other_half(model, parts):
        child.eval()


def _other_half(model: M4SAM, parts: Parts) -> Iterator[nn.Module]:
    for name, child in model.named_children():
        if parts != "all" and (name in MEMORY_PARTS) != (parts == "memory"):
            yield child
