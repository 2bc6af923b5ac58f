# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Whether two networks say the same, on a short stream of made-up frames."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from m4sam_core.config import StreamConfig
from m4sam_core.stream.recurrence import Network
from m4sam_core.stream.session import StreamSession

LARGEST_DIFFERENCE = 1e-4  # of probabilities; what float32 engines differ by is a tenth of it
_FRAMES = 4


def largest_difference(network: Network, reference: Network) -> float:
    """Largest difference of probabilities over a stream that fills the memory, in [0, 1]; NaN counts as 1."""
    settings = StreamConfig.parse({"write_gate": {"enabled": False}})
    streams = [StreamSession(one, settings) for one in (network, reference)]
    worst = 0.0
    for index in range(_FRAMES):
        rgb, depth = _frame(reference.input_size_px, index)
        ours, theirs = (stream.step(rgb, depth, float(index)).mask_prob.float() for stream in streams)
        difference = float((ours - theirs).abs().max())
        worst = max(worst, difference if difference == difference else 1.0)
    return worst


def _frame(side: int, index: int) -> tuple[Tensor, Tensor]:
    """Smooth shapes that drift, one frame of noise among them."""
    generator = torch.Generator().manual_seed(index if index == _FRAMES - 1 else 0)
    coarse = torch.rand(1, 4, 6, 6, generator=generator)
    frame = F.interpolate(coarse, size=(side, side), mode="bicubic", align_corners=False).clamp(0, 1)
    frame = frame.roll(3 * index, dims=3)
    if index == _FRAMES - 1:
        frame = torch.rand(1, 4, side, side, generator=generator)
    return frame[:, :3].contiguous(), frame[:, 3:].contiguous()
