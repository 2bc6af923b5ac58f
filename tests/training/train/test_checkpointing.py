# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints and starting weights: kept, thinned, chosen, refused."""

from __future__ import annotations

import errno
import os
from typing import Any

import pytest
import torch

from m4sam_core.build import build_model
from m4sam_core.checkpoint import load_checkpoint, save_checkpoint
from m4sam_core.errors import CheckpointError, ConfigError
from m4sam_training.train import checkpointing
from m4sam_training.train.checkpointing import (
    Progress,
    list_checkpoints,
    load_adapter,
    load_training_state,
    save_training_checkpoint,
    trainable_state,
)
from m4sam_training.train.resuming import choose_checkpoint
from m4sam_training.train.trainer import Trainer
from m4sam_training.train.weights.starting_model import starting_model
from tests.training.discs import ALONE, Discs, equal, losses, settings, weights


def test_checkpoints_are_thinned_and_unfinished_ones_ignored(tmp_path):
    (tmp_path / "checkpoints" / ".unfinished_x").mkdir(parents=True)
    Trainer(settings(optim={"epochs": 3}, data={"clips_per_epoch": 1, "batch_size": 1}), Discs(), tmp_path, ALONE).run()
    assert [path.name for path in list_checkpoints(tmp_path)] == ["step_00000002", "step_00000003"]
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["step_00000002", "step_00000003"]
    newest = list_checkpoints(tmp_path)[-1]
    assert (newest / "weights.safetensors").samefile(tmp_path / "last.safetensors"), "no second copy on the disk"


def test_a_run_taken_back_to_an_older_checkpoint_forgets_the_later_ones(whole_run, tmp_path):
    first = settings(run={"max_steps": 2, "keep_checkpoints": 9})
    Trainer(first, Discs(), tmp_path, ALONE).run()
    later = Trainer(settings(run={"keep_checkpoints": 9}), Discs(), tmp_path, ALONE)
    later.resume(list_checkpoints(tmp_path)[-1])
    later.run()
    older, stale = list_checkpoints(tmp_path)
    (stale / "state.pt").write_bytes(b"from another life")
    again = Trainer(settings(run={"max_steps": 3}), Discs(), tmp_path, ALONE)
    again.resume(older)
    again.run()
    assert [path.name for path in list_checkpoints(tmp_path)] == ["step_00000002", "step_00000003"]
    last = Trainer(settings(), Discs(), tmp_path, ALONE)
    last.resume(older)
    last.run()
    assert losses(tmp_path) == losses(whole_run)
    assert load_training_state(list_checkpoints(tmp_path)[-1])[0] == Progress(epoch=2, clips=0, step=4)


def test_which_checkpoint_a_start_continues_from(tmp_path):
    assert choose_checkpoint(tmp_path, "auto", restarts=0) is None
    assert choose_checkpoint(tmp_path, "never", restarts=0) is None
    Trainer(settings(run={"max_steps": 1}), Discs(), tmp_path, ALONE).run()
    newest = list_checkpoints(tmp_path)[-1]
    assert choose_checkpoint(tmp_path, "auto", restarts=0) == newest
    assert choose_checkpoint(tmp_path, str(newest), restarts=0) == newest
    assert choose_checkpoint(tmp_path, "never", restarts=1) == newest, "torchrun restarted it"
    with pytest.raises(ConfigError, match="expected an empty folder, got a run at step_00000001"):
        choose_checkpoint(tmp_path, "never", restarts=0)
    with pytest.raises(CheckpointError, match="expected auto, never or a checkpoint folder"):
        choose_checkpoint(tmp_path, str(tmp_path / "nothing"), restarts=0)


class Payload:
    def __reduce__(self) -> Any:
        return (os.mkdir, ("owned",))


@pytest.mark.parametrize("damage", ["truncated", "empty", "pickled object", "foreign"])
def test_damaged_or_hostile_states_are_refused(tmp_path, monkeypatch, damage):
    monkeypatch.chdir(tmp_path)
    Trainer(settings(run={"max_steps": 1}), Discs(), tmp_path, ALONE).run()
    state = list_checkpoints(tmp_path)[-1] / "state.pt"
    if damage == "truncated":
        state.write_bytes(state.read_bytes()[:-1000])
    elif damage == "empty":
        state.write_bytes(b"")
    elif damage == "pickled object":
        torch.save({"version": 1, "progress": Payload()}, state)
    else:
        torch.save([1, 2, 3], state)
    with pytest.raises(CheckpointError, match="expected a training state"):
        load_training_state(state.parent)
    assert not (tmp_path / "owned").exists()


def test_adapter_file_holds_what_is_trained_and_restores_it(tmp_path):
    Trainer(settings(run={"save_adapter": True, "max_steps": 1}), Discs(), tmp_path, ALONE).run()
    path = tmp_path / "last.adapter.safetensors"
    assert path.stat().st_size < (tmp_path / "last.safetensors").stat().st_size
    trained = load_checkpoint(tmp_path / "last.safetensors")
    restored = starting_model(settings(init={"adapter": str(path)}))
    assert equal(restored.state_dict(), trained.state_dict())
    assert not any(name.startswith("trunk.hiera.") for name in trainable_state(trained))
    other = build_model(settings(model={"preset": "nano", "adapter": {"kind": "lora"}}).model)
    with pytest.raises(CheckpointError, match="expected an adapter of this architecture"):
        load_adapter(path, other)
    with pytest.raises(CheckpointError, match="expected an adapter file, got"):
        load_adapter(tmp_path / "last.safetensors", trained)
    (tmp_path / "short").write_bytes(path.read_bytes()[:100])
    with pytest.raises(CheckpointError, match="expected an adapter file"):
        load_adapter(tmp_path / "short", trained)


def test_a_full_disk_leaves_the_last_checkpoint_and_nothing_half_written(tmp_path, monkeypatch):
    model = starting_model(settings())

    def save(step):
        return save_training_checkpoint(tmp_path, model, Progress(step=step), {}, metadata={}, keep=2)

    save(1)

    def full(path, data):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(checkpointing, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        save(2)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step_00000001"]


def test_the_umask_decides_who_may_read_a_checkpoint(tmp_path):
    before = os.umask(0o027)
    try:
        folder = save_training_checkpoint(
            tmp_path, starting_model(settings()), Progress(step=1), {}, metadata={}, keep=1
        )
    finally:
        os.umask(before)
    assert folder.stat().st_mode & 0o777 == 0o750
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o640}


def test_starting_from_a_checkpoint_needs_the_same_architecture(whole_run, tmp_path):
    path = whole_run / "last.safetensors"
    assert equal(starting_model(settings(init={"checkpoint": str(path)})).state_dict(), weights(whole_run))
    other = settings(init={"checkpoint": str(path)}, model={"preset": "nano", "adapter": {"rank": 2}})
    with pytest.raises(CheckpointError, match=r"with another one: adapter\.rank"):
        starting_model(other)
    save_checkpoint(tmp_path / "x.safetensors", build_model(other.model))
    assert (
        starting_model(
            settings(
                init={"checkpoint": str(tmp_path / "x.safetensors")}, model={"preset": "nano", "adapter": {"rank": 2}}
            )
        ).cfg.adapter.rank
        == 2
    )


def test_a_downloaded_trunk_is_found_by_its_name(tmp_path, monkeypatch):
    monkeypatch.setenv("M4SAM_CACHE", str(tmp_path))
    cfg = settings(model={"preset": "nano", "trunk": {"size": "tiny"}}, init={"trunk": "sam2.1_tiny"})
    with pytest.raises(CheckpointError, match=r"sam2\.1_tiny"):
        starting_model(cfg)
    trunk = {k: torch.randn_like(v) for k, v in build_model(cfg.model).trunk.hiera.state_dict().items()}
    torch.save({"model": {f"image_encoder.trunk.{k}": v for k, v in trunk.items()}}, tmp_path / "sam2.1_hiera_tiny.pt")
    assert equal(starting_model(cfg).trunk.hiera.state_dict(), trunk)
