# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Our forward of SAM2's trunk against the `sam2` package's own, and its published weights' reader."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from m4sam_core.build import build_model
from m4sam_core.config import ModelConfig
from m4sam_core.errors import CheckpointError
from m4sam_core.model.hiera import HIERA_SIZES, HieraTrunk
from m4sam_core.release import load_sam2_trunk
from m4sam_core.types import Modality


def sam2_hiera(size: str) -> torch.nn.Module:
    from sam2.modeling.backbones.hieradet import Hiera

    torch.manual_seed(0)
    hiera = Hiera(**HIERA_SIZES[size]).eval()
    torch.nn.init.normal_(hiera.pos_embed)
    torch.nn.init.normal_(hiera.pos_embed_window)
    return hiera


# 160 px leaves every stage but the first with windows that need padding.
@pytest.mark.parametrize(("size", "side_px"), [("nano", 96), ("tiny", 160), ("base_plus", 160), ("large", 160)])
def test_forward_equals_sam2(size: str, side_px: int) -> None:
    hiera = sam2_hiera(size)
    trunk = HieraTrunk(hiera)
    x = torch.rand(2, 3, side_px, side_px)
    with torch.inference_mode():
        theirs = hiera(x)
        ours, loss = trunk(x)
    assert trunk.dims == tuple(level.shape[1] for level in theirs)
    assert loss == 0
    for mine, reference in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, reference, atol=2e-5, rtol=1e-5)


def test_one_pass_for_both_modalities_equals_two_passes() -> None:
    model = build_model(ModelConfig.preset("nano")).eval()
    torch.manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.trunk.named_parameters():
            if "hiera" not in name:
                parameter.normal_(std=0.3)
    x = torch.rand(4, 3, 64, 64)
    with torch.inference_mode():
        both, loss = model.trunk(x)
        rgb, rgb_loss = model.trunk(x[:2], (Modality.RGB,))
        depth, depth_loss = model.trunk(x[2:], (Modality.DEPTH,))
    for joint, first, second in zip(both, rgb, depth, strict=True):
        torch.testing.assert_close(joint, torch.cat([first, second]), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(loss, rgb_loss + depth_loss)
    assert not torch.allclose(rgb[-1], model.trunk(x[:2], (Modality.DEPTH,))[0][-1], atol=1e-3)


def test_sam2_weights_load_into_the_trunk_alone(tmp_path: Path) -> None:
    hiera = sam2_hiera("tiny")
    published = {f"image_encoder.trunk.{name}": tensor for name, tensor in hiera.state_dict().items()}
    published["memory_encoder.out_proj.weight"] = torch.zeros(3)
    torch.save({"model": published}, tmp_path / "sam2.1_hiera_tiny.pt")
    model = build_model(ModelConfig.preset("tiny")).eval()
    rest = {name: tensor.clone() for name, tensor in model.state_dict().items() if "trunk.hiera" not in name}

    load_sam2_trunk(model, tmp_path / "sam2.1_hiera_tiny.pt")

    x = torch.rand(2, 3, 96, 96)
    with torch.inference_mode():
        for mine, reference in zip(model.trunk(x)[0], hiera(x), strict=True):
            torch.testing.assert_close(mine, reference, atol=2e-5, rtol=1e-5)
    assert all(torch.equal(tensor, rest[name]) for name, tensor in model.state_dict().items() if name in rest)


def test_sam2_weights_of_another_size_are_refused_by_name(tmp_path: Path) -> None:
    published = {f"image_encoder.trunk.{name}": tensor for name, tensor in sam2_hiera("nano").state_dict().items()}
    torch.save({"model": published}, tmp_path / "sam2.pt")
    model = build_model(ModelConfig.preset("tiny"))
    with pytest.raises(
        CheckpointError, match=r"88 missing: blocks.*4 unexpected: blocks.2.proj.*66 of another shape: blocks"
    ):
        load_sam2_trunk(model, tmp_path / "sam2.pt")
    torch.save({"model": {"head.weight": torch.zeros(1)}}, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match=r"image_encoder\.trunk"):
        load_sam2_trunk(model, tmp_path / "other.pt")
