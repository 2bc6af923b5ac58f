# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Training as real processes: the command line, torchrun with gloo, SIGTERM, kill -9."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from m4sam_core.build import build_model
from m4sam_core.checkpoint import load_checkpoint, read_header
from m4sam_core.cli.main import main
from m4sam_core.config import ModelConfig
from m4sam_training.train.checkpointing import Progress, list_checkpoints, load_training_state, save_training_checkpoint
from m4sam_training.train.log import read_metrics

REPO = Path(__file__).resolve().parents[3]
SMOKE = str(REPO / "config" / "train" / "smoke.yaml")
ENV = {**os.environ, "PYTHONPATH": f"{REPO}{os.pathsep}{REPO / 'training'}", "OMP_NUM_THREADS": "1"}
MODULE = "m4sam_core.cli.main"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    """Two RDVS videos of eight frames: a disc moving over noise."""
    root = tmp_path_factory.mktemp("rdvs")
    random_pixels = np.random.default_rng(0)
    for video in ("a", "b"):
        folder = root / "RDVS" / "train" / video
        for name in ("rgb", "Depth", "ground-truth"):
            (folder / name).mkdir(parents=True)
        for t in range(8):
            rgb = random_pixels.integers(30, 90, (72, 96, 3)).astype(np.uint8)
            depth, mask = np.full((72, 96), 200, np.uint8), np.zeros((72, 96), np.uint8)
            for image, value in ((rgb, (40, 210, 60)), (depth, 70), (mask, 255)):
                cv2.circle(image, (25 + 5 * t, 36 if video == "a" else 28), 14, value, -1)
            for name, image in (("rgb", rgb), ("Depth", depth), ("ground-truth", mask)):
                cv2.imwrite(str(folder / name / f"{video}-{t:05d}.png"), image)
    return root


def arguments(dataset: Path, out: Path, *settings: str) -> list[str]:
    words = ["train", "--config", SMOKE, "--data", str(dataset), "--out", str(out)]
    for setting in ("run.tensorboard=false", "run.device=cpu", "run.threads=1", *settings):
        words += ["--set", setting]
    return words


def totals(out: Path) -> list[float]:
    return [entry["loss/total"] for entry in read_metrics(out)]


# What must agree: no gate noise (each process draws its own) and statistics of the prior per sample, not per batch.
SHARED = (
    "data.clip_length=2",
    "data.clips_per_epoch=4",
    "optim.epochs=4",
    "run.keep_checkpoints=4",
    "optim.sync_bn=all",
    "model.memory.prior_norm=sample",
    "model.adapter.gate_noise=0",
    "model.adapter.combine=paper",
)


@pytest.mark.parametrize(
    "extra",
    [
        ("loss.moe_weight=0",),
        pytest.param(("model.adapter.kind=lora", "optim.sync_bn=outside_encoder"), marks=pytest.mark.slow),
    ],
    ids=["moe-lora", "lora"],
)
def test_two_gloo_processes_equal_one(dataset, tmp_path, extra):
    """The load-balancing loss alone is left out: it is defined on one process's windows, as in the release."""
    assert main(arguments(dataset, tmp_path / "one", "data.batch_size=4", *SHARED, *extra)) == 0
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", MODULE]
    command = launch + arguments(dataset, tmp_path / "two", "data.batch_size=2", *SHARED, *extra)
    done = subprocess.run(command, env=ENV, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    one, two = totals(tmp_path / "one"), totals(tmp_path / "two")
    assert len(one) == len(two) == 4
    assert two[0] == pytest.approx(one[0], rel=1e-6)
    # Float32 sums in another order; AdamW blows the differences up slowly.
    assert two == pytest.approx(one, rel=1e-4)
    # After the first step AdamW's first moment is a tenth of the gradient.
    first_one, first_two = (list_checkpoints(tmp_path / name)[0] for name in ("one", "two"))
    (_, state_one), (_, state_two) = load_training_state(first_one), load_training_state(first_two)
    moments_one, moments_two = (state["optimizer"]["state"] for state in (state_one, state_two))
    assert moments_one.keys() == moments_two.keys()
    largest = max(moment["exp_avg"].abs().max() for moment in moments_one.values())
    for index, moment in moments_one.items():
        assert torch.allclose(moments_two[index]["exp_avg"], moment["exp_avg"], rtol=1e-3, atol=1e-6 * largest), index
    a, b = (load_checkpoint(folder / "weights.safetensors").state_dict() for folder in (first_one, first_two))
    for name in a:
        if name.endswith(("running_mean", "running_var")):
            assert torch.allclose(a[name], b[name], rtol=1e-4, atol=1e-5), name


def test_sigterm_saves_and_the_run_goes_on_as_if_nothing_had_happened(dataset, tmp_path):
    settings = ("optim.epochs=3", "data.clip_length=2")
    assert main(arguments(dataset, tmp_path / "whole", *settings)) == 0
    out = tmp_path / "stopped"
    process = subprocess.Popen(
        [sys.executable, "-m", MODULE, *arguments(dataset, out, *settings)], env=ENV, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 600
    while not read_metrics(out) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=600)
    assert process.returncode == 128 + signal.SIGTERM, told
    assert "continue with --resume auto" in told
    assert 0 < len(totals(out)) < 12
    assert main([*arguments(dataset, out, *settings), "--resume", "auto"]) == 0
    assert totals(out) == totals(tmp_path / "whole")


def test_loader_processes_change_no_number(dataset, tmp_path):
    """Two epochs, with and without workers that outlive the first one; augmentation on."""
    settings = ("optim.epochs=2", "data.clips_per_epoch=2", "data.clip_length=2", "augment.colour=true")
    for workers in ("0", "2"):
        assert main(arguments(dataset, tmp_path / workers, *settings, f"data.workers={workers}")) == 0
    assert len(totals(tmp_path / "0")) == 2
    assert totals(tmp_path / "2") == totals(tmp_path / "0")


def test_a_second_run_in_the_same_folder_is_refused(dataset, tmp_path, capsys):
    settings = ("run.max_steps=1", "data.clip_length=2")
    assert main(arguments(dataset, tmp_path, *settings)) == 0
    assert main(arguments(dataset, tmp_path, *settings)) == 2
    assert "add --resume auto or choose another --out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (["optim.lerning_rate=1"], "optim.lerning_rate: unknown setting; known ones here: epochs, lr"),
        (["data.layout=rdvz"], "rdvs, vidsod100, dvisal"),
        (["data.split=valid"], "split"),
        (["augment.corruptions=[fog]", "augment.corruption_probability=1"], "augment.corruptions: expected some of"),
        (["init.trunk=/none.pt"], "model '/none.pt': expected a known name, a file"),
        (["init.checkpoint=/none.safetensors"], "model '/none.safetensors': expected a known name, a file"),
        (["model.trunk.size=tiny"], "add --set init.trunk=sam2.1_tiny, or --set init.random_trunk=true"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_mistakes_end_in_one_clear_line_and_write_nothing(dataset, tmp_path, capsys, settings, told):
    assert main(arguments(dataset, tmp_path / "out", *settings)) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def save_for_ever(out: Path) -> None:
    """A training run that does nothing but save."""
    model = build_model(ModelConfig.preset("nano"))
    optimizer_like: dict[str, Any] = {"optimizer": {"state": torch.zeros(200_000)}}
    for step in range(1, 100_000):
        facts = {"step": str(step)}
        save_training_checkpoint(out, model, Progress(step=step), optimizer_like, metadata=facts, keep=2)


def test_kill_9_while_saving_leaves_the_last_good_checkpoint(tmp_path):
    """Killed 12 times at random moments of back-to-back saving; every time everything that is left loads."""
    draw, fork = random.Random(0), multiprocessing.get_context("fork")
    unfinished = 0
    for trial in range(12):
        out = tmp_path / str(trial)
        process = fork.Process(target=save_for_ever, args=(out,))
        process.start()
        while not (out / "last.safetensors").exists():
            time.sleep(0.005)
        time.sleep(draw.uniform(0.0, 0.15))
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        unfinished += any((out / "checkpoints").glob(".unfinished_*"))
        load_checkpoint(out / "last.safetensors")
        checkpoints = list_checkpoints(out)
        assert checkpoints
        for folder in checkpoints:
            progress, state = load_training_state(folder)
            assert read_header(folder / "weights.safetensors")["step"] == str(progress.step)
            assert state["optimizer"]["state"].shape == (200_000,)
        assert int(read_header(out / "last.safetensors")["step"]) >= load_training_state(checkpoints[-1])[0].step - 1
    assert unfinished > 0, "no kill hit a save; the test proved nothing"
