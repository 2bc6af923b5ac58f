# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Scores on real pictures of one's own."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from m4sam_core.build import build_model
from m4sam_core.config import ModelConfig
from m4sam_core.errors import InputError
from m4sam_training.edge.real import Verdict, _kind, judge, real_pictures, rows, worst_sheet


def write(folder, name, side=64, depth=True):
    target = folder / name
    target.mkdir(parents=True)
    mask = np.zeros((48, side), np.uint8)
    mask[10:30, 10:30] = 255
    cv2.imwrite(str(target / "rgb.png"), np.random.default_rng(0).integers(0, 255, (48, side, 3), dtype=np.uint8))
    cv2.imwrite(str(target / "gt.png"), mask)
    if depth:
        cv2.imwrite(str(target / "depth.png"), np.where(mask > 0, 900, 2000).astype(np.uint16))


def test_pictures_are_judged_one_by_one(tmp_path) -> None:
    write(tmp_path, "b", depth=False)
    write(tmp_path, "a")
    pictures = real_pictures(tmp_path)
    assert [picture.name for picture in pictures] == ["a", "b"]
    assert pictures[1].depth is None
    verdicts = judge(build_model(ModelConfig.preset("nano")), pictures, threads=1)
    table = rows(verdicts)
    assert table["all"]["pictures"] == 2
    assert table["10% to 30% of the picture"]["pictures"] == 2
    assert worst_sheet(verdicts).shape[2] == 3
    assert all(isinstance(verdict, Verdict) for verdict in verdicts)


@pytest.mark.parametrize(
    ("iou", "both", "found", "wanted", "kind"),
    [(0.8, 8, 9, 9, "good"), (0.1, 1, 2, 9, "missed"), (0.3, 9, 30, 10, "too much"), (0.6, 6, 7, 9, "inexact")],
)
def test_kinds_of_failure(iou, both, found, wanted, kind) -> None:
    assert _kind(iou, both, found, wanted) == kind


def test_a_folder_without_pictures_says_so(tmp_path) -> None:
    with pytest.raises(InputError, match="expected folders with rgb"):
        real_pictures(tmp_path)
    write(tmp_path, "a")
    cv2.imwrite(str(tmp_path / "a" / "gt.png"), np.zeros((5, 5), np.uint8))
    with pytest.raises(InputError, match="expected a mask of"):
        real_pictures(tmp_path)
