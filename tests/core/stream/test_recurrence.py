# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""The one recurrence: causality, batches, policies and the memory read."""

from __future__ import annotations

import math

import pytest
import torch

from m4sam_core.build import build_model
from m4sam_core.config import ModelConfig
from m4sam_core.errors import InputError
from m4sam_core.model.m4sam import M4SAM
from m4sam_core.model.memory import memory_key, memory_query, read
from m4sam_core.stream.recurrence import GrowingBank, MemoryState, WriteDecision, step, unroll_clip


@pytest.fixture(scope="module")
def model() -> M4SAM:
    torch.manual_seed(0)
    return build_model(ModelConfig.preset("nano")).eval()


def clip(batch: int, length: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    rgb = torch.rand(batch, length, 3, 64, 64, generator=generator)
    return rgb, torch.rand(batch, length, 1, 64, 64, generator=generator)


@torch.inference_mode()
def test_a_frame_never_depends_on_later_ones(model: M4SAM) -> None:
    rgb, depth = clip(1, 4)
    whole = unroll_clip(model, rgb, depth).mask_prob
    changed = rgb.clone()
    changed[:, 3] = 1 - changed[:, 3]
    torch.testing.assert_close(unroll_clip(model, changed, depth).mask_prob[:, :3], whole[:, :3], atol=1e-6, rtol=0)
    torch.testing.assert_close(unroll_clip(model, rgb[:, :2], depth[:, :2]).mask_prob, whole[:, :2], atol=1e-6, rtol=0)


@torch.inference_mode()
def test_later_frames_do_depend_on_earlier_ones(model: M4SAM) -> None:
    rgb, depth = clip(1, 2)
    changed = rgb.clone()
    changed[:, 0] = 1 - changed[:, 0]
    first, second = (unroll_clip(model, x, depth).mask_prob[:, 1] for x in (rgb, changed))
    assert not torch.equal(first, second)


@torch.inference_mode()
def test_videos_of_a_batch_do_not_see_each_other(model: M4SAM) -> None:
    rgb, depth = clip(2, 3)
    together = unroll_clip(model, rgb, depth).mask_prob
    for index in range(2):
        alone = unroll_clip(model, rgb[index, None], depth[index, None]).mask_prob
        torch.testing.assert_close(together[index, None], alone, atol=1e-5, rtol=0)


@torch.inference_mode()
def test_frame_by_frame_equals_the_clip(model: M4SAM) -> None:
    rgb, depth = clip(1, 5)
    whole = unroll_clip(model, rgb, depth).mask_prob
    state = MemoryState(GrowingBank())
    for t in range(5):
        features = model.encode(rgb[:, t], depth[:, t], aux=False)
        output = step(model, features, state, lambda _: WriteDecision())
        assert output.initialised == (t == 0)
        torch.testing.assert_close(output.mask_prob, whole[:, t], atol=1e-5, rtol=0)


@torch.inference_mode()
def test_a_frame_that_is_not_written_leaves_the_bank_alone(model: M4SAM) -> None:
    rgb, depth = clip(1, 2)
    state = MemoryState(GrowingBank())
    step(model, model.encode(rgb[:, 0], depth[:, 0]), state, lambda _: WriteDecision())
    keys = state.bank.read_view()[0].clone()
    step(model, model.encode(rgb[:, 1], depth[:, 1]), state, lambda _: None)
    assert torch.equal(state.bank.read_view()[0], keys)


@torch.inference_mode()
def test_an_empty_bank_starts_a_new_scene(model: M4SAM) -> None:
    rgb, depth = clip(1, 2)
    state = MemoryState(GrowingBank())
    features = [model.encode(rgb[:, t], depth[:, t]) for t in range(2)]
    assert step(model, features[0], state, lambda _: None).initialised
    second = step(model, features[1], state, lambda _: None)
    assert second.initialised
    fresh = step(model, features[1], MemoryState(GrowingBank()), lambda _: None)
    assert torch.equal(second.mask_prob, fresh.mask_prob)


@torch.inference_mode()
def test_deep_update_policies(model: M4SAM) -> None:
    rgb, depth = clip(1, 4)
    always, never, policy = (unroll_clip(model, rgb, depth, name).mask_prob for name in ("always", "never", "policy"))
    assert torch.equal(always, policy)
    assert not torch.equal(always, never)
    coins = [
        unroll_clip(model, rgb, depth, "random", torch.Generator().manual_seed(seed)).mask_prob
        for seed in (1, 1, 2, 3, 4)
    ]
    assert torch.equal(coins[0], coins[1])
    assert any(not torch.equal(coins[0], other) for other in coins[2:])


def test_read_is_xmems_anisotropic_similarity() -> None:
    torch.manual_seed(0)
    key, query = torch.randn(2, 8, 3, 4), torch.randn(2, 8, 3, 4)
    shrinkage, selection = 1 + torch.rand(2, 1, 3, 4), torch.rand(2, 8, 3, 4)
    value = torch.randn(2, 12, 5)
    ours = read(memory_query(query, selection), memory_key(key, shrinkage), value)
    distance = (key.flatten(2)[:, :, :, None] - query.flatten(2)[:, :, None, :]).square()
    similarity = -(selection.flatten(2)[:, :, None, :] * distance).sum(dim=1)
    affinity = (shrinkage.flatten(2).transpose(1, 2) * similarity / math.sqrt(8)).softmax(dim=1)
    torch.testing.assert_close(ours, affinity.transpose(1, 2) @ value, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("channels", [12, 40])  # values narrower and wider than keys
def test_read_is_the_same_with_and_without_gradients(channels: int) -> None:
    """Inference reads tile by tile, training by fused attention: 1100 queries and 1300 keys are more than one tile."""
    torch.manual_seed(0)
    key, shrinkage = torch.randn(2, 8, 26, 50), 1 + 20 * torch.rand(2, 1, 26, 50)
    query, selection = torch.randn(2, 8, 22, 50), torch.rand(2, 8, 22, 50)
    inputs = memory_query(query, selection), memory_key(key, shrinkage), torch.randn(2, 1300, channels)
    similarity = inputs[0].double() @ inputs[1].double().transpose(1, 2)
    expected = (similarity.softmax(dim=-1) @ inputs[2].double()).float()
    torch.testing.assert_close(read(*inputs), expected, atol=1e-5, rtol=1e-5)
    with torch.no_grad():
        torch.testing.assert_close(read(*inputs), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("rgb", "depth", "message"),
    [
        ((1, 3, 64, 64), (1, 1, 64, 64), "expected a clip"),
        ((1, 0, 3, 64, 64), (1, 0, 1, 64, 64), "T >= 1"),
        ((1, 2, 3, 64, 64), (1, 2, 1, 32, 64), "to match rgb"),
        ((1, 2, 3, 60, 64), (1, 2, 1, 60, 64), "multiples of 32"),
    ],
)
def test_wrong_shapes_are_refused(model: M4SAM, rgb: tuple[int, ...], depth: tuple[int, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        unroll_clip(model, torch.zeros(rgb), torch.zeros(depth))


@torch.inference_mode()
def test_folding_changes_no_output(model: M4SAM) -> None:
    rgb, depth = clip(1, 2)
    before = unroll_clip(model, rgb, depth).mask_prob
    folded = build_model(model.cfg).eval()
    folded.load_state_dict(model.state_dict())
    folded.fold()
    torch.testing.assert_close(unroll_clip(folded, rgb, depth).mask_prob, before, atol=1e-6, rtol=0)


@torch.inference_mode()
def test_flat_and_black_frames_give_finite_masks(model: M4SAM) -> None:
    rgb, depth = torch.zeros(1, 2, 3, 64, 64), torch.zeros(1, 2, 1, 64, 64)
    rgb[:, 1] = 0.5
    assert torch.isfinite(unroll_clip(model, rgb, depth).mask_prob).all()
