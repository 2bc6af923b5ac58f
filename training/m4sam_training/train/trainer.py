# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""The training run: epochs, checkpoints, resuming, stopping."""

from __future__ import annotations

import json
import resource
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from m4sam_core.checkpoint import load_checkpoint, read_header, save_checkpoint
from m4sam_core.devices import device_errors
from m4sam_core.errors import ConfigError, InputError
from m4sam_core.model.m4sam import M4SAM
from m4sam_training.train.checkpointing import (
    Progress,
    load_training_state,
    save_adapter,
    save_training_checkpoint,
)
from m4sam_training.train.config import TrainConfig
from m4sam_training.train.distributed import World
from m4sam_training.train.expert_load import ExpertLoad
from m4sam_training.train.loading import ClipPool, Clips, make_feed
from m4sam_training.train.log import LOGGER, RunLog, write_curves
from m4sam_training.train.memory import check_memory
from m4sam_training.train.resuming import check_same, stop_signals
from m4sam_training.train.step import StepReport, TrainStep
from m4sam_training.train.weights.average import mixed
from m4sam_training.train.weights.export import export
from m4sam_training.train.weights.starting_model import starting_model

Validate = Callable[[M4SAM], dict[str, float]]
_MEMORY_ADVICE = "lower data.batch_size and raise optim.accumulate, set optim.recompute=true or optim.amp=bf16"


@dataclass(frozen=True)
class TrainResult:
    """How a run ended.

    Attributes:
        weights: OUT/last.safetensors.
        progress: where it stands.
        stopped_by: number of the signal that ended it early, or None.
        losses: the last logged terms, averaged over the processes.
    """

    weights: Path
    progress: Progress
    stopped_by: int | None
    losses: dict[str, float]


class Trainer:
    """Trains a model on clips; see the module's docstring.

    Args:
        cfg: every setting.
        clips: the training split, or the pool that the stages of `cfg.schedule` draw from.
        out: folder of the run.
        world: the processes.
        validate: scores of a model in evaluation mode, by name, called in the first process; None: no validation.

    Raises:
        ConfigError: no clips.
        CheckpointError: a file of starting weights cannot be used.
        DeviceError: too little memory for the weights alone.
    """

    def __init__(
        self, cfg: TrainConfig, clips: Clips | ClipPool, out: Path, world: World, validate: Validate | None = None
    ) -> None:
        if len(clips) == 0:
            raise ConfigError(
                f"data: expected at least one clip of {cfg.data.clip_length} frames, got none; check --data"
            )
        self.cfg = cfg
        self.out = out
        self.world = world
        self.progress = Progress()
        self._clips = getattr(clips, "fingerprint", f"{len(clips)} clips")
        self.feed = make_feed(clips, cfg, world)
        model = starting_model(cfg)
        check_memory(model, cfg, world.device, _MEMORY_ADVICE)
        self.step = TrainStep(model, cfg, world)
        kept = cfg.export.keep_of_start or cfg.export.memory_keeps
        self._start = {name: value.clone() for name, value in self.step.model.state_dict().items()} if kept else {}
        self.load = ExpertLoad(self.step.model)
        self._validate = validate
        self._saved: Progress | None = None
        self._resumed = False
        self._best: float | None = None

    @property
    def total_steps(self) -> int:
        """Optimiser steps of the whole run."""
        steps = self.feed.total_steps
        return min(steps, self.cfg.run.max_steps) if self.cfg.run.max_steps else steps

    def resume(self, folder: Path) -> None:
        """Continue from a checkpoint folder of `save_training_checkpoint`.

        Raises:
            CheckpointError: damaged or of another architecture.
            ConfigError: other settings than the run was started with; see `check_same`.
        """
        progress, state = load_training_state(folder)
        check_same(self.cfg, TrainConfig.parse(json.loads(state["config"])))
        self.step.model.load_state_dict(load_checkpoint(folder / "weights.safetensors").state_dict())
        self.step.load_state(state)
        self.step.training_mode()
        if state["processes"] != self.world.size and self.world.is_first:
            LOGGER.warning(
                "resuming with %d processes a run of %d: batches change, losses will not repeat exactly",
                self.world.size,
                state["processes"],
            )
        if state.get("clips", self._clips) != self._clips and self.world.is_first:
            LOGGER.warning(
                "resuming on other data than the run was started with (%s, before %s): losses will not repeat",
                self._clips,
                state["clips"],
            )
        self.progress = progress
        self._resumed = True

    def run(self) -> TrainResult:
        """Train to the end, or until SIGTERM or SIGINT, which save and return.

        Raises:
            DivergedError: see `TrainStep.run`.
        DeviceError: too little memory.
        CheckpointError, OSError: a checkpoint or log cannot be written, e.g. on a full disk; the last one stays.
        """
        losses: dict[str, float] = {}
        with stop_signals() as received, device_errors(self.world.device, _MEMORY_ADVICE), self._log() as log:
            while not (self._finished or self._stop(received)):
                epoch = self.progress.epoch
                losses = self._epoch(log, received) or losses
                if log is not None and self._validation_due(epoch):
                    self._keep_best(log)
                if self._finished or self._stop(received) or self._epochs_due:
                    self._save()
            if log is not None:
                write_curves(self.out)
        # Another process may have received the signal that stopped this one.
        stopped_by = None if self._finished else (received or [signal.SIGTERM])[0]
        return TrainResult(self.out / "last.safetensors", self.progress, stopped_by, losses)

    @property
    def _finished(self) -> bool:
        return self.progress.step >= self.total_steps

    @property
    def _epochs_due(self) -> bool:
        return self.progress.epoch % self.cfg.run.save_every_epochs == 0

    def _validation_due(self, begun: int) -> bool:
        """Whether the epoch that was begun has ended, and its scores are wanted."""
        every, epoch = self.cfg.run.validate_every_epochs, self.progress.epoch
        return every > 0 and epoch > begun and (epoch % every == 0 or self._finished)

    def _keep_best(self, log: RunLog) -> None:
        """Score the model, and keep it as OUT/best.safetensors if it is the best so far by S."""
        if self._validate is None:
            return
        model = self.step.model.eval()
        try:
            scores = self._validate(model)
        except InputError as error:  # of the data: no reason to lose the training
            LOGGER.warning("no validation after epoch %d: %s", self.progress.epoch, error)
            return
        finally:
            self.step.training_mode()
        log.step(self.progress.step, self.progress.epoch - 1, {f"val/{k}": v for k, v in scores.items()}, write=True)
        best = self.out / "best.safetensors"
        if self._best is None and self._resumed and best.is_file():
            self._best = float(read_header(best)["val_S"])
        if self._best is None or scores["S"] > self._best:
            self._best = scores["S"]
            facts = {f"val_{name}": f"{value:.6f}" for name, value in scores.items()}
            save_checkpoint(best, model, {**self._facts(), **facts})

    def _stop(self, received: list[int]) -> bool:
        return self.world.any(bool(received))

    def _epoch(self, log: RunLog | None, received: list[int]) -> dict[str, float]:
        """The rest of the current epoch; returns the last logged losses."""
        epoch, run = self.progress.epoch, self.cfg.run
        batches = self.feed.batches(self.progress)
        losses: dict[str, float] = {}
        shown = self.progress.clips > 0
        while group := list(islice(batches, self.cfg.optim.accumulate)):
            started = time.monotonic()
            report = self.step.run(group, epoch, self.progress.step)
            self.progress = self.feed.after(self.progress, len(group))
            losses = self._tell(log, report, started, group, epoch) or losses
            if log is not None and not shown and self._wants_images(epoch):
                log.images(self.progress.step, _panels(group[-1], report))
            shown = True
            if self._finished or self._stop(received):
                break
            if run.save_every_steps and self.progress.step % run.save_every_steps == 0:
                self._save()
        return losses

    def _wants_images(self, epoch: int) -> bool:
        every = self.cfg.run.image_every_epochs
        return every > 0 and epoch % every == 0

    def _tell(
        self, log: RunLog | None, report: StepReport, started: float, group: list[dict[str, Any]], epoch: int
    ) -> dict[str, float]:
        step = self.progress.step
        write = step % self.cfg.run.log_every_steps == 0 or self._finished
        losses = self.world.mean(report.losses) if write else {}
        if log is None:
            return losses
        values = {f"loss/{name}": value for name, value in losses.items()}
        if write:
            values.update({f"lr/{name}": rate for name, rate in report.rates.items()})
            values["grad_norm"] = report.grad_norm.item()
            for kind, shares in self.load.take().items():
                values.update({f"expert_load/{kind}/{index}": share for index, share in enumerate(shares)})
            clips = sum(len(batch["mask"]) for batch in group) * self.world.size
            values["clips_per_s"] = clips / max(time.monotonic() - started, 1e-9)
            values["peak_memory_gb"] = peak_memory_gb(self.world.device)
        log.step(step, epoch, values, write=write)
        return losses

    @contextmanager
    def _log(self) -> Iterator[RunLog | None]:
        if not self.world.is_first:
            yield None
            return
        with RunLog(
            self.out,
            first_step=self.progress.step,
            total_steps=self.total_steps,
            tensorboard=self.cfg.run.tensorboard,
        ) as log:
            yield log

    def _facts(self) -> dict[str, str]:
        """What the header of weights tells about their making."""
        where = {"step": str(self.progress.step), "epoch": str(self.progress.epoch)}
        return {"train_config": self.cfg.model_dump_json(), **where}

    def _save(self) -> None:
        if self.world.is_first and self._saved != self.progress:
            self._saved = self.progress
            facts = self._facts()
            state = {**self.step.state(), "config": facts["train_config"], "processes": self.world.size}
            state["clips"] = self._clips
            save_training_checkpoint(
                self.out, self.step.model, self.progress, state, metadata=facts, keep=self.cfg.run.keep_checkpoints
            )
            if self.cfg.run.save_adapter:
                save_adapter(self.out / "last.adapter.safetensors", self.step.model, facts)
            ready = mixed(
                self.step.average.of(self.step.model),
                self._start,
                self.cfg.export.keep_of_start,
                self.cfg.export.memory_keeps,
            )
            export(self.out, ready, self.cfg.export, self.progress.step)
        self.world.wait()


def peak_memory_gb(device: torch.device) -> float:
    """Most memory used so far: allocated on the GPU, or this process's resident set. Gigabytes (1e9)."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def _panels(batch: dict[str, Any], report: StepReport) -> dict[str, torch.Tensor]:
    return {
        "rgb": batch["rgb"][0],
        "depth": batch["depth"][0],
        "mask": batch["mask"][0],
        "coarse": report.output.coarse_logits[-1][0].sigmoid(),
        "final": report.output.mask_prob[0],
    }
