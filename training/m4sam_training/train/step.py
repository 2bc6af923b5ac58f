# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""One optimiser step: forward, losses, backward, clipping, AdamW; the same for one process and for many."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from m4sam_core.errors import M4SamError
from m4sam_core.model.m4sam import M4SAM
from m4sam_core.stream.recurrence import unroll_clip
from m4sam_core.types import ClipOutput
from m4sam_training.train.config import FinalWeightConfig, TrainConfig
from m4sam_training.train.distributed import World
from m4sam_training.train.expert_load import IdleExperts
from m4sam_training.train.loading import coin_seed, noise_seed
from m4sam_training.train.losses import clip_losses
from m4sam_training.train.optim import gradient_norm, learning_rates, make_optimizer, set_learning_rates
from m4sam_training.train.schedule import place
from m4sam_training.train.sync_bn import synchronise_batch_norm
from m4sam_training.train.weights.average import WeightAverage
from m4sam_training.train.weights.parts import freeze_other_half, train_half

AMP_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


class DivergedError(M4SamError):
    """The loss is no longer a finite number."""


class ClipModule(nn.Module):
    """Model and losses in one forward, so that DistributedDataParallel sees which parameters took part.

    Args:
        model: an M4SAM.
        cfg: loss, precision and deep-update settings.
    """

    def __init__(self, model: M4SAM, cfg: TrainConfig) -> None:
        super().__init__()
        self.model = model
        self.cfg = cfg
        self.loss = cfg.loss
        if not model.has_memory or cfg.optim.parts == "picture":
            # Without memory there is no final mask: its losses would count the finest coarse mask twice.
            absent = dict.fromkeys(FinalWeightConfig.model_fields, 0.0)
            self.loss = cfg.loss.model_copy(update={"final": FinalWeightConfig(**absent)})
        elif cfg.optim.parts == "memory":
            self.loss = cfg.loss.model_copy(update={"coarse_weights": ()})

    def forward(
        self, batch: dict[str, Tensor], epoch: int, coin: torch.Generator
    ) -> tuple[dict[str, Tensor], ClipOutput]:
        """Losses of clips rgb (B,T,3,H,W), depth (B,T,1,H,W), mask (B,T,1,H,W), all in [0, 1].

        A batch may hold picture_mask (B,T,1,H,W), what every picture alone says, which the coarse masks then learn; and
        taught (B,T,1,H,W) and teach (B,T), the masks that take the place of the prior and of the model's own in memory.

        Returns:
            the terms of `clip_losses`, and the model's output.
        """
        mask, dtype = batch["mask"], AMP_DTYPES.get(self.cfg.optim.amp)
        with torch.autocast(mask.device.type, dtype=dtype) if dtype else nullcontext():
            output = self._picture(batch) if self.cfg.optim.parts == "picture" else self._clip(batch, coin)
        scored = replace(output, coarse_logits=()) if self.cfg.optim.parts == "memory" else output
        return clip_losses(scored, mask, self.loss, epoch, batch.get("picture_mask")), output

    def _clip(self, batch: dict[str, Tensor], coin: torch.Generator) -> ClipOutput:
        remembered = _teacher(batch["taught"], batch["teach"]) if "taught" in batch else None
        return unroll_clip(
            self.model,
            batch["rgb"],
            batch["depth"],
            deep_update=self.cfg.optim.deep_update,
            generator=coin,
            aux=self.cfg.optim.parts != "memory",
            remembered=remembered,
        )

    def _picture(self, batch: dict[str, Tensor]) -> ClipOutput:
        """Every frame by itself; its mask is the finest coarse one."""
        rgb, depth = batch["rgb"], batch["depth"]
        features = self.model.encode(rgb.flatten(0, 1), depth.flatten(0, 1))
        coarse = tuple(logits.unflatten(0, rgb.shape[:2]) for logits in features.coarse_logits)
        edges = tuple(logits.unflatten(0, rgb.shape[:2]) for logits in features.edge_logits)
        return ClipOutput(torch.sigmoid(coarse[-1]), coarse[-1], coarse, edges, features.moe_loss)


def _teacher(taught: Tensor, teach: Tensor) -> Callable[[int, Tensor], Tensor]:
    """Shows the memory taught masks where the batch says so; entry 0 stands for the prior, entry t+1 for frame t."""

    def remembered(number: int, mask: Tensor) -> Tensor:
        return torch.where(teach[:, number + 1, None, None, None], taught[:, number + 1].to(mask.dtype), mask)

    return remembered


@dataclass
class StepReport:
    """What one step did.

    Attributes:
        losses: every term, averaged over the step's batches; scalars on the device.
        grad_norm: total gradient norm before clipping; scalar on the device.
        rates: learning rate of each parameter group.
        output: the model's output for the last batch.
    """

    losses: dict[str, Tensor]
    grad_norm: Tensor
    rates: dict[str, float]
    output: ClipOutput


class TrainStep:
    """Everything that changes from step to step: model, optimiser, loss scaler.

    Args:
        model: an M4SAM with its starting weights.
        cfg: the run's settings.
        world: the processes.
    """

    def __init__(self, model: M4SAM, cfg: TrainConfig, world: World) -> None:
        self.cfg = cfg
        self.world = world
        self.model = model.to(world.device)
        freeze_other_half(self.model, cfg.optim.parts)
        self.training_mode()
        if cfg.optim.channels_last:
            self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack it
        if world.size > 1:
            synchronise_batch_norm(self.model, cfg.optim.sync_bn)
        self.model.trunk.recompute = cfg.optim.recompute
        self.optimizer = make_optimizer(self.model, cfg.optim)
        self.scaler = torch.amp.GradScaler(world.device.type, enabled=cfg.optim.amp == "fp16")
        self._idle = IdleExperts(self.model) if cfg.optim.rest_idle_experts else None
        self.average = WeightAverage(self.model, cfg.optim.average)
        self._module: nn.Module = ClipModule(self.model, cfg)
        if world.size > 1:
            self._module = DistributedDataParallel(
                self._module,
                device_ids=[world.device.index] if world.device.type == "cuda" else None,
                find_unused_parameters=True,
                gradient_as_bucket_view=True,
            )

    def training_mode(self) -> None:
        """What is trained in training mode, the rest as in use."""
        train_half(self.model, self.cfg.optim.parts)

    def run(self, batches: Sequence[dict[str, Any]], epoch: int, step: int) -> StepReport:
        """Average the gradients of several batches and update the weights once.

        Args:
            batches: from the loader; more than one accumulates.
            epoch: 0-based, for learning rate and the outlines' weight.
            step: number of this step since the start; together with the seed it decides every random draw.

        Raises:
            DivergedError: a loss or gradient is not finite and `run.stop_on_nan` is set; the weights are untouched.
        """
        rates = learning_rates(self.cfg, epoch, step, self.world.size)
        set_learning_rates(self.optimizer, rates)
        self.optimizer.zero_grad(set_to_none=True)
        sums: dict[str, Tensor] = {}
        if self._idle is not None:
            self._idle.forget()
        for index, batch in enumerate(batches):
            terms, output = self._accumulate(
                batch, epoch, (step, index), last=index == len(batches) - 1, of=len(batches)
            )
            for name, value in terms.items():
                sums[name] = sums.get(name, 0.0) + value.detach() / len(batches)
        self._check_finite("losses", step, sums["total"], sums)
        self._hold_back_detail(step)
        if self._idle is not None:
            self._idle.leave_alone(self.world.size)
        self.scaler.unscale_(self.optimizer)
        norm = gradient_norm(self.model, self.cfg.optim.grad_clip)
        # fp16 overflows now and then; its scaler leaves such steps out by itself.
        if self.scaler.is_enabled() or self._check_finite("gradients", step, norm, sums):
            self.scaler.step(self.optimizer)
        self.scaler.update()
        self.average.follow(self.model)
        return StepReport(sums, norm, rates, output)

    def _check_finite(self, what: str, step: int, value: Tensor, losses: dict[str, Tensor]) -> bool:
        finite = bool(torch.isfinite(value))
        if self.cfg.run.stop_on_nan and not finite:
            shown = ", ".join(f"{name} {loss.item():.4g}" for name, loss in losses.items())
            raise DivergedError(
                f"step {step}: expected finite {what}, got {shown}; resume from the last checkpoint with a lower "
                "optim.lr, with optim.grad_clip=1, or with optim.amp=off"
            )
        return finite

    def _hold_back_detail(self, step: int) -> None:
        """Without a gradient AdamW leaves the mask decoder's detail as it is."""
        schedule = self.cfg.schedule
        if schedule.cycles and not place(schedule, step).trains_detail and self.model.mask_decoder.detail is not None:
            for parameter in self.model.mask_decoder.detail.parameters():
                parameter.grad = None

    def _accumulate(
        self, batch: dict[str, Any], epoch: int, at: tuple[int, int], *, last: bool, of: int
    ) -> tuple[dict[str, Tensor], ClipOutput]:
        run, device = self.cfg.run, self.world.device
        # Draws depend on (seed, step, batch) alone, hence a resumed run repeats them. The coin is the same in every
        # process; the gates' noise is each process's own.
        torch.manual_seed(noise_seed(run, *at, self.world.rank))
        coin = torch.Generator().manual_seed(coin_seed(run, *at))
        given = {key: value.to(device, non_blocking=True) for key, value in batch.items() if isinstance(value, Tensor)}
        hold = nullcontext() if last or self.world.size == 1 else self._module.no_sync()  # type: ignore[operator]  # DistributedDataParallel's
        with hold:
            terms, output = self._module(given, epoch, coin)
            self.scaler.scale(terms["total"] / of).backward()
        return terms, output

    def state(self) -> dict[str, Any]:
        """What a resumed run needs besides weights and progress."""
        return {
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "average": self.average.state,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Take over what `state` returned."""
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        self.average.state = state.get("average", self.average.state)
