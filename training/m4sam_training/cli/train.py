# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""`m4sam train`: train or fine-tune a model, on one processor or under torchrun."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import typer


def command(
    data: Path = typer.Option(..., "--data", help="Folder of the dataset."),
    out: Path = typer.Option(..., "--out", help="Folder of the run: last.safetensors, checkpoints, logs."),
    config: Path | None = typer.Option(
        None, "--config", help="YAML settings, or a name in config/train such as rdvs. Default: the release's."
    ),
    assignments: list[str] = typer.Option([], "--set", help="One setting, e.g. optim.lr=1e-4. May be repeated."),
    resume: str = typer.Option(
        "never", "--resume", help="auto: go on from the newest checkpoint in OUT, if any; or a checkpoint folder."
    ),
) -> None:
    """Train a model.

    Several GPUs: torchrun --nproc-per-node 2 -m m4sam_core.cli.main train ... SIGTERM and Ctrl-C save and stop.
    """
    from contextlib import nullcontext

    import torch

    from m4sam_core.host.outputs import check_outputs, sole_writer
    from m4sam_training.data.training_clips import training_clips
    from m4sam_training.edge.data import ClipStore, TrainingClips
    from m4sam_training.eval.validation import validation
    from m4sam_training.train.config import RENDERED, load_train_config
    from m4sam_training.train.distributed import world
    from m4sam_training.train.resuming import choose_checkpoint
    from m4sam_training.train.trainer import Trainer
    from m4sam_training.train.weights.starting_model import check_trunk

    cfg = load_train_config(config, assignments)
    if cfg.run.threads:
        torch.set_num_threads(cfg.run.threads)
    check_outputs(folders=(out,))
    first = int(os.environ.get("RANK", "0")) == 0
    with sole_writer(out) if first else nullcontext(), world(cfg.run.device) as processes:
        logging.basicConfig(level=logging.INFO if processes.is_first else logging.ERROR, format="%(message)s")
        checkpoint = choose_checkpoint(out, resume, processes.restarts)
        if checkpoint is None:
            check_trunk(cfg)
        rendered = cfg.data.layout == RENDERED
        clips = TrainingClips(ClipStore(data), cfg.augment) if rendered else training_clips(cfg, data)
        trainer = Trainer(cfg, clips, out, processes, validation(cfg, data))
        if checkpoint is not None:
            trainer.resume(checkpoint)
        result = trainer.run()
    if processes.is_first:
        progress = result.progress
        typer.echo(f"{result.weights}: {progress.step} steps, {progress.epoch} epochs")
    if result.stopped_by is not None:
        typer.echo(f"stopped by signal {result.stopped_by}; continue with --resume auto", err=True)
        raise typer.Exit(128 + result.stopped_by)
