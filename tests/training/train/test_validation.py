# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Validation while training: scores in the logs, the best weights kept, curves drawn."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from m4sam_core.build import build_model
from m4sam_core.checkpoint import read_header
from m4sam_core.cli.main import main
from m4sam_core.errors import ConfigError, InputError
from m4sam_core.host.share import find_recipe
from m4sam_training.data.generate import generate_dataset
from m4sam_training.data.predicted_masks import PredictedMask, write_predicted
from m4sam_training.data.scan import scan_split
from m4sam_training.eval.validation import validation
from m4sam_training.train.log import read_metrics
from m4sam_training.train.resuming import choose_checkpoint
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


def test_what_is_irregular_in_the_val_split_is_told_once(tmp_path, caplog):
    generate_dataset(tmp_path / "D", "m4sam", videos=1, frames=4, height=48, width=64)
    cfg = settings(data={"layout": "m4sam", "split": "val"}, run={"validate_every_epochs": 1})
    truth = sorted((tmp_path / "D/val/val_1/mask").iterdir())
    truth[0].write_bytes(truth[0].read_bytes()[:40])
    rgb = sorted((tmp_path / "D/val/val_1/rgb").iterdir())
    whole = rgb[1].read_bytes()
    rgb[1].write_bytes(whole[:120] + bytes(len(whole) - 140) + whole[-20:])  # found when it is decoded
    write_predicted(tmp_path / "D/val/val_1", {truth[2].stem: PredictedMask("pseudo: edge")})
    score = validation(cfg, tmp_path / "D")
    for _ in range(2):
        score(build_model(cfg.model).eval())
    told = [record.getMessage() for record in caplog.records]
    for text in ("split that is trained on", "mask cannot be read", "cannot be decoded", "a model's predictions"):
        assert sum(text in line for line in told) == 1, text


def test_validation_that_cannot_be_had_does_not_end_the_run(tmp_path, caplog):
    def score(_):
        raise InputError("nothing to score")

    result = Trainer(settings(run={"validate_every_epochs": 1}), Discs(), tmp_path, ALONE, score).run()
    assert result.progress.epoch == 2
    assert "no validation after epoch 1: nothing to score" in caplog.text


def test_the_best_of_another_run_is_not_this_ones(tmp_path):
    cfg = settings(run={"validate_every_epochs": 1})
    Trainer(cfg, Discs(), tmp_path, ALONE, scripted([0.9, 0.8])).run()
    shutil.rmtree(tmp_path / "checkpoints")
    with pytest.raises(ConfigError, match=r"got last\.safetensors and best\.safetensors of another run"):
        choose_checkpoint(tmp_path, "never", 0)
    assert choose_checkpoint(tmp_path, "auto", 0) is None
    Trainer(cfg, Discs(), tmp_path, ALONE, scripted([0.5, 0.6])).run()
    assert read_header(tmp_path / "best.safetensors")["val_S"] == "0.600000"


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
