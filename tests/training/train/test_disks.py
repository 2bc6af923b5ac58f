# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""`m4sam train` on a disk of 30 MB that fills up, on one that cannot be written, and in a folder that is taken."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import time
from pathlib import Path

import pytest

from m4sam_core.cli.main import main
from m4sam_training.data.generate import generate_dataset
from m4sam_training.train.checkpointing import list_checkpoints, load_training_state
from tests.training.discs import equal, losses, weights

SMOKE = Path(__file__).resolve().parents[3] / "config" / "train" / "smoke.yaml"
SETTINGS = ("run.tensorboard=false", "run.device=cpu", "run.threads=1", "run.max_steps=8", "data.clip_length=2")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount a small disk"),
]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("data") / "d"
    generate_dataset(root, "rdvs", videos=2, frames=4, height=64, width=64)
    return root


def words(dataset: Path, out: Path, *settings: str) -> list[str]:
    line = ["train", "--config", str(SMOKE), "--data", str(dataset), "--out", str(out), "--resume", "auto"]
    for setting in (*SETTINGS, *settings):
        line += ["--set", setting]
    return line


def test_a_full_disk_ends_the_run_with_advice_and_costs_nothing_but_the_last_steps(dataset, disk, tmp_path, capsys):
    every_step = ("run.save_every_steps=1", "run.keep_checkpoints=100")
    assert main(words(dataset, tmp_path / "whole", *every_step)) == 0
    size = sum(file.stat().st_size for file in list_checkpoints(tmp_path / "whole")[0].iterdir())
    assert 15e6 < size < 30e6, "one checkpoint fits, two do not"
    capsys.readouterr()
    out = disk / "run"
    assert main(words(dataset, out, *every_step)) == 2
    told = capsys.readouterr().err
    print(told)
    assert "No space left on device; free some space or choose another place" in told
    assert str(out) in told
    assert "Traceback" not in told
    found = list_checkpoints(out)
    assert [folder.name for folder in found] == ["step_00000001"]
    for folder in found:
        load_training_state(folder)
        weights(folder, "weights.safetensors")
    assert not [path for path in out.rglob(".*") if path.name != ".lock"], "nothing half-written"
    subprocess.run(["mount", "-o", "remount,size=100m", str(disk)], check=True)
    assert main(words(dataset, out, "run.save_every_steps=0", "run.keep_checkpoints=1")) == 0
    assert losses(out) == losses(tmp_path / "whole")
    assert equal(weights(out), weights(tmp_path / "whole"))


def test_a_disk_that_cannot_be_written_is_told_before_anything_is_read(dataset, disk, capsys):
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    assert main(words(dataset, disk / "run")) == 2
    told = capsys.readouterr().err
    print(told)
    assert f"{disk / 'run'}: expected a folder that can be written, got Read-only file system" in told
    assert "choose a place that can be written" in told


def test_of_two_runs_in_one_folder_the_second_is_refused_and_the_first_unharmed(dataset, tmp_path, capsys):
    out = tmp_path / "run"
    first = multiprocessing.get_context("fork").Process(target=main, args=(words(dataset, out),))
    first.start()
    deadline = time.monotonic() + 300
    while not losses_so_far(out) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert main(words(dataset, out)) == 2
    told = capsys.readouterr().err
    print(told)
    assert "expected no other run in this folder, got one that is at work (it holds .lock)" in told
    first.join()
    assert main(words(dataset, tmp_path / "alone")) == 0
    assert losses(out) == losses(tmp_path / "alone")
    assert equal(weights(out), weights(tmp_path / "alone"))


def losses_so_far(out: Path) -> bool:
    return (out / "metrics.jsonl").is_file() and (out / "metrics.jsonl").stat().st_size > 0
