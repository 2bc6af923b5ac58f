# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""The edge trunk and the packaged weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from m4sam_core.build import build_model
from m4sam_core.checkpoint import load_checkpoint, read_header
from m4sam_core.config import ModelConfig
from m4sam_core.errors import ConfigError
from m4sam_core.model.efficientnet_lite import DIMS, EfficientNetLiteTrunk, SameConv, block_dims
from m4sam_core.model_files import resolve_model
from m4sam_core.types import Modality

LARGEST_FILE_MIB = 16


@pytest.fixture(scope="module")
def packaged():
    return load_checkpoint(resolve_model("default"))


def test_levels_have_the_promised_shapes() -> None:
    trunk = EfficientNetLiteTrunk().eval()
    levels, loss = trunk.encode(torch.rand(2, 3, 64, 96), (Modality.RGB, Modality.DEPTH))
    assert [tuple(level.shape) for level in levels] == [(2, dim, 16 // 2**i, 24 // 2**i) for i, dim in enumerate(DIMS)]
    assert loss.item() == 0


def test_same_convolution_pads_the_odd_pixel_after() -> None:
    conv = SameConv(1, 1, 3, stride=2)
    with torch.no_grad():
        conv.conv.weight.fill_(1.0)
        conv.conv.bias.zero_()
    out = conv(torch.ones(1, 1, 4, 4))
    assert out[0, 0].tolist() == [[9.0, 6.0], [6.0, 4.0]]


def test_only_adapters_of_the_trunk_are_trained() -> None:
    trunk = build_model(ModelConfig.preset("edge")).trunk
    trained = [name for name, parameter in trunk.named_parameters() if parameter.requires_grad]
    assert trained
    assert all(name.startswith("adapters.") for name in trained)
    assert len(trunk.adapters) == 11


def test_adapters_fit_the_last_projections() -> None:
    assert block_dims()[0] == (32, 16)
    assert block_dims()[-1] == (1152, 320)
    assert len(block_dims()) == 16


def test_bottlenecks_are_refused_with_a_remedy() -> None:
    cfg = ModelConfig.parse({"trunk": {"kind": "efficientnet_lite0"}, "adapter": {"kind": "bottleneck"}})
    with pytest.raises(ConfigError, match="choose one of them"):
        build_model(cfg)


def test_modalities_differ_once_trained(packaged) -> None:
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        levels, _ = packaged.trunk(torch.cat([x, x]), (Modality.RGB, Modality.DEPTH))
    assert not torch.allclose(levels[3][0], levels[3][1])
    assert torch.equal(levels[0][0], levels[0][1])


def test_folded_adapters_give_the_same_features(packaged) -> None:
    x = torch.rand(2, 3, 64, 64)
    model = load_checkpoint(resolve_model("default"))
    model.trunk.fold()
    with torch.no_grad():
        plain, _ = packaged.trunk(x)
        folded, _ = model.trunk(x)
    for a, b in zip(plain, folded, strict=True):
        torch.testing.assert_close(a, b)


def test_packaged_file_is_small_and_says_what_it_is() -> None:
    path = resolve_model("edge")
    assert path.stat().st_size <= LARGEST_FILE_MIB * 2**20
    header = read_header(path)
    assert header["licence"] == "Apache-2.0"
    assert "trunk" in header
    assert "trained_on" in header


def test_packaged_model_finds_generated_objects() -> None:
    from m4sam_core import SaliencyPipeline
    from m4sam_core.config import PipelineConfig

    generate_clip = pytest.importorskip("m4sam_training.synth.clip").generate_clip

    pipeline = SaliencyPipeline.from_name("edge", PipelineConfig(device="cpu", threads=1))
    overlaps = []
    for seed in (1, 2, 5, 9, 11):
        pipeline.reset("next clip")
        for frame in generate_clip(seed, 3, 120, 160):
            result = pipeline.process(frame.rgb, frame.depth, frame.stamp)
        found, wanted = result.mask > 0, frame.mask > 0
        overlaps.append(np.count_nonzero(found & wanted) / max(1, np.count_nonzero(found | wanted)))
    assert np.mean(overlaps) > 0.6
