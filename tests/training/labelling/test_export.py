# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Out to labelling tools: the doubtful first, each mask decoded once, nothing overwritten."""

from __future__ import annotations

import csv
import json
import sys
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from m4sam_core.cli.main import main
from m4sam_core.errors import ConfigError, InputError
from m4sam_core.rgbd.masks import read_mask
from m4sam_training.data.scan import scan_split
from m4sam_training.labelling.exchange import FILES, read_file
from tests.training.labelling.tools import export, masks_of

pytest.importorskip("pycocotools")


def test_a_mask_is_decoded_once_for_all_tools(data, tmp_path, monkeypatch):
    decoded = []
    monkeypatch.setattr(
        "m4sam_training.labelling.frames.read_mask", lambda path: decoded.append(path) or read_mask(path)
    )
    export(data, tmp_path / "all", "--frames", "all")
    assert all((tmp_path / "all" / name).stat().st_size > 0 for name in FILES.values())
    assert sorted(decoded) == sorted((data / "train/train_1/mask").iterdir())


def test_the_doubtful_come_first_and_say_so(data, tmp_path):
    frames = export(data, tmp_path / "todo")
    assert [frame.confidence for frame in frames] == [0.35, 0.62, 0.91, None, *[None] * 7]
    assert [frame.source for frame in frames] == [*["pseudo: edge"] * 4, *["none"] * 7]
    assert sorted(path.name for path in (tmp_path / "todo/images").iterdir()) == [frame.name for frame in frames]
    coco = json.loads((tmp_path / "todo/coco.json").read_text())
    assert [entry.get("score") for entry in coco["annotations"]] == [0.35, 0.62, 0.91, None]
    tasks = json.loads((tmp_path / "todo/label_studio.json").read_text())
    assert [task["predictions"][0].get("score") for task in tasks[:4]] == [0.35, 0.62, 0.91, None]
    assert tasks[0]["data"]["image"] == f"/data/local-files/?d=todo/images/{frames[0].name}"
    xml = ET.parse(tmp_path / "todo/cvat.xml").getroot()
    assert [image.get("name") for image in xml.iter("image")] == [frame.name for frame in frames]
    assert [value.text for value in xml.iter("attribute")] == ["0.3500", "0.6200", "0.9100"]
    few = export(data, tmp_path / "few", "--limit", "2", "--format", "coco")
    assert [frame.stem for frame in few] == [frame.stem for frame in frames[:2]]
    assert {path.name for path in (tmp_path / "few").iterdir()} == {"images", "frames.csv", "coco.json"}
    assert [frame.source for frame in export(data, tmp_path / "drawn", "--frames", "drawn")] == ["drawn"]
    assert len(export(data, tmp_path / "all", "--frames", "all")) == 12


def test_an_image_that_tools_would_turn_is_refused_before_anybody_draws(data, tmp_path, capsys):
    path = min((data / "train/train_1/rgb").iterdir())
    with Image.open(path) as image:
        exif = Image.Exif()
        exif[0x0112] = 3
        image.save(path, exif=exif)
    words = ["label", "export", str(data), "--out", str(tmp_path / "todo"), "--split", "train", "--frames", "all"]
    assert main(words) == 2
    assert f"{path}: expected an image as it is stored, got an EXIF orientation" in capsys.readouterr().err
    assert not (tmp_path / "todo").exists()


def test_nothing_is_overwritten_and_nothing_to_do_is_said(data, tmp_path):
    export(data, tmp_path / "todo", "--format", "cvat")
    words = ["label", "export", str(data), "--out"]
    assert main([*words, str(tmp_path / "todo")]) == 2
    assert main([*words, str(tmp_path / "new"), "--format", "yolo"]) == 2
    with pytest.raises(InputError, match=r"with a predicted mask, got \d+ with a drawn mask; --frames all"):
        from m4sam_training.labelling.frames import choose_frames

        choose_frames([scan_split(data, "m4sam", "val")], "predicted")
    assert not (tmp_path / "new").exists()
    with (tmp_path / "todo/frames.csv").open() as file:
        assert next(csv.reader(file))[:4] == ["name", "split", "video", "stem"]


def test_without_pycocotools_one_line_says_what_to_install(data, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    with pytest.raises(ConfigError, match="pip install pycocotools"):
        from m4sam_training.labelling.coco import CocoWriter

        CocoWriter()


def test_masks_of_any_format_are_exported_and_videos_that_are_left_out_are_told(data, tmp_path, capsys):
    before = masks_of(data)
    for path, mask in before.items():
        Image.fromarray(mask).save(path.with_suffix(".bmp"))
        path.unlink()
    (data / "train/train_2/rgb").rename(data / "train/train_2/pictures")
    frames = export(data, tmp_path / "todo", "--frames", "all")
    assert "left out (1)" in (told := capsys.readouterr().err)
    assert "train_2: video without folder: rgb" in told
    kept = read_file(tmp_path / "todo/coco.json", ["salient"]).images
    for frame in frames:
        mask = before.get(frame.mask_path(data))
        assert kept[frame.name].mask.any() == (mask is not None)
        assert mask is None or np.array_equal(kept[frame.name].mask, mask)
