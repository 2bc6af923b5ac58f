# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""The paper's ablations as they are wired: channels, weights and forward passes written out."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from m4sam_core.build import build_model
from m4sam_core.config import ModelConfig
from m4sam_core.model.adapters import BottleneckAdapter
from m4sam_core.model.layers import resize
from m4sam_core.model.trunk import BOTH
from m4sam_core.types import Modality


def nano(**sections):
    small = {"key_dim": 16, "value_dim": 32, "sensory_dim": 16, "fuser_dim": 32, **sections.get("memory", {})}
    base = {"trunk": {"kind": "hiera", "size": "nano"}, "input_size_px": 64, "fusion": {"channels": 16}}
    return ModelConfig.parse({**base, **sections, "memory": small})


@pytest.fixture
def frame():
    generator = torch.Generator().manual_seed(0)
    return torch.rand(1, 3, 64, 64, generator=generator), torch.rand(1, 1, 64, 64, generator=generator)


@pytest.mark.parametrize(
    ("feature", "channels"),
    [("x_e1+x_d2", 128), ("gated+x_d1", 128), ("gated+x_d2", 128), ("gated+x_d1+x_d2", 192)],
)
def test_the_memory_sees_as_many_channels_as_the_release(feature, channels):
    cfg = ModelConfig.preset("tiny").model_copy()
    model = build_model(ModelConfig.parse({**cfg.model_dump(), "memory": {"feature": feature}}))
    assert model.key_path.encoder[0].conv.in_channels == channels
    assert (model.gated_fusion is None) == (feature == "x_e1+x_d2")


def test_without_gated_fusion_the_memory_sees_the_first_encoder_level_and_the_second_decoder_level(frame):
    model = build_model(nano(memory={"feature": "x_e1+x_d2"})).eval()
    levels, _ = model._encode_pairs(*frame)
    fused = [r(f(*pair)) for pair, f, r in zip(levels, model.fusions, model.receptive, strict=True)]
    wanted = [resize(x, (8, 8), align_corners=True) for x in (fused[0], model.decoder(fused)[1])]
    torch.testing.assert_close(model.encode(*frame).memory.fused, torch.cat(wanted, dim=1))


def test_copied_depth_is_the_rgb_features_without_a_depth_pass(frame):
    model = build_model(nano(depth="rgb_features")).eval()
    seen = []
    model.trunk.register_forward_pre_hook(lambda _m, arguments: seen.append(arguments))
    rgb, depth = frame
    first = model.encode(rgb, depth).coarse_logits[-1]
    assert torch.equal(first, model.encode(rgb, 1 - depth).coarse_logits[-1])
    (images, modalities), _ = seen
    assert len(images) == 1
    assert modalities == (Modality.RGB,)
    level = model.trunk(model._normalise(rgb), (Modality.RGB,))[0][0]
    pair = model._encode_pairs(rgb, depth)[0][0]
    assert torch.equal(pair[0], level)
    assert torch.equal(pair[1], level)


def test_conv_lora_is_three_plain_convolutions_at_three_scales_for_both_modalities():
    model = build_model(nano(adapter={"kind": "conv_lora", "top_k": 1, "alpha": 4.0})).train()
    adapter = model.trunk.qv_adapters[0]
    assert list(adapter.sets) == ["shared"]
    moe = adapter.sets["shared"]["q"]
    assert not [m for m in moe.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    convolutions = [m for m in moe.modules() if isinstance(m, torch.nn.Conv2d)]
    assert [conv.kernel_size for conv in convolutions] == [(3, 3)] * 3
    a = torch.rand(2, 4, 8, 8)
    for expert, (conv, scale) in enumerate(zip(convolutions, (1, 2, 3), strict=True)):
        with torch.no_grad():
            moe.gates["scaled"].w_gate.zero_()
            moe.gates["scaled"].w_gate[:, expert] = 1.0
        moe.eval()
        large = F.interpolate(a, scale_factor=scale, mode="bicubic") if scale > 1 else a
        wanted = F.gelu(conv(large))
        wanted = F.interpolate(wanted, (8, 8), mode="bicubic") if scale > 1 else wanted
        torch.testing.assert_close(moe.mix(a, ("scaled",), "paper")[0], a + wanted)


def test_lora_without_a_scale_is_b_a_x():
    model = build_model(nano(adapter={"kind": "lora", "alpha": 4.0}))
    moe = model.trunk.qv_adapters[0].sets["rgb"]["q"]
    a = torch.rand(1, 4, 8, 8)
    assert torch.equal(model.trunk.qv_adapters[0]._mix([moe], a, Modality.RGB)[0], a)


def test_the_papers_update_is_bax_plus_b_of_the_gate_weighted_experts_without_a_scale():
    """h = W0 x + B A x + B sum_groups sum_k g_k E_k(A x), written out."""
    torch.manual_seed(0)
    paper = {"combine": "paper", "full_qv": True, "alpha": 4.0}
    adapter = build_model(nano(adapter=paper)).trunk.qv_adapters[0].eval()
    moe = adapter.sets["shared"]["q"]
    for gate in moe.gates.values():
        torch.nn.init.normal_(gate.w_gate)
    x = torch.rand(1, 8, 8, 16)
    (update, _), _ = adapter(x, (Modality.DEPTH,), lambda low: low)
    a = (x @ moe.lora_a.t()).permute(0, 3, 1, 2)
    mixed = a
    for group in ("depth", "fusion"):
        logits = (a.mean(dim=(2, 3)) @ moe.gates[group].w_gate)[0]
        chosen = logits.topk(2).indices
        for weight, expert in zip(logits[chosen].softmax(dim=0), chosen.tolist(), strict=True):
            mixed = mixed + weight * moe.experts[group][expert](a)
    torch.testing.assert_close(update.low, mixed.permute(0, 2, 3, 1), atol=1e-6, rtol=1e-5)
    assert update.up is moe.lora_b


def test_a_bottleneck_adds_a_gelu_of_its_output_and_starts_near_the_identity():
    torch.manual_seed(0)
    adapter = BottleneckAdapter(64, 32, BOTH)
    x = torch.rand(1, 4, 4, 64)
    down, up = adapter.down["rgb"], adapter.up["rgb"]
    torch.testing.assert_close(adapter(x, (Modality.RGB,)), x + F.gelu(up(F.gelu(down(x)))))
    for layer in (down, up):
        assert layer.weight.std().item() == pytest.approx(0.02, rel=0.1)
        assert layer.weight.abs().max() <= 2.0
        assert not layer.bias.any()
