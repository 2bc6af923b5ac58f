# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Experts, gates and their folded form."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from m4sam_core.model.experts import NoisyTopKGate, RoutedBatchNorm2d, combine, route
from m4sam_core.model.moe_lora import GROUPS, MoELoRA, fold_experts
from m4sam_core.types import Modality


def test_routed_batch_norm_sees_only_the_active_samples() -> None:
    torch.manual_seed(0)
    x = torch.randn(6, 4, 5, 5)
    active = torch.tensor([True, False, True, True, False, True])
    ours, plain = RoutedBatchNorm2d(4), nn.BatchNorm2d(4)
    torch.testing.assert_close(ours(x, active)[active], plain(x[active]))
    torch.testing.assert_close(ours.running_mean, plain.running_mean)
    torch.testing.assert_close(ours.running_var, plain.running_var)
    assert ours.num_batches_tracked == 1


def test_routed_batch_norm_without_active_samples_learns_nothing() -> None:
    layer = RoutedBatchNorm2d(4)
    out = layer(torch.randn(3, 4, 2, 2), torch.zeros(3, dtype=torch.bool))
    assert torch.isfinite(out).all()
    assert torch.equal(layer.running_mean, torch.zeros(4))
    assert torch.equal(layer.running_var, torch.ones(4))
    assert layer.num_batches_tracked == 0


@pytest.mark.parametrize("top_k", [1, 2, 3])
def test_route_selects_top_k_with_gates_that_sum_to_one(top_k: int) -> None:
    torch.manual_seed(0)
    logits = torch.randn(50, 2, 3)
    routing = route(logits, top_k)
    assert ((routing.gates > 0).sum(dim=-1) == top_k).all()
    torch.testing.assert_close(routing.gates.sum(dim=-1), torch.ones(50, 2))
    assert torch.equal(routing.gates.argmax(dim=-1), logits.argmax(dim=-1))
    assert torch.equal(routing.load, (routing.gates > 0).float().sum(dim=0))


def test_smooth_load_is_the_expected_count_under_fresh_noise() -> None:
    torch.manual_seed(0)
    gate = NoisyTopKGate(4, top_k=2, noise=1.0)
    with torch.no_grad():
        gate.w_gate.normal_()
        gate.w_noise.normal_()
    pooled = torch.randn(1, 4)
    draws = 4000
    with torch.no_grad():
        counts = sum((gate(pooled).gates > 0).float() for _ in range(draws)).squeeze(0) / draws
        loads = sum(gate(pooled).load for _ in range(draws)) / draws
    # The load of each draw conditions on the other experts' noise; on average it is the probability of selection.
    torch.testing.assert_close(loads, counts, atol=0.03, rtol=0)


def test_balanced_routing_costs_nothing_and_collapse_costs() -> None:
    even = route(torch.eye(3).repeat(4, 1), top_k=1)
    collapsed = route(torch.tensor([[5.0, 0.0, 0.0]]).repeat(12, 1), top_k=1)
    assert even.loss() == pytest.approx(0.0, abs=1e-9)
    assert collapsed.loss() > 0.05


def test_combine_drops_experts_whose_gate_is_zero() -> None:
    outputs = torch.randn(2, 3, 1, 1, 1)
    gates = torch.tensor([[0.7, 0.3, 0.0], [1.0, 0.0, 0.0]])
    release = combine(outputs, gates, "release").flatten()
    torch.testing.assert_close(release[0], outputs[0, :2].exp().sum().log())
    torch.testing.assert_close(release[1], outputs[1, 0].squeeze())
    paper = combine(outputs, gates, "paper").flatten()
    torch.testing.assert_close(paper[0], (outputs[0].flatten() * gates[0]).sum())


@pytest.mark.parametrize("modality", list(Modality))
@pytest.mark.parametrize("mode", ["release", "paper"])
def test_folded_experts_equal_the_experts_one_by_one(modality: Modality, mode: str) -> None:
    torch.manual_seed(1)
    adapters = [MoELoRA(8, 8, rank=4, alpha=1.0, top_k=2) for _ in range(2)]
    for adapter in adapters:
        _randomise(adapter)
        adapter.eval()
    a = torch.randn(5, 8, 6, 7)
    with torch.no_grad():
        folded, folded_loss = fold_experts(adapters, GROUPS[modality]).mix(a, 2, 2, mode)  # type: ignore[arg-type]
        parts = [
            adapter.mix(part, GROUPS[modality], mode)  # type: ignore[arg-type]  # a literal from the parametrisation
            for adapter, part in zip(adapters, a.chunk(2, dim=1), strict=True)
        ]
    torch.testing.assert_close(folded, torch.cat([part[0] for part in parts], dim=1), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(folded_loss, parts[0][1] + parts[1][1])


def _randomise(module: nn.Module) -> None:
    with torch.no_grad():
        for tensor in module.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(torch.randn_like(tensor) * 0.5)
        for layer in module.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.running_var.uniform_(0.5, 2.0)  # type: ignore[union-attr]  # statistics are tracked
