# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""A small network with lively masks, shared by the tests of this room."""

from __future__ import annotations

import pytest
import torch

from m4sam_core.build import build_model
from m4sam_core.checkpoint import save_checkpoint
from m4sam_core.config import MODEL_PRESETS, ModelConfig
from m4sam_core.stream.recurrence import unroll_clip


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    """Fresh weights of the light trunk, loud enough for frames and memory to matter, with few adapters: quick."""
    torch.manual_seed(0)
    cfg = ModelConfig.parse(
        {**MODEL_PRESETS["edge"], "trunk": {"kind": "efficientnet_lite0", "adapted_blocks": 1}, "input_size_px": 96}
    )
    model = build_model(cfg)
    rgb, depth = torch.rand(2, 2, 3, 96, 96), torch.rand(2, 2, 1, 96, 96)
    with torch.no_grad():
        for _ in range(10):
            unroll_clip(model, rgb, depth)  # batch statistics that fit
        model.mask_decoder.head.weight.mul_(30)
    path = tmp_path_factory.mktemp("weights") / "light.safetensors"
    save_checkpoint(path, model)
    return path
