# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Corruptions do what they say, are seeded, and get worse with severity; the table is computed from its definition."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from m4sam_core.build import build_model
from m4sam_core.checkpoint import save_checkpoint
from m4sam_core.cli.main import main
from m4sam_core.config import ModelConfig
from m4sam_core.errors import ConfigError
from m4sam_core.rgbd.image_files import write_png
from m4sam_core.rgbd.masks import read_mask
from m4sam_training.data.corruptions import (
    DEPTH_CORRUPTIONS,
    LAG_FRAMES,
    RGB_CORRUPTIONS,
    CorruptedStream,
    corrupt_clip,
    corrupt_rgb,
)
from m4sam_training.data.frames import Clip
from m4sam_training.data.generate import generate_dataset
from m4sam_training.data.videos import Video
from m4sam_training.eval import robustness
from m4sam_training.eval.robustness import Cell, RobustnessResult, make_fault, plan
from m4sam_training.eval.robustness_report import MARKS, page_text

REPO = Path(__file__).resolve().parents[3]


def scene(height=240, width=320):
    """A box at 1 m before a wall that recedes from 2 to 4 m, with a hole."""
    depth = np.tile(np.linspace(2, 4, width, dtype=np.float32), (height, 1))
    depth[80:180, 120:220] = 1.0
    depth[:16] = 0
    return depth


def damage(before, after):
    """Mean relative error where both read, plus the share of readings lost."""
    both = (before > 0) & (after > 0)
    error = np.abs(after - before)[both] / before[both]
    lost = np.mean(after[before > 0] == 0)
    return float(error.mean() if both.any() else 0) + 3 * float(lost)


@pytest.mark.parametrize("name", list(DEPTH_CORRUPTIONS))
def test_depth_corruption(name):
    frames = [np.roll(scene(), 3 * index, axis=1) for index in range(18)]
    copies = [frame.copy() for frame in frames]
    mean_damage = []
    for severity in range(1, 6):
        once, twice = (corrupt_clip(frames, name, severity, seed=7) for _ in range(2))
        np.testing.assert_array_equal(once, twice)
        for out, frame in zip(once, frames, strict=True):
            assert out.dtype == np.float32
            assert out.shape == frame.shape
            assert np.isfinite(out).all()
            assert (out >= 0).all()
        seeds = [corrupt_clip(frames, name, severity, seed) for seed in range(3)]
        changing = name != "depth_lag" and (name, severity) != ("frame_loss", 5)
        assert changing == any(not np.array_equal(seeds[0], run) for run in seeds[1:])
        mean_damage.append(np.mean([damage(a, b) for run in seeds for a, b in zip(frames, run, strict=True)]))
    np.testing.assert_array_equal(frames, copies)  # the input is left alone
    assert mean_damage[0] > 0
    assert all(worse > better for better, worse in pairwise(mean_damage)), mean_damage


@pytest.mark.parametrize("name", list(RGB_CORRUPTIONS))
def test_rgb_corruption(name):
    rng = np.random.default_rng(0)
    rgb = np.repeat(np.repeat(rng.integers(0, 256, (15, 20, 3), np.uint8), 8, 0), 8, 1)
    errors = []
    for severity in (1, 2, 3):
        out = corrupt_rgb(rgb, name, severity, seed=3)
        assert out.dtype == np.uint8
        assert out.shape == rgb.shape
        np.testing.assert_array_equal(out, corrupt_rgb(rgb, name, severity, seed=3))
        errors.append(np.abs(out.astype(int) - rgb).mean())
    assert 0 < errors[0] < errors[1] < errors[2]


def test_holes_stay_holes_under_noise():
    for name in ("axial_noise", "disparity_noise", "quantisation", "scale_flicker"):
        out = corrupt_clip([scene()], name, 5, seed=0)[0]
        np.testing.assert_array_equal(out == 0, scene() == 0)


def test_lag_gives_older_frames():
    frames = [np.full((4, 4), index + 1.0, np.float32) for index in range(20)]
    for severity, lag in enumerate(LAG_FRAMES, 1):
        got = [int(frame[0, 0]) for frame in corrupt_clip(frames, "depth_lag", severity, 0)]
        assert got == [max(0, index - lag) + 1 for index in range(20)]


def test_mounting_faults_stay_the_same_for_a_video():
    stream = CorruptedStream("misalignment", 3, seed=1)
    np.testing.assert_array_equal(stream(scene()), stream(scene()))
    noise = CorruptedStream("dropout", 3, seed=1)
    assert not np.array_equal(noise(scene()), noise(scene()))


def test_corruptions_scale_with_the_resolution():
    small, large = scene(), np.kron(scene(), np.ones((4, 4), np.float32))
    for name in ("edge_jitter", "misalignment", "low_resolution"):
        ours = damage(small, corrupt_clip([small], name, 5, 2)[0])
        theirs = damage(large, corrupt_clip([large], name, 5, 2)[0])
        assert 0.3 < ours / theirs < 3


def test_an_empty_map_survives_everything():
    for name in DEPTH_CORRUPTIONS:
        assert not corrupt_clip([np.zeros((30, 40), np.float32)], name, 5, 0)[0].any()


def test_unknown_names_and_severities():
    with pytest.raises(ConfigError, match="corruption: expected one of axial_noise"):
        CorruptedStream("fog", 1, 0)
    with pytest.raises(ConfigError, match="severity of dropout: expected 1 to 5, got 6"):
        CorruptedStream("dropout", 6, 0)
    with pytest.raises(ConfigError, match="corruptions: expected some of"):
        plan(["fog"])
    assert len(plan()) == 13 * 5 + 4 * 3
    assert plan(["jpeg"], [3]) == [("rgb", "jpeg", 3)]
    with pytest.raises(ConfigError, match="severities"):
        plan(["jpeg"], [5])


def test_a_fault_touches_its_modality_alone_and_repeats():
    rng = np.random.default_rng(0)
    depth = (scene() * 1000).astype(np.uint16)
    rgb = rng.integers(0, 256, (240, 320, 3), np.uint8)
    clip = Clip((rgb,) * 2, (depth,) * 2, (np.zeros((240, 320), np.uint8),) * 2, 0.001)
    video = Video("v", ())
    deep = make_fault("depth", "dropout", 3, 0)(video)(clip)
    np.testing.assert_array_equal(deep.rgb[0], rgb)
    assert deep.depth[0].dtype == np.uint16
    assert np.mean(deep.depth[0][depth > 0] == 0) == pytest.approx(0.3, abs=0.02)
    np.testing.assert_array_equal(deep.depth, make_fault("depth", "dropout", 3, 0)(video)(clip).depth)
    assert not np.array_equal(deep.depth, make_fault("depth", "dropout", 3, 0)(Video("w", ()))(clip).depth)
    coloured = make_fault("rgb", "jpeg", 3, 0)(video)(clip)
    np.testing.assert_array_equal(coloured.depth, clip.depth)
    assert not np.array_equal(coloured.rgb[0], rgb)


def test_resilience_and_harm_follow_their_definitions():
    cell = Cell("depth", "holes", 2, {"S": 0.6})
    result = RobustnessResult("S", {"S": 0.8}, {"S": 0.65}, (cell,))
    assert result.resilience(cell) == pytest.approx(0.75)
    assert result.harm(cell) == pytest.approx(-0.05)


def test_command_line(tmp_path):
    generate_dataset(tmp_path / "D", "m4sam", videos=1, frames=2, height=72, width=96)
    torch.manual_seed(0)
    save_checkpoint(tmp_path / "m.safetensors", build_model(ModelConfig.preset("nano")), {})
    args = ["robustness", "--dataset", "m4sam", "--data", str(tmp_path / "D"), "--checkpoint"]
    args += [str(tmp_path / "m.safetensors"), "--corruption", "frame_loss", "--corruption", "jpeg"]
    out = tmp_path / "out"
    assert (
        main([*args, "--severity", "3", "--severity", "5", "--out", str(out), "--json", str(tmp_path / "r.json")]) == 0
    )
    result = json.loads((tmp_path / "r.json").read_text())
    cells = {(cell["corruption"], cell["severity"]): cell for cell in result["cells"]}
    assert set(cells) == {("frame_loss", 3), ("frame_loss", 5), ("jpeg", 3)}
    assert cells["frame_loss", 5]["harm"] == pytest.approx(0, abs=1e-9)  # every map lost equals black depth
    assert (out / "robustness.png").stat().st_size > 5000
    assert main([*args, "--measure", "beauty"]) == 2


def test_several_models_on_generated_clips_in_one_command(tmp_path):
    for seed, name in enumerate(("a", "b")):
        torch.manual_seed(seed)
        save_checkpoint(tmp_path / f"{name}.safetensors", build_model(ModelConfig.preset("nano")), {})
    models = [str(tmp_path / f"{name}.safetensors") for name in "ab"]
    page = tmp_path / "page.md"
    page.write_text(f"before\n{MARKS[0]}\nold\n{MARKS[1]}\nafter\n")
    out, file = tmp_path / "out", tmp_path / "r.json"
    words = ["robustness", "--clips", "2", "--frames", "3", "--mode", "stream", "--corruption", "depth_lag"]
    words += ["--corruption", "frame_loss", "--severity", "5", "--out", str(out), "--json", str(file)]
    words += [word for model in models for word in ("--checkpoint", model)]
    assert main([*words, "--page", str(page)]) == 0
    values = json.loads(file.read_text())
    assert list(values["models"]) == models
    one, other = (values["models"][model] for model in models)
    assert one["source"] == "generated, 2 clips of 3 frames"
    assert (one["videos"], one["frames"]) == (2, 6)
    assert one["clean"]["S"] != other["clean"]["S"]
    cells = {cell["corruption"]: cell for cell in one["cells"]}
    assert len(one["clean_over_time"]) == 3
    assert np.mean(one["clean_over_time"]) == pytest.approx(one["clean"]["S"], abs=1e-5)
    assert cells["frame_loss"]["over_time"] == one["black_depth_over_time"]  # severity 5 loses every map
    assert cells["depth_lag"]["over_time"][0] == one["clean_over_time"][0]  # the first map cannot be late
    assert {path.name for path in out.iterdir()} == {
        "robustness_a.jsonl", "robustness_b.jsonl", "robustness.png", "over_time.png"
    }  # fmt: skip
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    for entry in (one, other):
        result = RobustnessResult.from_dict(entry)
        assert json.loads(json.dumps(result.as_dict())).items() <= entry.items()
        harm = min(result.harm(cell) for cell in result.of("frame_loss"))
        assert f"{harm:+.3f}" in text
    page.write_text("no marks")
    assert main([*words, "--page", str(page)]) == 2


def test_the_page_has_the_table_of_its_file():
    page = (REPO / "docs/robustness.md").read_text()
    values = json.loads((REPO / "benchmarks/results/robustness.json").read_text())
    assert f"{MARKS[0]}\n{page_text(values)}\n{MARKS[1]}" in page


def test_two_models_whose_files_have_one_name_keep_their_own_journals(tmp_path):
    generate_dataset(tmp_path / "D", "m4sam", videos=1, frames=2, height=72, width=96)
    args = ["robustness", "--data", str(tmp_path / "D"), "--corruption", "jpeg", "--severity", "3"]
    for seed, run in enumerate(("a", "b")):
        torch.manual_seed(seed)
        (tmp_path / run).mkdir()
        save_checkpoint(tmp_path / run / "best.safetensors", build_model(ModelConfig.preset("nano")), {})
        args += ["--checkpoint", str(tmp_path / run / "best.safetensors")]
    assert main([*args, "--out", str(tmp_path / "out")]) == 0
    journals = sorted(path.name for path in (tmp_path / "out").glob("*.jsonl"))
    assert journals == ["robustness_1_best.jsonl", "robustness_2_best.jsonl"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--split", "val"], "expected --data with them"),
        (["--dataset", "rdvs"], "expected --data with them"),
        (["--mode", "video"], "mode: expected one of clip, stream"),
        (["--measure", "beauty"], "measure: expected one of S"),
        (["--page", "README.md"], "expected the marks"),
        (["--page", "nowhere.md"], "expected a Markdown file"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_generated(tmp_path, capsys, monkeypatch, words, told):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "README.md").write_text("no table")
    assert main(["robustness", "--checkpoint", "edge", "--clips", "1", "--frames", "1", *words]) == 2
    err = capsys.readouterr().err
    assert told in err
    assert "generating" not in err


def test_a_stopped_table_goes_on_and_gives_the_same_numbers(tmp_path, monkeypatch, capsys):
    generate_dataset(tmp_path / "D", "m4sam", videos=1, frames=2, height=72, width=96)
    torch.manual_seed(0)
    for name in ("m", "n"):
        save_checkpoint(tmp_path / f"{name}.safetensors", build_model(ModelConfig.preset("nano")), {})

    def run(out, weights="m.safetensors"):
        args = ["robustness", "--dataset", "m4sam", "--data", str(tmp_path / "D"), "--corruption", "dropout"]
        args += ["--checkpoint", str(tmp_path / weights), "--out", str(tmp_path / out)]
        return main([*args, "--json", str(tmp_path / f"{out}.json")])

    assert run("whole") == 0
    calls, predict = [], robustness.predict_scan

    def counted(*args):
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return predict(*args)

    monkeypatch.setattr(robustness, "predict_scan", counted)
    assert run("parts") != 0
    with (tmp_path / "parts" / "robustness.jsonl").open("a") as journal:
        journal.write('{"run": "dropout 3", "sco')
    assert run("parts") == 0
    assert len(calls) == 5 + 3, "clean, black depth and two severities were kept"
    assert (tmp_path / "parts.json").read_text() == (tmp_path / "whole.json").read_text()
    assert run("parts") == 0
    assert len(calls) == 8
    capsys.readouterr()
    assert run("parts", "n.safetensors") == 2
    assert "got other weights" in capsys.readouterr().err


def test_what_masks_and_depth_mean_can_be_said(tmp_path, capsys):
    generate_dataset(tmp_path / "D", "m4sam", videos=1, frames=2, height=72, width=96)
    torch.manual_seed(0)
    save_checkpoint(tmp_path / "m.safetensors", build_model(ModelConfig.preset("nano")), {})

    def run(*options):
        args = ["robustness", "--data", str(tmp_path / "D"), "--corruption", "dropout", "--severity", "1"]
        args += ["--checkpoint", str(tmp_path / "m.safetensors"), "--json", str(tmp_path / "r.json")]
        code = main([*args, *options])
        return code, capsys.readouterr().err

    truth = next((tmp_path / "D/test").glob("*/mask")).iterdir()
    for path in truth:  # three classes
        mask = read_mask(path)
        write_png(path, np.where(mask > 0, 2, np.eye(*mask.shape, dtype=np.uint8)))
    code, told = run()
    assert code == 2
    assert "with --mask-values" in told
    assert run("--mask-values", "2", "--out", str(tmp_path / "two"))[0] == 0
    saved = json.loads((tmp_path / "r.json").read_text())
    assert (saved["mask_values"], saved["depth_coding"]) == ("2", "plain")
    code, told = run("--mask-values", "1,2", "--out", str(tmp_path / "two"))
    assert code == 2
    assert "got other mask_values" in told
    assert main(["robustness", "--checkpoint", "edge", "--mask-values", "2"]) == 2
    assert "expected --data with them" in capsys.readouterr().err
