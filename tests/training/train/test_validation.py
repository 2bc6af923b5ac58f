# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Validation while training: scores in the logs, the best weights kept, curves drawn."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from m4sam_core.checkpoint import read_header
from m4sam_core.cli.main import main
from m4sam_core.errors import ConfigError
from m4sam_core.host.share import find_recipe
from m4sam_training.data.generate import generate_dataset
from m4sam_training.data.scan import scan_split
from m4sam_training.eval.validation import validation
from m4sam_training.train.log import read_metrics
from m4sam_training.train.trainer import Trainer
from tests.training.discs import ALONE, Discs, equal, losses, settings, weights


def scripted(values):
    """A validation with scores known beforehand."""
    left = iter(values)

    def score(model):
        assert not model.training
        return {"S": next(left)}

    return score


def test_the_best_weights_are_kept_beside_the_last_and_training_does_not_change(whole_run, tmp_path):
    cfg = settings(optim={"epochs": 3}, run={"validate_every_epochs": 1, "keep_checkpoints": 9})
    Trainer(cfg, Discs(), tmp_path, ALONE, scripted([0.4, 0.7, 0.6])).run()
    header = read_header(tmp_path / "best.safetensors")
    assert (header["step"], header["epoch"], header["val_S"]) == ("4", "2", "0.700000")
    best = weights(tmp_path, "best.safetensors")
    assert equal(best, weights(tmp_path / "checkpoints" / "step_00000004", "weights.safetensors"))
    assert not equal(best, weights(tmp_path))
    logged = [(e["step"], e["val/S"]) for e in read_metrics(tmp_path) if "val/S" in e]
    assert logged == [(2, 0.4), (4, 0.7), (6, 0.6)]
    plain = tmp_path / "plain"
    Trainer(settings(optim={"epochs": 3}), Discs(), plain, ALONE).run()
    assert equal(weights(plain), weights(tmp_path))
    assert losses(plain) == [
        (e["step"], e["loss/total"], e["grad_norm"]) for e in read_metrics(tmp_path) if "loss/total" in e
    ]


def test_a_resumed_run_remembers_the_best(tmp_path):
    def run(stop, scores):
        cfg = settings(optim={"epochs": 3}, run={"validate_every_epochs": 1, "max_steps": stop})
        trainer = Trainer(cfg, Discs(), tmp_path, ALONE, scripted(scores))
        if stop > 2:
            trainer.resume(tmp_path / "checkpoints" / "step_00000002")
        trainer.run()

    run(2, [0.9])
    run(6, [0.8, 0.85])
    assert read_header(tmp_path / "best.safetensors")["step"] == "2"


def test_the_val_split_is_scored_and_curves_are_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    data = tmp_path / "D"
    generate_dataset(data, "m4sam", videos=1, frames=2, height=48, width=64)
    words = ["train", "--config", "smoke", "--data", str(data), "--out", str(tmp_path / "R")]
    for setting in ("data.layout=m4sam", "data.clip_length=2", "run.validate_every_epochs=1", "run.max_steps=1"):
        words += ["--set", setting]
    assert main([*words, "--set", "optim.epochs=1", "--set", "run.tensorboard=false"]) == 0
    scored = [entry for entry in read_metrics(tmp_path / "R") if "val/S" in entry]
    assert {"val/S", "val/E_mean", "val/F_adaptive", "val/MAE"} <= scored[-1].keys()
    assert (tmp_path / "R" / "best.safetensors").is_file()
    assert (tmp_path / "R" / "curves.png").stat().st_size > 5000


def test_a_dataset_without_validation_trains_and_says_so(tmp_path, caplog):
    generate_dataset(tmp_path / "D", "rdvs", videos=1, frames=2, height=48, width=64)
    assert validation(settings(run={"validate_every_epochs": 1}), tmp_path / "D") is None
    assert "no validation" in caplog.text


def test_a_dataset_with_a_split_for_validation_in_its_layout_and_none_on_disk_trains_too(tmp_path, caplog):
    generate_dataset(tmp_path / "D", "m4sam", videos=1, frames=2, height=48, width=64)
    cfg = settings(data={"layout": "m4sam"}, run={"validate_every_epochs": 1})
    assert validation(cfg, tmp_path / "D") is not None
    shutil.rmtree(tmp_path / "D" / "val")
    assert validation(cfg, tmp_path / "D") is None
    assert "m4sam bag to-dataset --split val" in caplog.text
    with pytest.raises(ConfigError, match=r"expected the val split of .* got train and test alone; choose one"):
        scan_split(tmp_path / "D", "m4sam", "val")


def test_recipes_are_found_by_name_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("rdvs", "rdvs.yaml"):
        assert find_recipe(Path(name)).name == "rdvs.yaml"
    with pytest.raises(ConfigError, match=r"expected a YAML file or one of dual_lora, dvisal, edge, edge_agreement"):
        find_recipe(Path("nothing"))
