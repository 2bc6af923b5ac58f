# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Fresh weights of preset release have the standard deviations measured on the release, here written as numbers."""

from __future__ import annotations

import math

import pytest
import torch

from m4sam_core.build import build_model
from m4sam_core.config import ModelConfig
from m4sam_core.model.m4sam import M4SAM

# The memory is as wide with every Hiera; a tiny trunk is built in a second.
PUBLISHED_WIDTHS = {"trunk": {"kind": "hiera", "size": "tiny"}}

STANDARD_DEVIATIONS = {
    "value_path.encoder.0": math.sqrt(2 / (128 * 9)),
    "value_path.encoder.3": math.sqrt(2 / (128 * 9)),
    "value_path.project.0": math.sqrt(2 / 256),
    "value_path.deep_update.transform": math.sqrt(2 / (192 * 9)),
    "key_path.key": 1 / math.sqrt(64 * 9),
    "sensory_update.transform": math.sqrt(2 / ((192 + 320) * 9)),
    "mask_decoder.head": math.sqrt(2) * math.sqrt(2 / ((32 + 1) * 9)),
    "mask_decoder.steps.0": math.sqrt(2) * math.sqrt(2 / ((128 + 256) * 4)),
}


@pytest.fixture(scope="module")
def fresh() -> M4SAM:
    torch.manual_seed(0)
    return build_model(ModelConfig.parse(PUBLISHED_WIDTHS))


@pytest.mark.parametrize(("name", "deviation"), STANDARD_DEVIATIONS.items(), ids=STANDARD_DEVIATIONS)
def test_standard_deviation_and_no_bias(fresh, name, deviation):
    layer = fresh.get_submodule(name)
    spread = 3 / math.sqrt(2 * layer.weight.numel())  # three standard errors of a normal's deviation
    assert layer.weight.std().item() == pytest.approx(deviation, rel=max(spread, 1e-3))
    assert abs(layer.weight.mean().item()) < 4 * deviation / math.sqrt(layer.weight.numel())
    assert not layer.bias.any()


def test_the_key_projection_is_orthogonal(fresh):
    rows = fresh.key_path.key.weight.flatten(1)
    torch.testing.assert_close(rows @ rows.t(), torch.eye(64), atol=1e-5, rtol=0)


def test_pointwise_convolutions_of_experts_start_without_a_bias_and_others_with_one(fresh):
    found = {1: [], 3: []}
    for name, module in fresh.trunk.named_modules():
        if isinstance(module, torch.nn.Conv2d) and module.bias is not None and ".experts." in name:
            found[module.kernel_size[0]].append(bool(module.bias.any()))
    # 12 blocks, q and v: one in each of the three groups is pointwise, one in the fusion group is 3x3.
    assert found[1] == [False] * 72
    assert found[3] == [True] * 24


def test_what_is_not_named_keeps_torchs_draw():
    torch.manual_seed(0)
    ours = build_model(ModelConfig.preset("nano")).state_dict()
    torch.manual_seed(0)
    plain = build_model(ModelConfig.preset("nano"), "torch").state_dict()
    changed = {name for name in ours if not torch.equal(ours[name], plain[name])}
    rooms = ("value_path.", "key_path.key.", "sensory_update.", "mask_decoder.")
    assert {name for name in changed if not name.startswith((*rooms, "trunk.qv_adapters."))} == set()
    assert all(name.endswith("bias") for name in changed if name.startswith("trunk."))
    assert {"value_path.encoder.0.weight", "key_path.key.weight", "mask_decoder.head.weight"} <= changed
