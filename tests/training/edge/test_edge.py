# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""What is particular to the packaged weights: clips, ablation, pictures."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from m4sam_core.build import build_model
from m4sam_core.config import ModelConfig, PipelineConfig
from m4sam_core.errors import InputError
from m4sam_core.pipeline import SaliencyPipeline
from m4sam_training.edge import ablate as edge_ablate
from m4sam_training.edge import photos as edge_photos
from m4sam_training.edge.data import ClipStore, damage_depth, render_clip
from m4sam_training.edge.eval import without_memory
from m4sam_training.synth.clip import PLAIN_STYLE
from tests.training.rendered import small_recipe


@pytest.fixture
def clips(tmp_path):
    folder = tmp_path / "clips"
    folder.mkdir()
    for seed in range(3):
        render_clip(folder / f"{seed}.npz", seed, 2, 64, PLAIN_STYLE)
    return folder


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


def test_how_often_depth_is_missing_can_be_chosen() -> None:
    depth = np.full((1, 16, 16), 0.2, np.float32)
    missing = {
        chance: sum(not damage_depth(depth, np.random.default_rng(seed), chance).any() for seed in range(100))
        for chance in (0.0, 0.5, 1.0)
    }
    assert missing[0.0] == 0
    assert 35 < missing[0.5] < 65
    assert missing[1.0] == 100


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


def test_without_memory_is_the_same_network_but_for_the_memory() -> None:
    model = build_model(ModelConfig.preset("edge")).eval()
    plain = without_memory(model)
    assert not plain.has_memory
    assert torch.equal(plain.trunk.stem.conv.weight, model.trunk.stem.conv.weight)


def test_ablation_changes_one_thing_and_goes_on_where_it_stopped(clips, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(edge_ablate, "_SIZE_PX", 64)
    monkeypatch.setattr(edge_ablate, "_FRAMES_PER_STEP", 4)
    recipe = small_recipe()
    chosen = edge_ablate.variants(recipe, 1)
    stages = [cfg.schedule.cycles[0][0] for cfg in chosen.values()]
    assert {stage.batch * stage.frames for stage in stages} == {4}
    assert chosen["narrow Hiera, from scratch"].optim.train_trunk
    arguments = (recipe, clips, tmp_path / "runs", 1, PLAIN_STYLE, 1, 1)
    table = edge_ablate.ablate(*arguments)
    assert list(table) == list(chosen)
    for rows in table.values():
        assert set(rows["as shipped"]) == {"S", "F_adaptive", "MAE"}
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("edge.safetensors")}
    assert len(made) == len(chosen)
    assert edge_ablate.ablate(*arguments) == table
    assert made == {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("edge.safetensors")}


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
