# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Models to train beside M4-SAM: LoRA in two encoders, and SAM2-UNet's design."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from m4sam_core.build import build_model
from m4sam_core.checkpoint import load_checkpoint, save_checkpoint
from m4sam_core.config import MODEL_PRESETS, ModelConfig
from m4sam_core.errors import ConfigError
from m4sam_core.model.m4sam import M4SAM
from m4sam_core.release import load_sam2_trunk
from m4sam_core.stream.recurrence import unroll_clip
from m4sam_core.types import Modality

SMALL = {"trunk": {"kind": "hiera", "size": "nano"}, "input_size_px": 64}


def nano(preset: str, **sections) -> ModelConfig:
    values = {**MODEL_PRESETS[preset], **SMALL}
    memory = {"key_dim": 16, "value_dim": 32, "sensory_dim": 16, "fuser_dim": 32, **values.get("memory", {})}
    fusion = {"channels": 16, **values.get("fusion", {})}
    return ModelConfig.parse({**values, "memory": memory, "fusion": fusion, **sections})


def clip() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(1, 2, 3, 64, 64, generator=generator), torch.rand(1, 2, 1, 64, 64, generator=generator)


def count(model: nn.Module, *, trainable: bool = True) -> int:
    return sum(p.numel() for p in model.parameters() if p.requires_grad == trainable)


# ---------------------------------------------------------------------------------------- two encoders


def as_dual(joint: M4SAM) -> M4SAM:
    """The same weights in two encoders."""
    dual = build_model(nano("dual_lora"))
    weights = dual.state_dict()
    for name, value in joint.state_dict().items():
        if not name.startswith("trunk."):
            weights[name] = value
            continue
        for modality in Modality:
            if ".sets." not in name or f".sets.{modality.value}." in name:
                weights[name.replace("trunk.", f"trunk.encoders.{modality.value}.")] = value
    dual.load_state_dict(weights)
    return dual


def test_two_encoders_compute_what_one_pass_with_two_sets_of_adapters_does():
    torch.manual_seed(0)
    joint = build_model(nano("dual_lora", encoders="shared"))
    for name, parameter in joint.named_parameters():
        if name.endswith("lora_b"):
            nn.init.normal_(parameter, std=0.1)
    dual = as_dual(joint)
    outputs = [unroll_clip(model.train(), *clip(), deep_update="always") for model in (joint, dual)]
    torch.testing.assert_close(outputs[1].mask_logits, outputs[0].mask_logits, atol=1e-4, rtol=1e-4)
    for output in outputs:
        output.mask_logits.square().mean().backward()
    adapter = "qv_adapters.2.sets.depth.q.lora_b"
    theirs, ours = joint.get_parameter(f"trunk.{adapter}"), dual.get_parameter(f"trunk.encoders.depth.{adapter}")
    assert theirs.grad.any()
    torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-7, rtol=1e-3)


def test_two_encoders_have_two_frozen_trunks_and_no_more_to_train():
    dual, joint = build_model(nano("dual_lora")), build_model(nano("dual_lora", encoders="shared"))
    assert count(dual) == count(joint)
    assert count(dual, trainable=False) == 2 * count(joint, trainable=False)


def test_each_encoder_makes_a_pass_of_its_own():
    dual = build_model(nano("dual_lora")).eval()
    seen = []
    for trunk in dual.trunk.single:
        trunk.register_forward_pre_hook(lambda _m, arguments: seen.append((len(arguments[0]), arguments[1])))
    rgb, depth = clip()
    dual.encode(rgb[0], depth[0])
    assert seen == [(2, (Modality.RGB,)), (2, (Modality.DEPTH,))]


def test_both_encoders_take_the_published_trunk(tmp_path):
    source, dual = build_model(nano("nano")), build_model(nano("dual_lora"))
    file = tmp_path / "sam2.pt"
    torch.save({"model": {f"image_encoder.trunk.{k}": v for k, v in source.trunk.hiera.state_dict().items()}}, file)
    load_sam2_trunk(dual, file)
    for trunk in dual.trunk.single:
        assert torch.equal(trunk.hiera.blocks[3].attn.qkv.weight, source.trunk.hiera.blocks[3].attn.qkv.weight)


# --------------------------------------------------------------------------------------------- SAM2-UNet


def test_sam2_unet_is_adapters_rfb_and_a_u_shaped_decoder_on_rgb_alone():
    model = build_model(nano("sam2_unet")).eval()
    assert sorted(dict(model.named_children())) == ["decoder", "fusions", "receptive", "trunk"]
    assert count(model.fusions) == len(model.decoder.edge_heads) == 0
    assert [list(adapter.down) for adapter in model.trunk.bottlenecks] == [["rgb"]] * 5
    rgb, depth = clip()
    with torch.inference_mode():
        first, second = unroll_clip(model, rgb, depth), unroll_clip(model, rgb, 1 - depth)
        frames = [unroll_clip(model, rgb[:, t : t + 1], depth[:, t : t + 1]).mask_logits for t in range(2)]
    assert torch.equal(first.mask_logits, second.mask_logits), "depth is not looked at"
    torch.testing.assert_close(torch.cat(frames, dim=1), first.mask_logits, atol=1e-5, rtol=1e-5)  # nothing remembered
    assert len(first.coarse_logits) == 3, "deep supervision"
    assert first.edge_logits == ()


def test_sam2_unets_modules_have_the_parameters_of_their_description():
    """Counted from the sizes of layers: adapter C -> 32 -> C, RFB to 64, three double convolutions, 1x1 heads."""
    model = build_model(ModelConfig.parse({**MODEL_PRESETS["sam2_unet"], "trunk": {"kind": "hiera", "size": "tiny"}}))
    dims, c = [96, 192, 384, 768], 64

    def conv_bn(inputs: int, outputs: int, kernel: int) -> int:
        return inputs * outputs * kernel + 2 * outputs

    rfb = sum(
        5 * conv_bn(dim, c, 1)
        + sum(2 * conv_bn(c, c, reach) + conv_bn(c, c, 9) for reach in (3, 5, 7))
        + conv_bn(4 * c, c, 9)
        for dim in dims
    )
    adapters = sum(2 * block.dim * 32 + 32 + block.dim for block in model.trunk.hiera.blocks)
    decoder = 3 * (conv_bn(2 * c, c, 9) + conv_bn(c, c, 9)) + 3 * (c + 1)
    assert count(model) == rfb + adapters + decoder


# -------------------------------------------------------------------------------------------------- both


def test_the_page_has_the_parameter_counts_of_hiera_l(monkeypatch):
    for name in ("kaiming_uniform_", "uniform_", "trunc_normal_", "normal_", "zeros_", "ones_", "constant_"):
        monkeypatch.setattr(nn.init, name, lambda tensor, *_, **__: tensor)  # counting needs no numbers
    page = (Path(__file__).parents[3] / "docs" / "training.md").read_text(encoding="utf-8")
    for preset in ("release", "dual_lora", "sam2_unet"):
        model = build_model(ModelConfig.preset(preset), "torch")
        row = next(line for line in page.splitlines() if line.startswith(f"| `{preset}` | `"))
        shown = [f"{count(model, trainable=trainable) / 1e6:.2f} M" for trainable in (True, False)]
        assert [cell.strip() for cell in row.split("|")[4:6]] == shown


@pytest.mark.parametrize("preset", ["dual_lora", "sam2_unet"])
def test_a_baseline_is_saved_loaded_and_folded_as_any_model(preset, tmp_path):
    model = build_model(nano(preset)).eval()
    save_checkpoint(tmp_path / "b.safetensors", model)
    again = load_checkpoint(tmp_path / "b.safetensors")
    with torch.inference_mode():
        wanted = unroll_clip(model, *clip()).mask_prob
        again.fold()
        torch.testing.assert_close(unroll_clip(again, *clip()).mask_prob, wanted, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"encoders": "dual"}, "encoders=dual: expected adapter.kind lora, bottleneck or none"),
        ({"encoders": "dual", "adapter": {"kind": "lora"}, "depth": "rgb_features"}, "and depth=encoded"),
        ({"fusion": {"kind": "none"}}, "fusion.kind=none: expected depth=rgb_features"),
    ],
)
def test_combinations_without_sense_are_refused(changes, told):
    with pytest.raises(ConfigError, match=told):
        ModelConfig.parse(changes)


def test_copied_depth_has_no_experts_for_depth():
    model = build_model(nano("nano", depth="rgb_features"))
    assert {name.split(".experts.")[1].split(".")[0] for name in model.state_dict() if ".experts." in name} == {
        "rgb",
        "fusion",
    }
