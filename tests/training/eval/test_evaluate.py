# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Scores equal PySODMetrics run by hand, and the published protocol written out from its definition."""

from __future__ import annotations

import csv
import json
import sys

import cv2
import numpy as np
import py_sod_metrics
import pytest
import torch

from m4sam_core.build import build_model
from m4sam_core.checkpoint import save_checkpoint
from m4sam_core.cli.main import main
from m4sam_core.config import ModelConfig
from m4sam_core.errors import ConfigError
from m4sam_core.rgbd.image_files import write_png
from m4sam_core.rgbd.masks import read_mask
from m4sam_training.data.generate import generate_dataset
from m4sam_training.data.scan import scan_split
from m4sam_training.eval.evaluate import evaluate
from m4sam_training.eval.mask_folder import read_mask_folder
from m4sam_training.eval.predict_dataset import PredictConfig, predict_scan
from m4sam_training.eval.protocols import PROTOCOLS
from m4sam_training.eval.scoring import FrameScorer, summary, to_uint8

EPS = np.spacing(1)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """An rdvs dataset, and masks for its test split: blurred, noisy ground truth of limited range."""
    root = tmp_path_factory.mktemp("eval")
    generate_dataset(root / "D", "rdvs", videos=2, frames=3, height=72, width=96)
    rng = np.random.default_rng(0)
    for video in scan_split(root / "D", "rdvs", "test").videos:
        for index, frame in enumerate(video.annotated):
            truth = read_mask(frame.mask).astype(np.float32)
            blurred = cv2.GaussianBlur(truth, (0, 0), 2 + 2 * index) * 0.7 + rng.uniform(0, 40, truth.shape)
            (root / "masks" / video.name).mkdir(parents=True, exist_ok=True)
            write_png(root / "masks" / video.name / f"{frame.stem}.png", blurred.astype(np.uint8))
    return root


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return build_model(ModelConfig.preset("nano")).eval()


def mask_pairs(data):
    for video in scan_split(data / "D", "rdvs", "test").videos:
        for frame in video.annotated:
            mask = cv2.imread(str(data / "masks" / video.name / f"{frame.stem}.png"), cv2.IMREAD_GRAYSCALE)
            yield mask, read_mask(frame.mask)


def test_equal_to_pysodmetrics_by_hand(data, tmp_path):
    args = ["eval", "--dataset", "rdvs", "--data", str(data / "D"), "--masks", str(data / "masks")]
    assert main([*args, "--json", str(tmp_path / "f.json")]) == 0
    ours = json.loads((tmp_path / "f.json").read_text())
    s, e, mae = py_sod_metrics.Smeasure(), py_sod_metrics.Emeasure(), py_sod_metrics.MAE()
    f = py_sod_metrics.FmeasureV2(
        {"f": py_sod_metrics.FmeasureHandler(with_dynamic=True, with_adaptive=True, beta=0.3)}
    )
    for mask, truth in mask_pairs(data):
        for metric in (s, e, mae, f):
            metric.step(mask, truth)
    assert ours["S"] == pytest.approx(s.get_results()["sm"], abs=1e-9)
    assert ours["E_mean"] == pytest.approx(e.get_results()["em"]["curve"].mean(), abs=1e-9)
    assert ours["F_adaptive"] == pytest.approx(f.get_results()["f"]["adaptive"], abs=1e-9)
    assert ours["MAE"] == pytest.approx(mae.get_results()["mae"], abs=1e-9)
    assert ours["all"]["F_max"] == pytest.approx(f.get_results()["f"]["dynamic"].max(), abs=1e-9)
    assert ours["frames"] == 6


def definition(prediction, truth):
    """Mean E over 256 thresholds, adaptive F, MAE of one frame, from the papers' formulas alone."""
    p, gt = prediction.astype(np.float64) / 255, truth > 127
    p = (p - p.min()) / (p.max() - p.min())
    levels = (p * 255).astype(np.uint8)
    es = []
    for threshold in range(256):
        binary = (levels >= threshold).astype(np.float64)
        a, b = binary - binary.mean(), gt - gt.mean()
        align = 2 * a * b / (a * a + b * b + EPS)
        es.append(((align + 1) ** 2 / 4).sum() / (gt.size - 1))
    binary = p >= min(2 * p.mean(), 1)
    hits = (binary & gt).sum()
    precision, recall = hits / max(binary.sum(), 1), hits / gt.sum()
    f = 1.3 * precision * recall / (0.3 * precision + recall) if hits else 0.0
    return np.mean(es), f, np.abs(p - gt).mean()


def test_equal_to_the_published_protocol_from_its_definition(data):
    expected = np.mean([definition(mask, truth) for mask, truth in mask_pairs(data)], axis=0)
    scorer = FrameScorer(minmax=True)
    ours = summary([scorer.score("v", "f", mask, truth) for mask, truth in mask_pairs(data)])
    np.testing.assert_allclose([ours["E_mean"], ours["F_adaptive"], ours["MAE"]], expected, atol=1e-6)


def test_scoring_saved_masks_repeats_the_scores_of_the_checkpoint(data, model, tmp_path):
    save_checkpoint(tmp_path / "m.safetensors", model, {})
    common = ["eval", "--dataset", "rdvs", "--data", str(data / "D")]
    out = tmp_path / "out"
    first = ["--checkpoint", str(tmp_path / "m.safetensors"), "--out", str(out), "--save-masks"]
    assert main([*common, *first, "--json", str(tmp_path / "a.json")]) == 0
    assert main([*common, "--masks", str(out / "masks"), "--json", str(tmp_path / "b.json")]) == 0
    a, b = (json.loads((tmp_path / f"{name}.json").read_text()) for name in "ab")
    assert a["all"] == b["all"]
    assert {path.name for path in out.iterdir()} == {"masks", "per_video.csv", "curves.png", "worst.png"}
    with (out / "per_video.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["video"] for row in rows] == ["test_1", "test_2", "(all frames)"]
    assert float(rows[-1]["S"]) == pytest.approx(a["S"], abs=1e-6)
    assert cv2.imread(str(out / "worst.png")).shape[1] > 1000


@pytest.mark.parametrize("protocol", list(PROTOCOLS))
def test_protocols(data, protocol):
    scan, dropped = scan_split(data / "D", "rdvs", "test"), []
    result = evaluate(read_mask_folder(data / "masks", scan, dropped), protocol, dropped)
    for row in result.rows.values():
        assert all(0 <= value <= 1 for value in row.values())
    if protocol == "full":
        assert list(result.rows) == ["frame", "video", "frame, no min-max", "video, no min-max"]
        assert result.rows["frame"]["MAE"] != result.rows["frame, no min-max"]["MAE"]


def test_video_average_counts_every_video_once(data):
    scorer = FrameScorer()
    pairs = list(mask_pairs(data))
    (good, truth), (bad, other) = pairs[0], pairs[5]
    scores = [scorer.score("a", str(n), good, truth) for n in range(3)] + [scorer.score("b", "0", bad, other)]
    by_frame, by_video = summary(scores), summary(scores, "video")
    assert by_video["S"] == pytest.approx((scores[0].s_measure + scores[3].s_measure) / 2)
    assert by_frame["S"] == pytest.approx((3 * scores[0].s_measure + scores[3].s_measure) / 4)


def test_clip_mode_restarts_and_equals_the_recurrence(data, model):
    from m4sam_core.stream.recurrence import unroll_clip
    from m4sam_training.data.frames import clip_tensors, read_clip

    scan = scan_split(data / "D", "rdvs", "test")
    got = [item.mask_prob for item in predict_scan(model, scan, PredictConfig(clip_length=2))]
    video = scan.videos[0]
    expected = []
    for part in (video.frames[:2], video.frames[2:]):
        rgb, depth, _ = clip_tensors(read_clip(video, part, "real"), 64)
        with torch.inference_mode():
            probability = unroll_clip(model, rgb[None], depth[None], "policy").mask_prob[0]
        expected += list(torch.nn.functional.interpolate(probability, (72, 96), mode="bilinear")[:, 0].numpy())
    np.testing.assert_allclose(np.stack(got[:3]), np.stack(expected), atol=1e-6)


def test_stream_mode_runs_the_robots_pipeline(data, model):
    scan = scan_split(data / "D", "rdvs", "test")
    items = list(predict_scan(model, scan, PredictConfig(mode="stream")))
    assert [item.frame.stem for item in items] == [f.stem for video in scan.videos for f in video.annotated]
    assert all(item.mask_prob.shape == (72, 96) for item in items)


def test_scores_are_kept_when_plots_cannot_be_made(data, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    words = ["eval", "--dataset", "rdvs", "--data", str(data / "D"), "--masks", str(data / "masks")]
    assert main([*words, "--out", str(tmp_path / "o"), "--json", str(tmp_path / "scores.json")]) == 0
    told = capsys.readouterr().out
    assert "E mean" in told
    assert "no curves.png: matplotlib" in told
    assert json.loads((tmp_path / "scores.json").read_text())["S"] > 0
    assert sorted(path.name for path in (tmp_path / "o").iterdir()) == ["per_video.csv", "worst.png"]


def test_flat_and_empty_frames_have_finite_scores():
    scorer = FrameScorer()
    empty, full = np.zeros((20, 30), np.uint8), np.full((20, 30), 255, np.uint8)
    for prediction in (empty, full, np.full((20, 30), 77, np.uint8)):
        for truth in (empty, full):
            assert all(np.isfinite(value) for value in summary([scorer.score("v", "f", prediction, truth)]).values())
    assert to_uint8(np.full((2, 2), 0.3, np.float32), minmax=True).tolist() == [[76, 76], [76, 76]]
    assert to_uint8(np.array([[0.2, 0.4]], np.float32), minmax=True).tolist() == [[0, 255]]


def test_wrong_requests(data):
    common = ["eval", "--dataset", "rdvs", "--data", str(data / "D")]
    assert main(common) == 2
    assert main([*common, "--masks", str(data / "nothing")]) == 2
    assert main([*common, "--masks", str(data / "masks"), "--protocol", "best"]) == 2
    assert main([*common, "--checkpoint", str(data / "none.safetensors")]) == 2
    with pytest.raises(ConfigError, match="protocol: expected one of m4sam, dvsod, vidsod, full"):
        evaluate([], "best", [])
