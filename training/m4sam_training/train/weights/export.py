# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""The file a run leaves for use: half as large, with decided masks, and with a card instead of the run's settings."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field

from m4sam_core.checkpoint import save_checkpoint
from m4sam_core.config import Config
from m4sam_core.model.m4sam import M4SAM

PRECISIONS = {"float32": torch.float32, "float16": torch.float16}


class ExportConfig(Config):
    """A second file of weights, written with every checkpoint."""

    file: str = Field("", pattern=r"^([\w.-]+\.safetensors)?$", description="Its name in OUT; empty: none.")
    precision: Literal["float32", "float16"] = Field("float16", description="Precision the weights are stored in.")
    logit_scale: float = Field(
        1.0, gt=0, le=100, description="The final mask's logits are so many times those of training."
    )
    keep_of_start: float = Field(
        0.0, ge=0, lt=1, description="Share that the weights a run started from have in the exported ones."
    )
    memory_keeps: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="The same for the memory's parts: key and value path, fuser, updates, mask decoder.",
    )
    card: Mapping[str, str] = Field({}, description="Text for its header: licence, data, trunk.")


def export(out: Path, model: M4SAM, cfg: ExportConfig, step: int) -> None:
    """Write OUT/<file>, if one is asked for.

    Args:
        out: the run's folder.
        model: as it is trained.
        cfg: name, precision, scale and card.
        step: steps done, for the header.

    Raises:
        CheckpointError: the file cannot be written.
    """
    if cfg.file:
        scaled = scale_final_logits(model, cfg.logit_scale)
        save_checkpoint(out / cfg.file, scaled, {**cfg.card, "steps": str(step)}, PRECISIONS[cfg.precision])


def scale_final_logits(model: M4SAM, scale: float) -> M4SAM:
    """A copy whose memory's mask has logits `scale` times as large; coarse masks stay.

    The losses leave a grey seam along borders, which costs precision at the threshold of adaptive F.
    """
    copied = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in copied.mask_decoder.head.parameters():
            parameter.mul_(scale)
    return copied
