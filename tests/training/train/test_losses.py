# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Each loss against a hand-written loop or a closed form."""

from __future__ import annotations

import math

import pytest
import torch

from m4sam_core.build import build_model
from m4sam_core.types import ClipOutput
from m4sam_training.train import losses
from m4sam_training.train.config import LossConfig, TrainConfig
from m4sam_training.train.step import ClipModule
from tests.training.discs import Discs, settings


@pytest.fixture
def maps() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(2, 1, 9, 11, generator=generator, dtype=torch.float64)
    target = torch.rand(2, 1, 9, 11, generator=generator, dtype=torch.float64)
    return logits, target


def bce(logit: float, target: float) -> float:
    prob = 1 / (1 + math.exp(-logit))
    return -(target * math.log(prob) + (1 - target) * math.log(1 - prob))


@pytest.mark.parametrize("kind", ["scalar", "weighted"])
def test_structure_loss_equals_a_loop_over_pixels(maps, kind):
    logits, target = maps
    height, width = target.shape[2:]
    cross, iou, error = 0.0, 0.0, 0.0
    for sample in range(2):
        weights, weighted, overlap, total = 0.0, 0.0, 0.0, 0.0
        for y in range(height):
            for x in range(width):
                # The window of 31 covers the whole map here; padding counts as zeros.
                inside = target[sample, 0, max(0, y - 15) : y + 16, max(0, x - 15) : x + 16].sum().item() / 31**2
                m, z = target[sample, 0, y, x].item(), logits[sample, 0, y, x].item()
                weight = 1 + 5 * abs(inside - m)
                prob = 1 / (1 + math.exp(-z))
                pixel = bce(z, m)
                weights += weight
                weighted += weight * pixel if kind == "weighted" else pixel
                overlap += weight * prob * m
                total += weight * (prob + m)
                error += abs(prob - m) / (2 * height * width)
        cross += weighted / (weights if kind == "weighted" else height * width) / 2
        iou += (1 - (overlap + 1) / (total - overlap + 1)) / 2
    expected = cross + iou + 0.3 * error
    assert losses.structure_loss(logits, target, kind).item() == pytest.approx(expected, rel=1e-10)


def test_focal_and_dice_equal_loops(maps):
    logits, target = maps
    pixels = [bce(z, m) for z, m in zip(logits.flatten().tolist(), target.flatten().tolist(), strict=True)]
    focal = sum(0.25 * (1 - math.exp(-p)) ** 2 * p for p in pixels) / len(pixels)
    assert losses.focal_loss(logits, target).item() == pytest.approx(focal, rel=1e-10)
    dice = 0.0
    for sample in range(2):
        prob, mask = logits[sample].sigmoid(), target[sample]
        dice += (2 * (prob * mask).sum().item() + 1e-5) / (prob.sum().item() + mask.sum().item() + 1e-5) / 2
    assert losses.dice_loss(logits, target).item() == pytest.approx(1 - dice, rel=1e-10)


def test_edge_target_is_sobel_stretched_per_sample():
    mask = torch.zeros(2, 1, 12, 12)
    mask[0, :, 3:9, 3:9] = 0.5
    edges = losses.edge_target(mask)
    assert edges[0].min() == 0
    assert edges[0].max() == 1
    assert edges[0, 0, 5, 5] == 0, "inside the object there is no edge"
    straight, corner = math.sqrt(4 * 0.25 + 1e-6), math.sqrt(2 * (1.5**2) + 1e-6)
    assert corner > straight
    inner_corner = edges[0, 0, 3, 3].item()
    assert edges[0, 0, 5, 3].item() == pytest.approx((2.0 - 1e-3) / (math.sqrt(4.5 + 1e-6) - 1e-3), rel=1e-3)
    assert inner_corner == pytest.approx(1.0, rel=1e-4)
    assert torch.allclose(edges[1], torch.full((1, 12, 12), 1e-3)), "a flat mask keeps its magnitude"


def test_edges_at_the_image_border_come_from_zero_padding():
    edges = losses.edge_target(torch.ones(1, 1, 8, 8))
    assert edges[0, 0, 0, 4] > 0.5
    assert edges[0, 0, 4, 4] == 0


@pytest.mark.parametrize(("epoch", "weight"), [(0, 0.2), (1, 0.23), (10, 0.5), (19, 0.77), (20, 1.0), (59, 1.0)])
def test_release_outline_weight_ramps_then_stays(epoch, weight):
    assert losses.outline_weight(LossConfig(), epoch) == pytest.approx(weight)


def test_paper_outline_weight_is_one_from_the_start():
    cfg = TrainConfig.parse({"preset": "paper"}).loss
    assert [losses.outline_weight(cfg, epoch) for epoch in (0, 5, 49)] == [1.0, 1.0, 1.0]


def random_output(generator: torch.Generator) -> tuple[ClipOutput, torch.Tensor]:
    def draw() -> torch.Tensor:
        return torch.randn(2, 3, 1, 16, 16, generator=generator)

    logits = draw()
    output = ClipOutput(
        mask_prob=logits.sigmoid(),
        mask_logits=logits,
        coarse_logits=(draw(), draw(), draw()),
        edge_logits=(draw(), draw(), draw()),
        moe_loss=torch.tensor(2.5),
    )
    return output, torch.rand(2, 3, 1, 16, 16, generator=generator)


def test_release_total_is_the_documented_sum():
    output, mask = random_output(torch.Generator().manual_seed(0))
    terms = {name: value.item() for name, value in losses.clip_losses(output, mask, LossConfig(), epoch=10).items()}
    expected = 0.6 * terms["coarse1"] + 0.8 * terms["coarse2"] + 1.0 * terms["coarse3"]
    expected += 0.5 * (terms["edge1"] + terms["edge2"] + terms["edge3"])
    expected += 0.7 * terms["structure"] + 0.8 * terms["focal"] + 0.5 * terms["dice"] + 0.9 * terms["mae"]
    expected += 0.8 * 2.5
    assert terms["total"] == pytest.approx(expected, rel=1e-6)


def test_release_feeds_the_probability_as_a_logit_except_to_mae():
    output, mask = random_output(torch.Generator().manual_seed(1))
    target, prob = mask.flatten(0, 1), output.mask_prob.flatten(0, 1)
    terms = losses.clip_losses(output, mask, LossConfig(), epoch=0)
    assert torch.equal(terms["structure"], losses.structure_loss(prob, target, "scalar"))
    assert torch.equal(terms["focal"], losses.focal_loss(prob, target))
    assert torch.equal(terms["dice"], losses.dice_loss(prob, target))
    assert torch.equal(terms["mae"], (prob - target).abs().mean())


def test_paper_total_is_structure_everywhere_plus_moe():
    output, mask = random_output(torch.Generator().manual_seed(2))
    cfg = TrainConfig.parse({"preset": "paper"}).loss
    terms = losses.clip_losses(output, mask, cfg, epoch=0)
    assert set(terms) == {"coarse1", "coarse2", "coarse3", "edge1", "edge2", "edge3", "structure", "moe", "total"}
    assert terms["total"].item() == pytest.approx(sum(v.item() for k, v in terms.items() if k != "total"), rel=1e-6)
    logits, target = output.mask_logits.flatten(0, 1), mask.flatten(0, 1)
    assert torch.equal(terms["structure"], losses.structure_loss(logits, target, "weighted", mae_weight=0.0))


def test_without_memory_the_finest_coarse_mask_is_counted_once():
    cfg = settings(model={"preset": "nano", "memory": {"enabled": False}})
    module = ClipModule(build_model(cfg.model), cfg)
    clip = Discs()[0]
    terms, _ = module({key: clip[key][None] for key in ("rgb", "depth", "mask")}, 0, torch.Generator())
    assert not {"structure", "focal", "dice", "mae"} & set(terms)
    weights = dict(zip(("coarse1", "coarse2", "coarse3"), cfg.loss.coarse_weights, strict=True))
    weights |= {f"edge{n}": cfg.loss.edge.start for n in (1, 2, 3)} | {"moe": cfg.loss.moe_weight}
    assert terms["total"].item() == pytest.approx(sum(w * terms[name].item() for name, w in weights.items()), rel=1e-6)


def test_losses_are_finite_and_give_gradients_at_extremes():
    logits = torch.tensor([-90.0, 90.0]).view(1, 1, 1, 2).repeat(1, 1, 4, 1).requires_grad_()
    target = torch.tensor([1.0, 0.0]).view(1, 1, 1, 2).repeat(1, 1, 4, 1)
    total = losses.structure_loss(logits, target, "weighted") + losses.focal_loss(logits, target)
    total = total + losses.dice_loss(logits, target)
    total.backward()
    assert torch.isfinite(total)
    assert torch.isfinite(logits.grad).all()
