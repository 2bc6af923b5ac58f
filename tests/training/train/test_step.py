# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""One training step: accumulation, precision, recomputation, clipping, optimiser, batches."""

from __future__ import annotations

import math
from itertools import chain
from typing import Any

import pytest
import torch

from m4sam_core.build import build_model
from m4sam_core.errors import ConfigError
from m4sam_training.train.loading import ClipSampler
from m4sam_training.train.optim import learning_rates, make_optimizer
from m4sam_training.train.step import TrainStep
from m4sam_training.train.weights.parts import MEMORY_PARTS
from m4sam_training.train.weights.starting_model import starting_model
from tests.training.discs import ALONE, Discs, equal, settings


def test_accumulating_two_batches_averages_their_gradients():
    """Without batch statistics in play (evaluation mode), 2 batches of 2 equal 1 batch of 4."""
    loss = {"moe_weight": 0.0, "final": {"dice": 0.0}}
    cfg = settings(loss=loss, optim={"deep_update": "always"}, model={"preset": "nano", "adapter": {"gate_noise": 0.0}})
    clips = [Discs()[index] for index in range(4)]

    def gradients(groups: list[list[dict[str, Any]]]) -> dict[str, torch.Tensor]:
        step = TrainStep(starting_model(cfg), cfg, ALONE)
        step.model.eval()
        batches = [
            {key: torch.stack([clip[key] for clip in group]) for key in ("rgb", "depth", "mask")} for group in groups
        ]
        step.run(batches, epoch=0, step=0)
        return {name: p.grad for name, p in step.model.named_parameters() if p.grad is not None}

    together, apart = gradients([clips]), gradients([clips[:2], clips[2:]])
    for name, gradient in together.items():
        assert torch.allclose(gradient, apart[name], rtol=1e-3, atol=1e-6), name


@pytest.mark.parametrize("amp", ["bf16", "fp16"])
def test_mixed_precision_stays_near_full_precision(amp):
    batch = {key: torch.stack([Discs()[i][key] for i in range(2)]) for key in ("rgb", "depth", "mask")}
    totals = []
    for choice in ("off", amp):
        cfg = settings(optim={"amp": choice})
        step = TrainStep(starting_model(cfg), cfg, ALONE)
        report = step.run([batch], epoch=0, step=0)
        assert all(p.dtype == torch.float32 for p in step.model.parameters())
        totals.append(report.losses["total"].item())
    assert totals[1] == pytest.approx(totals[0], rel=0.02)


@pytest.mark.parametrize("kind", ["moe_lora", "bottleneck", "none"])
def test_recomputing_the_trunk_changes_no_number(kind):
    batch = {key: torch.stack([Discs()[i][key] for i in range(2)]) for key in ("rgb", "depth", "mask")}
    results = []
    for recompute in (False, True):
        cfg = settings(optim={"recompute": recompute}, model={"preset": "nano", "adapter": {"kind": kind}})
        step = TrainStep(starting_model(cfg), cfg, ALONE)
        for number in range(2):
            step.run([batch], epoch=0, step=number)
        results.append(step.model.state_dict())
    assert equal(*results), "weights, running statistics and their counters"


@pytest.mark.parametrize("parts", ["picture", "memory"])
def test_a_half_is_trained_and_the_other_stays_as_it_is(parts):
    batch = {key: torch.stack([Discs()[i][key] for i in range(2)]) for key in ("rgb", "depth", "mask")}
    cfg = settings(optim={"parts": parts})
    step = TrainStep(starting_model(cfg), cfg, ALONE)
    before = {name: value.clone() for name, value in step.model.state_dict().items()}
    report = step.run([batch], epoch=0, step=0)
    changed = {name for name, value in step.model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed, "weights move"
    assert all(name.startswith(MEMORY_PARTS) == (parts == "memory") for name in changed), "and statistics too"
    expected = {"structure", "focal", "dice", "mae"} if parts == "memory" else {"coarse1", "coarse2", "coarse3"}
    assert expected <= set(report.losses)
    assert not {"coarse1", "structure"} <= set(report.losses), "only its own losses"


def test_a_network_without_memory_has_no_such_half():
    with pytest.raises(ConfigError, match=r"optim\.parts: expected all or picture"):
        settings(optim={"parts": "memory"}, model={"preset": "nano", "memory": {"enabled": False}})


def test_gradients_are_clipped_to_the_norm_asked_for():
    cfg = settings(optim={"grad_clip": 0.5})
    step = TrainStep(starting_model(cfg), cfg, ALONE)
    batch = {key: Discs()[0][key][None].repeat(2, 1, 1, 1, 1) for key in ("rgb", "depth", "mask")}
    report = step.run([batch], epoch=0, step=0)
    assert report.grad_norm > 0.5
    clipped = math.sqrt(
        sum(p.grad.double().square().sum().item() for p in step.model.parameters() if p.grad is not None)
    )
    assert clipped == pytest.approx(0.5, rel=1e-3)


def test_learning_rates_follow_the_cosine_and_the_number_of_processes():
    cfg = settings(optim={"epochs": 60, "scale_lr_by_processes": True})
    assert learning_rates(cfg, 0, 0, 2) == {"rest": 2e-3, "adapter": 2e-4}
    assert learning_rates(cfg, 30, 0, 2)["rest"] == pytest.approx((2e-3 + 1e-7) / 2)
    assert learning_rates(cfg, 60, 0, 2)["rest"] == pytest.approx(1e-7)
    theirs = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(theirs, T_max=60, eta_min=1e-7)
    for epoch in range(60):
        assert learning_rates(cfg, epoch, 0, 1)["rest"] == pytest.approx(schedule.get_last_lr()[0], rel=1e-9)
        theirs.step()
        schedule.step()


def test_optimiser_groups_split_adapters_from_the_rest():
    model = build_model(settings().model)
    groups = {group["name"]: group for group in make_optimizer(model, settings().optim).param_groups}
    inside = {id(p) for p in model.trunk.parameters()}
    assert (groups["rest"]["lr"], groups["adapter"]["lr"]) == (1e-3, 1e-4)
    assert all(id(p) in inside for p in groups["adapter"]["params"])
    trained = sum(len(group["params"]) for group in groups.values())
    assert trained == sum(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize(("processes", "batch_size"), [(1, 4), (2, 2), (4, 1)])
def test_any_number_of_processes_sees_the_same_batches(processes, batch_size):
    samplers = [
        ClipSampler(10, batch_size=batch_size, rank=rank, processes=processes, seed=5) for rank in range(processes)
    ]
    for sampler in samplers:
        sampler.start(epoch=3)
    seen = [[*chain(*parts)] for parts in zip(*samplers, strict=True)]
    single = ClipSampler(10, batch_size=4, rank=0, processes=1, seed=5)
    single.start(epoch=3)
    assert seen == list(single)
    assert len(seen) == 3
    assert set(chain(*seen)) == set(range(10)), "every clip is seen"
    assert all(len(batch) == 4 for batch in seen), "the last batch is filled up"
    single.start(epoch=4)
    assert seen != list(single)
    single.start(epoch=3, skip_batches=2)
    assert list(single) == seen[2:]
