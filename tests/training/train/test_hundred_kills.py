# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""A run killed with -9 at a hundred random moments ends with the very weights and losses of one that was not."""

from __future__ import annotations

import multiprocessing
import random
import time
from pathlib import Path

import pytest
import torch

from m4sam_core.host.outputs import sole_writer
from m4sam_training.train.checkpointing import list_checkpoints
from m4sam_training.train.resuming import choose_checkpoint
from m4sam_training.train.trainer import Trainer
from tests.training.discs import ALONE, Discs, equal, losses, settings, weights

KILLS, STEPS = 100, 60


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


def traces(out: Path) -> list[str]:
    """Unfinished files and folders that a kill has left."""
    return [path.name for path in out.rglob("*") if path.name.startswith(".") and path.name != ".lock"]


@pytest.mark.slow
def test_a_hundred_kills_change_no_number(tmp_path):
    fork, draw = multiprocessing.get_context("fork"), random.Random(0)
    whole = fork.Process(target=train, args=(tmp_path / "whole",))
    begun = time.monotonic()
    whole.start()
    whole.join()
    assert whole.exitcode == 0
    out, in_writing, steps_at_kill = tmp_path / "killed", 0, []
    longest_s = (time.monotonic() - begun) / STEPS
    while len(steps_at_kill) < KILLS:
        process = fork.Process(target=train, args=(out,))
        process.start()
        process.join(draw.uniform(0.0, longest_s))
        if process.exitcode is not None:
            assert process.exitcode == 0
            longest_s *= 0.7
            continue
        process.kill()
        process.join()
        in_writing += bool(traces(out))
        found = list_checkpoints(out)
        steps_at_kill.append(int(found[-1].name.split("_")[1]) if found else 0)
        assert steps_at_kill == sorted(steps_at_kill), "a kill takes no finished step back"
        if found:
            weights(found[-1], "weights.safetensors")
        # Two of five runs shall get through a step, however long starting takes on this machine.
        longest_s *= 0.7 if steps_at_kill[-1:] > steps_at_kill[-2:-1] else 1.25
    train(out)
    different = len(set(steps_at_kill))
    print(f"{KILLS} kills, {in_writing} of them while files were written, at {different} different steps of {STEPS}")
    assert different > KILLS / 5, "the kills did not fall all over the run"
    assert equal(weights(out), weights(tmp_path / "whole"))
    assert losses(out) == losses(tmp_path / "whole")
    assert len(losses(out)) == STEPS
    assert traces(out) == []
