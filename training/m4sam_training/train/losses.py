# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Losses of the release and of the paper (docs/model.md#losses), one function a term.

Every map is (N, 1, H, W) with one sample a frame; ground truth stays soft, in [0, 1].
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import torch
import torch.nn.functional as F

if TYPE_CHECKING:
    from torch import Tensor

    from m4sam_core.types import ClipOutput
    from m4sam_training.train.config import LossConfig

BceKind = Literal["scalar", "weighted"]

STRUCTURE_WINDOW_PX = 31


def border_weight(target: Tensor) -> Tensor:
    """1 + 5 * |avgpool31(m) - m| of a mask (N, 1, H, W): where its border is near, up to 6."""
    return 1 + 5 * (_window_mean(target) - target).abs()


def structure_loss(
    logits: Tensor, target: Tensor, bce: BceKind, weight: Tensor | None = None, mae_weight: float = 0.3
) -> Tensor:
    """Binary cross entropy + weighted IoU + `mae_weight` * mean absolute error.

    Args:
        logits (N, 1, H, W): prediction before the sigmoid.
        target (N, 1, H, W): ground truth in [0, 1].
        bce: `scalar` takes the plain mean, so the border weights act in the IoU alone (release);
            `weighted` weights each pixel (F3Net's original).
        weight (N, 1, H, W): `border_weight(target)`, where several predictions share a target; None computes it.
        mae_weight: 0.3 in the release; F3Net's original has no such term.

    Returns:
        Scalar, mean over the samples.
    """
    weight = border_weight(target) if weight is None else weight
    if bce == "scalar":
        cross_entropy = F.binary_cross_entropy_with_logits(logits, target)
    else:
        per_pixel = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
        cross_entropy = ((weight * per_pixel).sum((2, 3)) / weight.sum((2, 3))).mean()
    prob = logits.sigmoid()
    overlap = (prob * target * weight).sum((2, 3))
    total = ((prob + target) * weight).sum((2, 3))
    iou = 1 - (overlap + 1) / (total - overlap + 1)
    return cross_entropy + iou.mean() + mae_weight * (prob - target).abs().mean()


def _window_mean(x: Tensor) -> Tensor:
    """avgpool31 with zero padding that counts, rows and columns one after the other: 15 times less work."""
    half = STRUCTURE_WINDOW_PX // 2
    rows = F.avg_pool2d(x, (STRUCTURE_WINDOW_PX, 1), stride=1, padding=(half, 0))
    return F.avg_pool2d(rows, (1, STRUCTURE_WINDOW_PX), stride=1, padding=(0, half))


def focal_loss(logits: Tensor, target: Tensor) -> Tensor:
    """mean(0.25 * (1 - exp(-bce))^2 * bce); alpha is not class-weighted.

    Args:
        logits (N, 1, H, W): prediction before the sigmoid.
        target (N, 1, H, W): ground truth in [0, 1].

    Returns:
        Scalar.
    """
    bce = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return (0.25 * (1 - torch.exp(-bce)) ** 2 * bce).mean()


def dice_loss(logits: Tensor, target: Tensor) -> Tensor:
    """1 - mean over samples of (2*sum(p*m) + 1e-5) / (sum p + sum m + 1e-5).

    Args:
        logits (N, 1, H, W): prediction before the sigmoid.
        target (N, 1, H, W): ground truth in [0, 1].

    Returns:
        Scalar.
    """
    prob = logits.sigmoid()
    overlap = (prob * target).sum((1, 2, 3))
    total = prob.sum((1, 2, 3)) + target.sum((1, 2, 3))
    return 1 - ((2 * overlap + 1e-5) / (total + 1e-5)).mean()


def edge_target(mask: Tensor) -> Tensor:
    """Sobel magnitude of the mask, stretched to [0, 1] sample by sample.

    Args:
        mask (N, 1, H, W): ground truth in [0, 1].

    Returns:
        (N, 1, H, W) in [0, 1]; a sample whose magnitude is the same everywhere is left as it is.
    """
    horizontal = mask.new_tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])
    kernels = torch.stack([horizontal, horizontal.T])[:, None]
    gradient = F.conv2d(mask, kernels, padding=1)
    magnitude = (gradient.square().sum(1, keepdim=True) + 1e-6).sqrt()
    low = magnitude.amin((1, 2, 3), keepdim=True)
    span = magnitude.amax((1, 2, 3), keepdim=True) - low
    flat = span == 0
    stretched = (magnitude - low) / torch.where(flat, torch.ones_like(span), span)
    return torch.where(flat, magnitude, stretched)


def final_loss(
    mask_prob: Tensor, mask_logits: Tensor, target: Tensor, cfg: LossConfig, weight: Tensor | None = None
) -> dict[str, Tensor]:
    """The unweighted terms on the memory's mask.

    Args:
        mask_prob (N, 1, H, W): final probability.
        mask_logits (N, 1, H, W): its logits.
        target (N, 1, H, W): ground truth in [0, 1].
        cfg: `final_input` chooses what structure, focal and dice take for a logit; terms of weight 0 are left out.
        weight (N, 1, H, W): see `structure_loss`.

    Returns:
        Scalars by name: structure, focal, dice, mae.
    """
    fed = mask_prob if cfg.final_input == "prob_as_logit" else mask_logits
    terms: dict[str, Callable[[], Tensor]] = {
        "structure": lambda: structure_loss(fed, target, cfg.bce, weight, cfg.structure_mae),
        "focal": lambda: focal_loss(fed, target),
        "dice": lambda: dice_loss(fed, target),
        "mae": lambda: (mask_prob - target).abs().mean(),
    }
    return {name: term() for name, term in terms.items() if getattr(cfg.final, name) > 0}


def outline_weight(cfg: LossConfig, epoch: int) -> float:
    """Weight of the three losses on outlines in this epoch (0-based): a ramp, then a constant."""
    ramp = cfg.edge
    if epoch >= ramp.ramp_epochs:
        return ramp.final
    return ramp.start + ramp.gain * epoch / ramp.ramp_epochs


def clip_losses(
    output: ClipOutput, mask: Tensor, cfg: LossConfig, epoch: int, picture_mask: Tensor | None = None
) -> dict[str, Tensor]:
    """Every loss term of a batch of clips and their weighted total.

    Args:
        output: what `unroll_clip` returned; widened to float32 from half precision.
        mask (B, T, 1, H, W): ground truth in [0, 1].
        cfg: weights and variants.
        epoch: 0-based, for the ramp of the outlines' weight.
        picture_mask (B, T, 1, H, W): what single pictures say, for coarse masks and outlines; `mask` when absent.

    Returns:
        Scalars: coarse1..3, edge1..3, structure, focal, dice, mae (unweighted), moe, and `total`.
    """

    def frames(clip: Tensor) -> Tensor:
        return _wide(clip).flatten(0, 1)

    target = frames(mask)
    mask_weight = border_weight(target)
    seen, seen_weight = (target, mask_weight) if picture_mask is None else _weighted(frames(picture_mask))
    edges, edges_weight = _weighted(edge_target(seen))
    terms: dict[str, Tensor] = {}
    total = target.new_zeros(())
    for index, (logits, weight) in enumerate(zip(output.coarse_logits, cfg.coarse_weights, strict=True), start=1):
        terms[f"coarse{index}"] = structure_loss(frames(logits), seen, cfg.bce, seen_weight, cfg.structure_mae)
        total = total + weight * terms[f"coarse{index}"]
    for index, logits in enumerate(output.edge_logits, start=1):
        terms[f"edge{index}"] = structure_loss(frames(logits), edges, cfg.bce, edges_weight, cfg.structure_mae)
        total = total + outline_weight(cfg, epoch) * terms[f"edge{index}"]
    final = final_loss(frames(output.mask_prob), frames(output.mask_logits), target, cfg, mask_weight)
    for name, term in final.items():
        terms[name] = term
        total = total + getattr(cfg.final, name) * term
    terms["moe"] = _wide(output.moe_loss)
    terms["total"] = total + cfg.moe_weight * terms["moe"]
    return terms


def _weighted(target: Tensor) -> tuple[Tensor, Tensor]:
    return target, border_weight(target)


def _wide(x: Tensor) -> Tensor:
    """At least float32."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
