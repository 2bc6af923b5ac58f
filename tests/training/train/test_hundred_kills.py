# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""A run killed with -9 at a hundred random moments ends with the very weights and losses of one that was not."""

from __future__ import annotations

import multiprocessing
import random
import signal
import time
from pathlib import Path

import pytest
import torch

from m4sam_core.host.outputs import sole_writer
from m4sam_training.train.checkpointing import list_checkpoints
from m4sam_training.train.resuming import choose_checkpoint
from m4sam_training.train.trainer import Trainer
from tests.training.discs import ALONE, Discs, equal, losses, settings, weights

KILLS, STEPS = 100, 100


def train(out: Path) -> None:
    """What `m4sam train --resume auto` does, with a checkpoint after every step."""
    torch.set_num_threads(1)
    cfg = settings(
        data={"batch_size": 1},
        optim={"epochs": STEPS // 4},
        run={"save_every_steps": 1, "image_every_epochs": 0, "threads": 1},
    )
    out.mkdir(parents=True, exist_ok=True)
    with sole_writer(out):
        trainer = Trainer(cfg, Discs(clips=4, length=2), out, ALONE)
        checkpoint = choose_checkpoint(out, "auto", 0)
        if checkpoint is not None:
            trainer.resume(checkpoint)
        trainer.run()


def traces(out: Path) -> set[tuple[str, int]]:
    """Unfinished files and folders that a kill has left, each with the time it was begun at."""
    found = [path for path in out.rglob("*") if path.name.startswith(".") and path.name != ".lock"]
    return {(str(path), path.stat().st_mtime_ns) for path in found}


def last_step(out: Path) -> int:
    found = list_checkpoints(out)
    return int(found[-1].name.split("_")[1]) if found else 0


@pytest.mark.slow
def test_a_hundred_kills_change_no_number(tmp_path):
    fork, draw = multiprocessing.get_context("fork"), random.Random(0)
    whole = fork.Process(target=train, args=(tmp_path / "whole",))
    begun = time.monotonic()
    whole.start()
    whole.join()
    assert whole.exitcode == 0
    out, in_writing, steps_at_kill = tmp_path / "killed", 0, [0]
    step_s = (time.monotonic() - begun) / STEPS
    ready_s = 3 * step_s  # from the start to the first new step
    while len(steps_at_kill) <= KILLS:
        before = traces(out)
        process = fork.Process(target=train, args=(out,))
        begun = time.monotonic()
        process.start()
        if draw.random() < 0.55:  # while it starts, whether or not it gets through a step
            time.sleep(draw.uniform(0.0, ready_s))
        else:  # in the step after the first one, or while that is written
            while last_step(out) == steps_at_kill[-1] and process.is_alive():
                time.sleep(0.005)
            ready_s = time.monotonic() - begun
            time.sleep(draw.uniform(0.0, step_s))
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL, "the run ended before it was killed"
        in_writing += bool(traces(out) - before)
        steps_at_kill.append(last_step(out))
        assert steps_at_kill[-1] >= steps_at_kill[-2], "a kill takes no finished step back"
        if steps_at_kill[-1]:
            weights(list_checkpoints(out)[-1], "weights.safetensors")
    train(out)
    different = len(set(steps_at_kill))
    print(f"{KILLS} kills, {in_writing} of them while files were written, at {different} different steps of {STEPS}")
    assert different > KILLS / 5, "the kills did not fall all over the run"
    assert equal(weights(out), weights(tmp_path / "whole"))
    assert losses(out) == losses(tmp_path / "whole")
    assert len(losses(out)) == STEPS
    assert traces(out) == set()
