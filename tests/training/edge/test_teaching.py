# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""What the memory is shown in training (docs/models.md)."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from m4sam_core.build import build_model
from m4sam_core.checkpoint import load_checkpoint, save_checkpoint
from m4sam_core.config import ModelConfig
from m4sam_training.edge.data import ClipStore, Faults, TrainingClips
from m4sam_training.edge.teaching import BAD_PRIORS, is_story, lesson, spoiled
from m4sam_training.train.config import AugmentConfig, load_train_config
from m4sam_training.train.schedule import StageConfig
from m4sam_training.train.weights.average import WeightAverage
from m4sam_training.train.weights.starting_model import starting_model
from tests.training.rendered import RECIPE, write_discs

SIDE = 32


def equals():
    """Two things in every frame, the first of which is asked for."""
    label = np.zeros((4, SIDE, SIDE), np.uint8)
    label[:, 4:12, 4:12], label[:, 20:28, 20:28] = 1, 2
    return (label == 1).astype(np.float32), label


def plain():
    mask, label = equals()
    return mask, np.where(label == 1, label, 0).astype(np.uint8)


def test_a_story_is_told_from_a_plain_clip() -> None:
    assert is_story(*equals())
    assert not is_story(*plain())


def test_of_equals_any_may_be_asked_for_and_the_prior_says_which() -> None:
    mask, label = equals()
    asked = [lesson(mask, label, np.random.default_rng(seed)) for seed in range(20)]
    assert {int(label[0][part.mask[0] > 0].max()) for part in asked} == {1, 2}
    for part in asked:
        assert part.teach[0]
        assert part.taught[0].any(), "at least a part of it is shown"
        assert (part.taught[0] <= part.mask[0]).all()
        assert np.array_equal(part.picture_mask > 0, label > 0), "a picture alone sees both"


def test_a_plain_clip_asks_for_the_same_whatever_the_memory_is_shown() -> None:
    mask, label = plain()
    lessons = [lesson(mask, label, np.random.default_rng(seed)) for seed in range(60)]
    assert all(np.array_equal(part.mask, mask) and np.array_equal(part.picture_mask, mask) for part in lessons)
    bad = sum(bool(part.teach[0]) and not np.array_equal(part.taught[0], mask[0]) for part in lessons)
    own = sum(not part.teach.any() for part in lessons)
    assert 10 <= bad <= 35
    assert own >= 15, "the model has to live with its own masks"


def test_bad_priors_are_what_they_are_called() -> None:
    mask, rng = np.zeros((100, 100), np.float32), np.random.default_rng(0)
    mask[30:60, 30:60] = 1
    assert 0.1 < np.abs(spoiled(mask, "flipped", rng) - mask).mean() < 0.3
    shifted = spoiled(mask, "shifted", rng)
    assert shifted.sum() == mask.sum()
    assert (shifted * mask).sum() < 0.1 * mask.sum()
    assert spoiled(mask, "empty", rng).max() == 0
    assert spoiled(mask, "full", rng).min() == 1
    assert set(BAD_PRIORS) == {"flipped", "shifted", "empty", "full"}
    with pytest.raises(ValueError, match="expected one of"):
        spoiled(mask, "other", rng)


def test_lessons_come_with_the_batch_only_if_asked_for(tmp_path) -> None:
    store = ClipStore(write_discs(tmp_path / "clips"))
    stage = StageConfig(steps=1, size_px=32, batch=2, frames=3)
    without = TrainingClips(store, AugmentConfig()).draw(stage, np.random.default_rng(0))
    with_them = TrainingClips(store, AugmentConfig(rendered_lessons=True)).draw(stage, np.random.default_rng(0))
    assert set(without) == {"rgb", "depth", "mask"}
    assert with_them["taught"].shape == with_them["picture_mask"].shape == with_them["mask"].shape == (2, 3, 1, 32, 32)
    assert with_them["teach"].shape == (2, 3)


def test_the_mean_of_weights_follows_them() -> None:
    model = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(model.weight, 0.0)
    mean = WeightAverage(model, 0.5)
    torch.nn.init.constant_(model.weight, 1.0)
    mean.follow(model)
    mean.follow(model)
    assert mean.of(model).weight.item() == pytest.approx(0.75)
    assert model.weight.item() == 1.0
    assert WeightAverage(model, 0.0).of(model) is model


def test_a_run_can_start_from_exported_weights_and_let_masks_in() -> None:
    begin = ["init.trunk=null", "init.checkpoint=edge", "model.memory.agreement=true"]
    shipped = starting_model(load_train_config(RECIPE, begin)).state_dict()
    changed = [*begin, "init.logit_scale=4", "init.mask_gain=8"]
    started = starting_model(load_train_config(RECIPE, changed)).state_dict()
    head, first = "mask_decoder.head.weight", "value_path.encoder.0.weight"
    torch.testing.assert_close(started[head] * 4, shipped[head])
    torch.testing.assert_close(started[first][:, -1], shipped[first][:, -1] * 8)
    torch.testing.assert_close(started[first][:, :-1], shipped[first][:, :-1])


def test_a_checkpoints_memory_can_be_given_agreement(tmp_path) -> None:
    without = ModelConfig.preset("nano")
    file = tmp_path / "without.safetensors"
    save_checkpoint(file, build_model(without), {})
    settings = ["init.trunk=null", f"init.checkpoint={file}"]
    given = load_train_config(None, [*settings, "init.agreement=true"])
    assert not load_train_config(None, settings).model.memory.agreement
    assert given.model.memory.agreement
    started = starting_model(given)
    assert not started.fuser.agreement.project.weight.any()
    torch.testing.assert_close(started.key_path.key.weight, load_checkpoint(file).key_path.key.weight)


def test_half_of_each_thing_and_a_thing_in_another_place() -> None:
    two = (equals()[1][0] > 0).astype(np.float32)
    for seed in range(20):
        half = spoiled(two, "part", np.random.default_rng(seed))
        assert (half <= two).all()
        for thing in (np.s_[4:12, 4:12], np.s_[20:28, 20:28]):
            assert 0.25 < half[thing].mean() < 0.75
        away = spoiled(two, "elsewhere", np.random.default_rng(seed))
        assert away.sum() == two.sum()
        assert not np.array_equal(away, two)


def test_a_bad_prior_may_stay_as_a_mistake_of_the_models_own_would() -> None:
    mask, label = plain()
    lessons = [lesson(mask, label, np.random.default_rng(seed)) for seed in range(200)]
    lengths = {
        int(each.teach.argmin()) for each in lessons if each.teach[0] and np.abs(each.taught - mask[0])[0].max() > 0.5
    }
    assert {1, 2, 3} <= lengths
    for each in lessons:
        assert np.array_equal(each.mask, mask)


def test_a_single_frame_may_be_any_of_its_clip(tmp_path) -> None:
    depth = np.tile(np.arange(4, dtype=np.uint16)[:, None, None] * 10_000, (1, 32, 32))
    mask = np.zeros((4, 32, 32), np.uint8)
    np.savez(tmp_path / "000000.npz", rgb=np.zeros((4, 32, 32, 3), np.uint8), depth=depth, mask=mask, label=mask)
    store, sound = ClipStore(tmp_path), Faults(depth=False, frames=False)
    drawn = {store.clip(0, 1, 32, np.random.default_rng(seed), sound).depth[0, 0, 0].item() for seed in range(30)}
    assert len(drawn) == 4
    assert store.clip(0, 1, 32, None).depth[0, 0, 0] == 0, "without augmentation it is the first"
