# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""A model specialised for inference gives the same masks."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from m4sam_core.build import build_model
from m4sam_core.config import ModelConfig
from m4sam_core.model.inference import specialise
from m4sam_core.stream.recurrence import unroll_clip


def random_model(preset):
    """Weights and running statistics that no fold can hide behind: nothing is zero or one."""
    torch.manual_seed(0)
    model = build_model(ModelConfig.preset(preset))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.2)
            nn.init.normal_(module.running_mean, std=0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return model.eval()


def masks(model, dtype=torch.float32):
    side = model.input_size_px
    rgb = torch.rand(1, 3, 3, side, side, generator=torch.Generator().manual_seed(1))
    depth = torch.rand(1, 3, 1, side, side, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode(), torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        return unroll_clip(model, rgb, depth, deep_update="always").mask_prob.float()


@pytest.mark.parametrize("preset", ["edge", "nano"])
def test_float32_masks_agree(preset):
    model = random_model(preset)
    special = copy.deepcopy(model)
    specialise(special, torch.float32)
    torch.testing.assert_close(masks(special), masks(model), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("preset", ["edge", "nano"])
def test_kernels_in_bfloat16_change_no_bit(preset):
    """Autocast rounds the same kernels to the same values, only later."""
    fused = random_model(preset)
    specialise(fused, torch.float32)
    special = copy.deepcopy(fused)
    specialise(special, torch.bfloat16)
    kernels = [m.weight.dtype for m in special.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d | nn.Linear)]
    assert set(kernels) == {torch.bfloat16}
    assert torch.equal(masks(special, torch.bfloat16), masks(fused, torch.bfloat16))


def test_batch_normalisation_is_gone_where_it_follows_a_convolution():
    model = random_model("edge")
    before = sum(type(module) is nn.BatchNorm2d for module in model.modules())
    specialise(model, torch.float32)
    left = [name for name, module in model.named_modules() if type(module) is nn.BatchNorm2d]
    assert before - len(left) > 40
