# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Sets of single pictures, with depth or without: found under the names they are published with, and learned from."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from m4sam_core.errors import ConfigError
from m4sam_core.rgbd.image_files import write_png
from m4sam_training.data.datasets import VideoClipDataset
from m4sam_training.data.generate import generate_dataset
from m4sam_training.data.scan import available_splits, scan_split
from m4sam_training.data.training_clips import training_clips
from m4sam_training.train.config import load_train_config
from m4sam_training.train.trainer import Trainer
from m4sam_training.train.weights.parts import MEMORY_PARTS
from m4sam_training.train.weights.starting_model import starting_model
from tests.training.discs import ALONE, weights


@pytest.fixture
def pictures(tmp_path):
    generate_dataset(tmp_path / "D", "pictures", videos=2, frames=3, height=72, width=96)
    return tmp_path / "D"


@pytest.mark.parametrize(
    ("above", "rgb", "depth", "mask"),
    [
        ("DUTS-TR", "DUTS-TR-Image", None, "DUTS-TR-Mask"),
        ("TrainDataset", "RGB", "depth", "GT"),
        ("NJU2K_Traindataset", "RGB_left", "depth", "GT"),
        ("NLPR_Traindataset", "RGB", "depth", "groundtruth"),
        (".", "images", None, "masks"),
    ],
)
def test_published_names_are_found(pictures, tmp_path, above, rgb, depth, mask):
    for name, role in ((rgb, "rgb"), (depth, "depth"), (mask, "gt")):
        if name is not None:
            shutil.copytree(pictures / "train" / role, tmp_path / "set" / above / name)
    assert available_splits(tmp_path / "set", "pictures") == ["train"]
    scan = scan_split(tmp_path / "set", "pictures", "train")
    assert [len(video.frames) for video in scan.videos] == [1] * 6
    assert scan.counts() == ({} if depth else {"no depth folder (depth, depths), used without depth": 1})
    assert all((video.frames[0].depth is not None) == (depth is not None) for video in scan.videos)


def test_a_second_set_of_the_split_is_said_to_be_left_out(pictures, tmp_path):
    for name in ("NJU2K_Traindataset", "NLPR_Traindataset"):
        shutil.copytree(pictures / "train", tmp_path / "set" / name)
    scan = scan_split(tmp_path / "set", "pictures", "train")
    assert len(scan.videos) == 6
    assert [(item.path.name, item.used) for item in scan.irregular] == [("NLPR_Traindataset", False)]
    assert "another place of the split, give it by itself: NJU2K_Traindataset is read" in scan.flaws()[0]


def test_without_a_depth_folder_the_model_is_given_no_depth(pictures):
    shutil.rmtree(pictures / "train" / "depth")
    item = VideoClipDataset(pictures, "pictures", "train", clip_length=1, size_px=64)[0]
    assert item["depth"].abs().max() == 0
    assert item["rgb"].max() > 0


def test_a_picture_is_a_still_clip_where_clips_are_longer(pictures):
    rgb = VideoClipDataset(pictures, "pictures", "train", clip_length=3, size_px=64)[0]["rgb"]
    assert rgb.shape[0] == 3
    assert (rgb[0] == rgb[2]).all()


def test_class_ids_that_stand_alone_in_each_picture_are_refused_for_the_whole_set(pictures):
    for number, path in enumerate(sorted((pictures / "train" / "gt").iterdir()), 1):
        write_png(path, np.full((72, 96), number, np.uint8) * (np.arange(96) > 40).astype(np.uint8))
    scan = scan_split(pictures, "pictures", "train")
    assert not scan.videos
    assert any("masks cannot be understood" in reason for reason in scan.counts())


def test_a_folder_of_something_else_is_told_what_was_looked_for(tmp_path):
    (tmp_path / "train").mkdir()
    with pytest.raises(ConfigError, match=r"DUTS-TR.*with folders rgb\|images.*and gt\|masks"):
        available_splits(tmp_path, "pictures")


def test_the_packaged_model_learns_from_them_without_touching_its_memory(pictures, tmp_path):
    """The command of docs/training.md."""
    said = ["data.layout=pictures", "optim.parts=picture", "data.clip_length=1", "data.batch_size=3"]
    quick = ["run.max_steps=1", "run.tensorboard=false", "run.validate_every_epochs=0"]
    cfg = load_train_config(Path("edge_finetune"), said + quick)
    before = starting_model(cfg).state_dict()
    Trainer(cfg, training_clips(cfg, pictures), tmp_path / "R", ALONE).run()
    changed = {name for name, value in weights(tmp_path / "R").items() if not value.equal(before[name])}
    assert changed
    assert not any(name.startswith(MEMORY_PARTS) for name in changed)
