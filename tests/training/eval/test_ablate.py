# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""The ablation table: every row trains, one row end to end, results kept, the paper's numbers beside."""

from __future__ import annotations

import csv
import io
import json
import zlib
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from rich.console import Console

from m4sam_core.build import build_model
from m4sam_core.cli.main import main
from m4sam_core.config import ModelConfig
from m4sam_core.errors import ConfigError, M4SamError
from m4sam_training.eval import ablate
from m4sam_training.eval.ablate import (
    DUAL_LORA,
    GROUPS,
    SAM2_UNET,
    VARIANTS,
    AblationJob,
    choose_variants,
    make_jobs,
    run_variant,
)
from m4sam_training.eval.ablate_report import as_list, as_tables, collect, equal_rows, write_csv
from m4sam_training.train.config import TrainConfig, load_train_config
from m4sam_training.train.distributed import World
from m4sam_training.train.step import ClipModule, TrainStep
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


def fill_by_name(model: torch.nn.Module) -> None:
    """Weights that depend on their name and shape alone, so that rows differ by their wiring and nothing else."""
    for name, value in model.state_dict().items():
        if not value.is_floating_point():
            continue
        generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
        noise = torch.randn(value.shape, generator=generator)
        if value.ndim > 1:
            value.copy_(noise * value[0].numel() ** -0.5)
        else:
            value.copy_(1 + 0.1 * noise if "var" in name or "weight" in name else 0.1 * noise)


def test_no_row_equals_another_by_accident():
    """The same weights and the same clip give each row a loss of its own; rows that share settings do so on purpose."""
    job = AblationJob(SMOKE, ("run.device=cpu", "model.adapter.rank=4"), Path(), Path())
    by_settings: dict[tuple[str, ...], list[str]] = {}
    for variant in VARIANTS:
        by_settings.setdefault(variant.settings, []).append(f"{variant.group}: {variant.name}")
    shared = [names for names in by_settings.values() if len(names) > 1]
    assert sorted(map(len, shared)) == [2, 7], "LoRA in two tables, and the full model in every one"
    generator = torch.Generator().manual_seed(0)
    clip = {key: torch.rand(1, 6, c, 64, 64, generator=generator) for key, c in (("rgb", 3), ("depth", 1))}
    clip["mask"] = (torch.rand(1, 6, 1, 64, 64, generator=generator) > 0.7).float()
    totals = {}
    for settings, names in by_settings.items():
        cfg = load_train_config(SMOKE, [*job.settings, *settings])
        model = build_model(cfg.model)
        fill_by_name(model)
        seen = {key: value[:, : cfg.data.clip_length] for key, value in clip.items()}
        if cfg.data.depth_kind == "black":
            seen["depth"] = torch.zeros_like(seen["depth"])
        with torch.no_grad():
            terms, _ = ClipModule(model.eval(), cfg)(seen, 0, torch.Generator())
        totals[names[0]] = terms["total"].item()
    for (one, a), (other, b) in combinations(totals.items(), 2):
        assert abs(a - b) > 1e-6 * abs(a), f"{one} and {other} give {a} and {b}"


def test_the_baselines_rows_are_the_presets_of_their_names():
    for settings, preset in ((DUAL_LORA, "dual_lora"), (SAM2_UNET, "sam2_unet")):
        row, named = load_train_config(None, settings).model.model_dump(), ModelConfig.preset(preset).model_dump()
        if preset == "sam2_unet":  # has neither; what the release's preset says about them is not built
            for values in (row, named):
                values["memory"], values["adapter"]["bn_momentum"] = None, None
        else:
            row["adapter"]["bn_momentum"] = named["adapter"]["bn_momentum"]
        assert row == named
    assert load_train_config(None, SAM2_UNET).loss == TrainConfig.parse({"preset": "sam2_unet"}).loss


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
    with pytest.raises(ConfigError, match=r"got another run's \(other split\)"):
        run_variant(AblationJob(SMOKE, QUICK, dataset, tmp_path, split="train"), variant)
    with pytest.raises(ConfigError, match=r"got another run's \(other data\)"):
        run_variant(AblationJob(SMOKE, QUICK, tmp_path, tmp_path), variant)
    (tmp_path / variant.folder / "result.json").unlink()
    inverted = AblationJob(SMOKE, (*QUICK, "data.mask_values=0"), dataset, tmp_path)
    scored = ablate._score(inverted, inverted.train_config(variant), tmp_path / variant.folder)
    assert scored["MAE"] == pytest.approx(1 - result["MAE"], abs=0.01), "ground truth is read as it was for training"


def made_up(value: float) -> dict[str, float]:
    scores = dict.fromkeys(("E_mean", "S", "F_adaptive", "MAE"), value)
    return {**scores, "peak_memory_gb": 1.25, "trainable_parameters": 1_500_000, "clips_per_s": 2.0}


def printed(dataset: str, width: int) -> list[str]:
    rows = collect([(variant, made_up(0.123)) for variant in VARIANTS], dataset)
    shown = io.StringIO()
    console = Console(file=shown, width=width, markup=False, highlight=False)
    for part in as_tables(rows, width):
        console.print(part)
    return shown.getvalue().splitlines()


@pytest.mark.parametrize("width", [80, 200])
def test_every_table_is_readable_with_the_papers_and_the_quoted_rows(width):
    lines = printed("rdvs", width)
    assert max(map(len, lines)) <= width
    assert not any("…" in line for line in lines), "nothing is cut off"
    text = "\n".join(lines)
    for group in GROUPS:
        assert f"rdvs: {group}" in text
    lora = next(i for i, line in enumerate(lines) if line.startswith("LoRA  "))
    assert lines[lora].split()[1:8] == [".123"] * 4 + ["1.25", "1.50", "2.0"]
    assert lines[lora + 1].split()[:7] == ["the", "paper's", ".904", ".864", ".764", ".031", "14.25"]
    quoted = next(line for line in lines if line.startswith("quoted: SAM2-UNet"))
    number = quoted.split("[")[1].split("]")[0]
    assert ".843" in quoted
    assert any(line.startswith(f"[{number}] SAM-DAQ's comparison table; protocol:") for line in lines)
    assert ("model.encoders=dual" in text) == (width == 200)


def test_the_papers_rdvs_figures_stand_beside_no_other_dataset():
    text = "\n".join(printed("dvisal", 80))
    assert ".925" in text
    assert ".904" not in text
    assert "14.25" not in text


def test_runs_of_different_settings_with_the_same_scores_are_told():
    chosen = [v for v in VARIANTS if (v.group, v.name) in {("top-k", "1"), ("top-k", "2"), ("depth", "real")}]
    assert len({variant.settings for variant in chosen}) == 2
    told = equal_rows(collect([(variant, made_up(0.5)) for variant in chosen], "rdvs"))
    assert len(told) == 1, "rows that share a run are one"
    assert told[0].startswith("rdvs: top-k 1 and top-k 2 have the same scores to the last digit")
    apart = [(v, made_up(0.5 + number / 1e6)) for number, v in enumerate(VARIANTS)]
    assert equal_rows(collect(apart, "rdvs")) == []


def test_json_and_csv_hold_every_line_with_its_kind(tmp_path):
    rows = collect([(variant, made_up(0.5)) for variant in VARIANTS], "vidsod100")
    write_csv(tmp_path / "t.csv", rows)
    with (tmp_path / "t.csv").open(newline="") as file:
        read = list(csv.DictReader(file))
    plain = json.loads(json.dumps(as_list(rows)))
    assert len(read) == len(plain) == len(rows)
    assert {row["kind"] for row in plain} == {"measured", "paper", "quoted"}
    for line, row in zip(read, plain, strict=True):
        assert {key: "" if value is None else str(value) for key, value in row.items()} == line
    quoted = [row for row in plain if row["kind"] == "quoted"]
    assert all(row["source"] and row["protocol"] != "m4sam" for row in quoted)


def test_several_datasets_take_their_own_recipes_and_folders(tmp_path):
    jobs = make_jobs(["rdvs=R", "vidsod100=V", "dvisal=D"], None, ("init.trunk=null",), tmp_path, 1, "test")
    assert [job.dataset for job in jobs] == ["rdvs", "vidsod100", "dvisal"]
    assert [job.train_config(VARIANTS[0]).optim.epochs for job in jobs] == [60, 30, 50]
    assert [job.out.name for job in jobs] == ["rdvs", "vidsod100", "dvisal"]
    one = make_jobs(["vidsod100=V"], SMOKE, (), tmp_path, 1, "test")[0]
    assert (one.dataset, one.out, one.train_config(VARIANTS[0]).run.max_steps) == ("vidsod100", tmp_path, 30)
    with pytest.raises(ConfigError, match="different layouts where it is repeated"):
        make_jobs(["rdvs=A", "rdvs=B"], None, (), tmp_path, 1, "test")


def test_a_failing_row_stops_with_its_name(dataset, tmp_path):
    job = AblationJob(SMOKE, (*QUICK, "init.trunk=/none.pt"), dataset, tmp_path)
    with pytest.raises(M4SamError, match="ablation adapter none: training ended with code 2"):
        run_variant(job, choose_variants(["adapter"])[0])
    assert not (tmp_path / "kind-none" / "result.json").exists()


def test_groups_and_dry_run(dataset, tmp_path, capsys):
    assert {variant.group for variant in choose_variants([])} == set(GROUPS)
    assert [variant.name for variant in choose_variants(["depth"])] == ["real", "black", "copy of rgb"]
    with pytest.raises(
        ConfigError, match="expected some of comparison, adapter, top-k, memory, feature, depth, clip, got colour"
    ):
        choose_variants(["colour"])
    words = ["ablate", "--config", str(SMOKE), "--data", str(dataset), "--out", str(tmp_path / "o"), "--dry-run"]
    assert main([*words, "--only", "adapter", "--only", "top-k", "--processes", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 7, "rows with the same settings are trained once"
    assert all("torch.distributed.run --standalone --nproc-per-node 2" in line for line in lines)
    assert not (tmp_path / "o").exists()
