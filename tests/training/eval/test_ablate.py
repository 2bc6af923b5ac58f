# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""The ablation table: every row trains, one row end to end, results kept, the paper's numbers beside."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from rich.console import Console

from m4sam_core.cli.main import main
from m4sam_core.errors import ConfigError, M4SamError
from m4sam_training.eval.ablate import (
    GROUPS,
    VARIANTS,
    AblationJob,
    ablation_table,
    as_list,
    choose_variants,
    run_variant,
)
from m4sam_training.train.distributed import World
from m4sam_training.train.step import TrainStep
from m4sam_training.train.weights.starting_model import starting_model

SMOKE = Path(__file__).resolve().parents[3] / "config" / "train" / "smoke.yaml"
QUICK = ("run.max_steps=1", "run.tensorboard=false", "run.device=cpu", "data.clip_length=2", "run.threads=1")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    """One RDVS video of four frames, to train and to test on."""
    root = tmp_path_factory.mktemp("rdvs")
    for split in ("train", "test"):
        for t in range(4):
            rgb, depth, mask = (
                np.full((72, 96, 3), 60, np.uint8),
                np.full((72, 96), 200, np.uint8),
                np.zeros((72, 96), np.uint8),
            )
            for image, value in ((rgb, (40, 210, 60)), (depth, 70), (mask, 255)):
                cv2.circle(image, (30 + 8 * t, 36), 14, value, -1)
            for name, image in (("rgb", rgb), ("Depth", depth), ("ground-truth", mask)):
                path = root / "RDVS" / split / "v" / name / f"v-{t:05d}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(path), image)
    return root


def test_every_variant_builds_and_takes_a_step(tmp_path):
    job = AblationJob(SMOKE, ("run.device=cpu",), tmp_path, tmp_path)
    configs = {variant.folder: job.train_config(variant) for variant in VARIANTS}
    assert len({cfg.model_dump_json() for cfg in configs.values()}) == len(configs) == 16
    for folder, cfg in configs.items():
        step = TrainStep(starting_model(cfg), cfg, World(rank=0, size=1, device=torch.device("cpu")))
        shape = (2, cfg.data.clip_length if cfg.data.clip_length < 4 else 2)
        batch = {key: torch.rand(*shape, channels, 64, 64) for key, channels in (("rgb", 3), ("depth", 1), ("mask", 1))}
        report = step.run([batch], epoch=0, step=0)
        assert torch.isfinite(report.losses["total"]), folder
        assert report.grad_norm > 0, folder


def test_a_row_is_trained_scored_kept_and_not_mixed_up(dataset, tmp_path):
    job = AblationJob(SMOKE, QUICK, dataset, tmp_path)
    variant = next(v for v in VARIANTS if v.name == "LoRA")
    result = run_variant(job, variant)
    assert {"E_mean", "S", "F_adaptive", "MAE"} <= result.keys()
    assert 0 <= result["S"] <= 1
    assert result["peak_memory_gb"] > 0.1
    weights = tmp_path / variant.folder / "last.safetensors"
    written = weights.stat().st_mtime_ns
    assert run_variant(job, variant) == result
    assert weights.stat().st_mtime_ns == written, "a finished row is not trained again"
    with pytest.raises(ConfigError, match="choose another --out"):
        run_variant(AblationJob(SMOKE, (*QUICK, "optim.lr=0.5"), dataset, tmp_path), variant)

    shown = io.StringIO()
    Console(file=shown, width=140).print(ablation_table([(variant, result)], "rdvs"))
    assert f"{result['S']:.3f} (0.864)" in shown.getvalue()
    assert f"{result['peak_memory_gb']:.2f} (14.25)" in shown.getvalue()
    assert "(0.864)" not in _printed(ablation_table([(variant, result)], "dvisal")), "the paper has it for RDVS only"
    assert as_list([(variant, result)])[0]["settings"] == ("model.adapter.kind=lora", "model.adapter.alpha=4")


def _printed(table: object) -> str:
    shown = io.StringIO()
    Console(file=shown, width=140).print(table)
    return shown.getvalue()


def test_a_failing_row_stops_with_its_name(dataset, tmp_path):
    job = AblationJob(SMOKE, (*QUICK, "init.trunk=/none.pt"), dataset, tmp_path)
    with pytest.raises(M4SamError, match="ablation adapter none: training ended with code 2"):
        run_variant(job, VARIANTS[0])
    assert not (tmp_path / "kind-none" / "result.json").exists()


def test_groups_and_dry_run(dataset, tmp_path, capsys):
    assert {variant.group for variant in choose_variants([])} == set(GROUPS)
    assert [variant.name for variant in choose_variants(["depth"])] == ["real", "black", "copy of rgb"]
    with pytest.raises(ConfigError, match="expected some of adapter, top-k, memory, feature, depth, clip, got colour"):
        choose_variants(["colour"])
    words = ["ablate", "--config", str(SMOKE), "--data", str(dataset), "--out", str(tmp_path / "o"), "--dry-run"]
    assert main([*words, "--only", "adapter", "--only", "top-k", "--processes", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 7, "rows with the same settings are trained once"
    assert all("torch.distributed.run --standalone --nproc-per-node 2" in line for line in lines)
    assert not (tmp_path / "o").exists()
