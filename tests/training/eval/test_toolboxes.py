# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Protocols dvsod and vidsod against their formulas, written out pixel by pixel."""

from __future__ import annotations

import math

import numpy as np
import pytest

from m4sam_core.cli.main import main
from m4sam_core.errors import InputError
from m4sam_core.rgbd.image_files import write_png
from m4sam_training.data.generate import generate_dataset
from m4sam_training.eval.protocols import PROTOCOLS
from m4sam_training.eval.scoring import FrameScorer, row
from m4sam_training.eval.toolboxes import alignment

SIDE = 12


def cases():
    """Prediction and ground truth, uint8: the odd ones and some ordinary ones."""
    rng = np.random.default_rng(0)
    disc = np.hypot(*np.mgrid[-6:6, -6:6]) < 4
    empty, full = np.zeros((SIDE, SIDE), np.uint8), np.full((SIDE, SIDE), 255, np.uint8)
    pixel = empty.copy()
    pixel[3, 4] = 255
    soft = (255 * np.clip(1.2 - np.hypot(*np.mgrid[-6:6, -6:6]) / 5, 0, 1)).astype(np.uint8)
    grey = np.where(disc, 128, 40).astype(np.uint8)
    noise = rng.integers(0, 256, (SIDE, SIDE)).astype(np.uint8)
    truth = np.where(disc, 255, 0).astype(np.uint8)
    for prediction in (empty, full, pixel, soft, grey, noise, truth):
        for target in (empty, full, pixel, truth, np.where(disc, 128, 0).astype(np.uint8)):
            yield prediction, target


def by_pixel(prediction, salient):
    """E of a map in [0, 1] and a list of booleans."""
    n = len(prediction)
    mean_p, mean_t = math.fsum(prediction) / n, sum(salient) / n
    total = 0.0
    for p, t in zip(prediction, salient, strict=True):
        a, c = p - mean_p, t - mean_t
        total += ((2 * a * c / (a * a + c * c) if a or c else 0.0) + 1) ** 2 / 4
    return total / (n - 1)


def dvsod(prediction, target):
    values = [value / 255 for value in prediction.ravel().tolist()]
    low, high = min(values), max(values)
    values = [(v - low) / (high - low) for v in values] if high > low else values
    salient = [value > 128 for value in target.ravel().tolist()]
    threshold = min(2 * math.fsum(values) / len(values), 1)
    found = [v >= threshold for v in values]
    hits = sum(f and s for f, s in zip(found, salient, strict=True))
    precision, recall = hits / sum(found) if any(found) else 0, hits / sum(salient) if any(salient) else 0
    f_measure = 1.3 * precision * recall / (0.3 * precision + recall) if hits else 0
    e_measure = by_pixel([float(v > threshold) for v in values], salient)
    return {"E_dvsod": e_measure, "F_dvsod": f_measure}


def test_both_evaluators_are_repeated_on_odd_cases():
    worst = 0.0
    for prediction, target in cases():
        stretched = FrameScorer(minmax=True).score("v", "f", prediction, target)
        wanted = dvsod(prediction, target)
        found = row(PROTOCOLS["dvsod"][0], [stretched])
        worst = max(worst, *(abs(found[name] - wanted[name]) for name in wanted))
        plain = FrameScorer(minmax=False).score("v", "f", prediction, target)
        soft = by_pixel([v / 255 for v in prediction.ravel().tolist()], [v > 127 for v in target.ravel().tolist()])
        worst = max(worst, abs(row(PROTOCOLS["vidsod"][0], [plain])["E_soft"] - soft))
    print(f"largest difference over 35 cases: {worst:.1e}")
    assert worst < 1e-6


def test_f_of_vidsod_is_that_of_mean_precision_and_recall():
    pairs = [pair for pair in cases() if pair[0].any() and pair[1].any()]
    scorer = FrameScorer(minmax=False)
    scores = [scorer.score("v", str(n), *pair) for n, pair in enumerate(pairs)]
    best = 0.0
    for threshold in range(256):
        p, r = [], []
        for prediction, target in pairs:
            found, salient = prediction >= threshold, target > 127
            p.append((found & salient).sum() / max(found.sum(), 1))
            r.append((found & salient).sum() / salient.sum())
        precision, recall = np.mean(p), np.mean(r)
        best = max(best, 1.3 * precision * recall / (0.3 * precision + recall))
    assert row(PROTOCOLS["vidsod"][0], scores)["F_mean_pr"] == pytest.approx(best, abs=1e-6)


def test_one_pixel_has_no_alignment():
    with pytest.raises(InputError, match="at least two pixels"):
        alignment(np.zeros((1, 1)), np.zeros((1, 1), bool))


def test_one_table_shows_the_three_protocols_and_quotes_others(tmp_path, capsys):
    generate_dataset(tmp_path / "D", "rdvs", videos=1, frames=2, height=48, width=64)
    for mask in (tmp_path / "D").glob("RDVS/test/*/ground-truth/*"):
        folder = tmp_path / "M" / mask.parent.parent.name
        folder.mkdir(parents=True, exist_ok=True)
        write_png(folder / f"{mask.stem}.png", np.random.default_rng(0).integers(0, 255, (48, 64)).astype(np.uint8))
    words = ["eval", "--dataset", "rdvs", "--data", str(tmp_path / "D"), "--masks", str(tmp_path / "M")]
    assert main([*words, "--protocol", "all"]) == 0
    told = capsys.readouterr().out
    for text in ("m4sam", "dvsod", "vidsod", "E soft", "quoted: KAN-SAM (SAM-DAQ's comparison table)"):
        assert text in told
