# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""A dataset to label: some masks predicted, one drawn, the others missing."""

from __future__ import annotations

import shutil

import cv2
import numpy as np
import pytest

from m4sam_core.rgbd.image_files import write_png
from m4sam_training.data.generate import generate_dataset
from m4sam_training.data.predicted_masks import PredictedMask, write_predicted
from tests.training.labelling.tools import SIZE

CONFIDENCE = [0.91, 0.35, None, 0.62]  # of the frames of train_1; the last two frames are drawn and without a mask


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """A video with four predictions, a drawn mask and a frame without one; and an unlabelled video."""
    root = tmp_path_factory.mktemp("made") / "D"
    generate_dataset(root, "m4sam", videos=2, frames=6, height=SIZE[0], width=SIZE[1])
    first, second = root / "train/train_1", root / "train/train_2"
    masks = sorted((first / "mask").iterdir())
    rng = np.random.default_rng(0)
    for path in masks:  # ragged, with holes and single pixels
        blobs = cv2.GaussianBlur(rng.random(SIZE, np.float32), (0, 0), 2)
        write_png(path, np.where((blobs > 0.5) ^ (rng.random(SIZE) < 0.01), 255, 0).astype(np.uint8))
    masks[-1].unlink()
    known = {path.stem: PredictedMask("pseudo: edge", value) for path, value in zip(masks, CONFIDENCE, strict=False)}
    write_predicted(first, known)
    for path in (second / "mask").iterdir():
        path.unlink()
    return root


@pytest.fixture
def data(made, tmp_path):
    """A copy of it."""
    shutil.copytree(made, tmp_path / "D")
    return tmp_path / "D"
