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
from m4sam_core.model.experts import Routing
from m4sam_training.train.expert_load import IdleExperts
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


def test_an_expert_without_windows_is_left_alone_by_adamw_as_in_the_release():
    """The third rgb expert is never chosen in the second step: weights and moments stay, unless they are to decay."""
    batch = {key: torch.stack([Discs()[i][key] for i in range(2)]) for key in ("rgb", "depth", "mask")}
    for rests in (True, False):
        cfg = settings(
            model={"preset": "nano", "adapter": {"gate_noise": 0.0}},
            optim={"rest_idle_experts": rests, "weight_decay": 0.5},
        )
        step = TrainStep(starting_model(cfg), cfg, ALONE)
        moe = step.model.trunk.qv_adapters[0].sets["shared"]["q"]
        idle, busy = moe.experts["rgb"][2], moe.experts["rgb"][0]
        torch.nn.init.normal_(moe.lora_b)
        torch.nn.init.normal_(moe.gate("rgb").w_gate)
        step.run([batch], epoch=0, step=0)
        moe.gate("rgb").register_forward_hook(lambda _m, _i, routing: _route_to(routing, (0, 1)))
        before = {n: p.clone() for n, p in moe.named_parameters()}
        moments = {p: step.optimizer.state[p].get("exp_avg", torch.zeros(())).clone() for p in moe.parameters()}
        step.run([batch], epoch=0, step=1)
        moved = {n for n, p in moe.named_parameters() if not torch.equal(p, before[n])}
        assert any(name.startswith("experts.rgb.0.") for name in moved)
        assert any(name.startswith("experts.rgb.2.") for name in moved) != rests
        assert all((p.grad is None) == rests for p in idle.parameters())
        assert all(p.grad is not None for p in busy.parameters())
        if rests:
            now = [step.optimizer.state[p].get("exp_avg", torch.zeros(())) for p in idle.parameters()]
            assert all(torch.equal(a, moments[p]) for a, p in zip(now, idle.parameters(), strict=True))


def _route_to(routing: Routing, experts: tuple[int, int]) -> Routing:
    gates = torch.zeros_like(routing.gates)
    gates[..., list(experts)] = 0.5
    return Routing(gates, routing.load)


def test_an_expert_used_by_one_batch_of_a_step_is_trained():
    """Which windows count is asked of all batches of a step together."""
    model = build_model(settings().model)
    idle = IdleExperts(model)
    moe = model.trunk.qv_adapters[0].sets["shared"]["q"]
    for chosen in ((0, 1), (1, 2)):
        with torch.no_grad():
            moe.gate("rgb").w_noise.zero_()
            moe.gate("rgb").w_gate.zero_()
            moe.gate("rgb").w_gate[:, list(chosen)] = 9.0
        moe.gate("rgb")(torch.ones(3, 4))
        for parameter in moe.parameters():
            parameter.grad = torch.zeros_like(parameter)
        idle.leave_alone(processes=1)
        resting = [all(p.grad is None for p in expert.parameters()) for expert in moe.experts["rgb"]]
        assert resting == ([False, False, True] if chosen == (0, 1) else [False, False, False])
    idle.forget()
    idle.leave_alone(processes=1)
    assert moe.experts["rgb"][0][0].weight.grad is not None


@pytest.mark.parametrize(("processes", "batch_size"), [(1, 4), (2, 2), (4, 1)])
def test_any_number_of_processes_sees_the_same_batches(processes, batch_size):
    samplers = [
        ClipSampler(10, batch_size=batch_size, rank=rank, processes=processes, seed=5) for rank in range(processes)
    ]
    for sampler in samplers:
        sampler.start(epoch=3)
    parts = [list(sampler) for sampler in samplers]
    assert len({tuple(map(len, part)) for part in parts}) == 1, "every process has equally large batches"
    seen = [[*chain(*batch)] for batch in zip(*parts, strict=True)]
    single = ClipSampler(10, batch_size=4, rank=0, processes=1, seed=5)
    single.start(epoch=3)
    whole = list(single)
    assert [len(batch) for batch in whole] == [4, 4, 2], "the last batch is short, as in the release"
    assert sorted(chain(*whole)) == list(range(10)), "every clip is seen once"
    assert seen[:2] == whole[:2]
    # Four processes need four clips: two from the front of the shuffle make it up.
    assert seen[2] == whole[2] + (whole[0][:2] if processes == 4 else [])
    single.start(epoch=4)
    assert whole != list(single)
    single.start(epoch=3, skip_batches=2)
    assert list(single) == whole[2:]
