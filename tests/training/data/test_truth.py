# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""What is judged by is truth: predictions are told apart, recordings are not torn, damage inside files is found."""

from __future__ import annotations

import io
import json
import shutil
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from m4sam_core.build import build_model
from m4sam_core.cli.main import main
from m4sam_core.config import ModelConfig
from m4sam_core.host.plain_yaml import load_yaml
from m4sam_core.pipeline import SaliencyPipeline
from m4sam_core.rgbd.bags.source import BagSource
from m4sam_core.rgbd.bags.write import ImageBagWriter
from m4sam_core.rgbd.encodings import image_to_numpy
from m4sam_core.rgbd.image_files import read_rgb, write_png
from m4sam_core.rgbd.masks import read_mask
from m4sam_training.bags.convert import convert_bag
from m4sam_training.bags.export import PREDICTED_TOPIC, TRUTH_TOPIC, export_videos
from m4sam_training.data.check import check_dataset
from m4sam_training.data.generate import generate_dataset
from m4sam_training.data.jpeg import jpeg_damage
from m4sam_training.data.predicted_masks import PredictedMask, read_predicted, write_predicted
from m4sam_training.data.scan import scan_split
from m4sam_training.eval.predict_dataset import PredictConfig, predict_scan
from tests.training.recorded import CFG, FRAMES, noise_frame, record, write_bag


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return record(tmp_path_factory.mktemp("bags"))


@pytest.fixture(scope="module")
def node_bag(data, tmp_path_factory):
    """A recording whose masks are the node's."""
    out = tmp_path_factory.mktemp("node") / "run"
    names = {"/rgb/image": "/rgb/image", "/depth/image": "/depth/image", "/ground_truth/mask": "/saliency/mask"}
    with BagSource(data / "mcap" / "train_1") as source, ImageBagWriter(out) as writer:
        for message in source.messages(list(names)):
            image = image_to_numpy(message.decoded)
            writer.write_image(names[message.topic], image, message.decoded.encoding, message.stamp_ns, "cam")
    return out


def drawn_over(video, folder, count):
    """Annotations for the first frames of a video."""
    folder.mkdir(exist_ok=True)
    for path in sorted((video / "mask").iterdir())[:count]:
        mask = np.zeros_like(read_mask(path))
        mask[10:30, 20:50] = 255
        write_png(folder / path.name, mask)
    return folder


def test_every_predicted_mask_is_known_until_it_is_drawn_over(node_bag, tmp_path):
    cfg = replace(CFG, annotations=tmp_path / "drawn")
    (tmp_path / "drawn").mkdir()
    convert_bag(node_bag, "run", tmp_path / "D", cfg)
    video = tmp_path / "D/train/run_001"
    assert set(read_predicted(video).values()) == {PredictedMask("pseudo: topic /saliency/mask")}
    scan = scan_split(tmp_path / "D", "m4sam", "train")
    assert (scan.predicted_count, scan.frame_count) == (FRAMES, FRAMES)
    assert scan.drawn().videos == []
    drawn_over(video, tmp_path / "drawn", 2)
    assert convert_bag(node_bag, "run", tmp_path / "D", cfg).late_masks == 2
    scan = scan_split(tmp_path / "D", "m4sam", "train")
    assert (scan.predicted_count, scan.drawn().frame_count) == (FRAMES - 2, 2)
    assert [frame.predicted for frame in scan.videos[0].annotated] == [False, False, *[True] * (FRAMES - 2)]
    assert "masks are predictions, not ground truth: 4 of 6, pseudo: topic /saliency/mask" in scan.flaws()[0]
    drawn_over(video, tmp_path / "drawn", FRAMES)
    convert_bag(node_bag, "run", tmp_path / "D", cfg)
    assert load_yaml(video / "video.yaml")["labels"] == ["annotation"]
    assert not (video / "pseudo_labels.csv").exists()
    assert scan_split(tmp_path / "D", "m4sam", "train").warning() is None


def test_a_video_converted_before_topics_had_rows_is_told_by_its_metadata(node_bag, tmp_path):
    cfg = replace(CFG, annotations=tmp_path / "drawn")
    (tmp_path / "drawn").mkdir()
    convert_bag(node_bag, "run", tmp_path / "D", cfg)
    video = tmp_path / "D/train/run_001"
    (video / "pseudo_labels.csv").unlink()
    assert scan_split(tmp_path / "D", "m4sam", "train").predicted_count == FRAMES
    drawn_over(video, tmp_path / "drawn", 1)
    convert_bag(node_bag, "run", tmp_path / "D", cfg)
    assert scan_split(tmp_path / "D", "m4sam", "train").predicted_count == FRAMES - 1


def test_a_damaged_list_of_predictions_is_said(node_bag, tmp_path):
    convert_bag(node_bag, "run", tmp_path / "D", CFG)
    (tmp_path / "D/train/run_001/pseudo_labels.csv").write_text("a,b\n1,2,3\n")
    assert "masks may be predictions" in scan_split(tmp_path / "D", "m4sam", "train").flaws()[0]


def test_scores_on_predictions_come_with_a_warning(node_bag, tmp_path, capsys):
    convert_bag(node_bag, "run", tmp_path / "D", CFG)
    shutil.copytree(tmp_path / "D/train/run_001/mask", tmp_path / "masks/run_001")
    words = ["eval", "--dataset", "m4sam", "--data", str(tmp_path / "D"), "--split", "train"]
    words += ["--masks", str(tmp_path / "masks")]
    assert main([*words, "--json", str(tmp_path / "s.json")]) == 0
    assert f"WARNING: {FRAMES} of {FRAMES} masks are a model's predictions" in capsys.readouterr().out
    assert json.loads((tmp_path / "s.json").read_text())["predicted_masks"] == FRAMES
    assert main([*words, "--predicted-masks", "skip"]) == 2
    video = tmp_path / "D/train/run_001"
    write_predicted(video, dict(list(read_predicted(video).items())[2:]))
    meta = (video / "video.yaml").read_text()
    (video / "video.yaml").write_text(meta.replace("labels:\n", "labels:\n- annotation\n"))
    assert main([*words, "--predicted-masks", "skip", "--json", str(tmp_path / "t.json")]) == 0
    assert json.loads((tmp_path / "t.json").read_text())["frames"] == 2
    assert "WARNING" not in capsys.readouterr().out


def test_predictions_stay_predictions_through_a_bag(node_bag, tmp_path):
    convert_bag(node_bag, "run", tmp_path / "D", CFG)
    export_videos(scan_split(tmp_path / "D", "m4sam", "train"), tmp_path / "bags", progress=lambda _: None)
    with BagSource(tmp_path / "bags/run_001") as source:
        names = {topic.name for topic in source.topics}
    assert PREDICTED_TOPIC in names
    assert TRUTH_TOPIC not in names
    convert_bag(tmp_path / "bags/run_001", "again", tmp_path / "E", CFG)
    assert scan_split(tmp_path / "E", "m4sam", "train").predicted_count == FRAMES


def test_videos_of_one_recording_are_in_one_split_and_torn_ones_are_noted(tmp_path, capsys):
    rng = np.random.default_rng(0)
    for name in ("monday", "tuesday", "friday", "run7"):
        frames = [noise_frame(rng, 200 * part + index) for part in range(6) for index in range(3)]
        write_bag(tmp_path / "bags" / name, frames)
    words = ["bag", "to-dataset", str(tmp_path / "bags"), "--out", str(tmp_path / "D"), "--cut", "none"]
    assert main([*words, "--val-share", "0.3", "--test-share", "0.3"]) == 0
    told = capsys.readouterr().out
    homes = {}
    for path in (tmp_path / "D").glob("*/*/video.yaml"):
        homes.setdefault(load_yaml(path)["recording"], []).append(path.parts[-3])
    assert {name: len(places) for name, places in homes.items()} == dict.fromkeys(
        ("monday", "tuesday", "friday", "run7"), 6
    )
    assert all(len(set(places)) == 1 for places in homes.values())
    for split, what in (("train", "training"), ("val", "validation"), ("test", "testing")):
        assert (f"none for {what}" in told) == (not any(split in places for places in homes.values()))
    first = next((tmp_path / "D").glob("*/monday_001"))
    here = first.parent.name
    elsewhere = tmp_path / "D" / ("val" if here != "val" else "train") / first.name
    elsewhere.parent.mkdir(exist_ok=True)
    for path in (tmp_path / "D").glob("*/*/rgb"):  # the reader leaves out videos without any mask
        (path.parent / "mask").mkdir(exist_ok=True)
        write_png(path.parent / "mask" / next(path.iterdir()).name, np.eye(24, 32, dtype=np.uint8) * 255)
    assert not [
        i for report in check_dataset(tmp_path / "D", "m4sam") for i in report.irregular if "several" in i.reason
    ]
    first.rename(elsewhere)
    torn = [i for report in check_dataset(tmp_path / "D", "m4sam") for i in report.irregular if "several" in i.reason]
    assert {item.path.name for item in torn} == {f"monday_{number:03d}" for number in range(1, 7)}
    assert all("recording is in several splits: monday in" in item.reason for item in torn)


def test_a_later_run_counts_what_earlier_ones_left(data, tmp_path, capsys):
    words = ["bag", "to-dataset", "--out", str(tmp_path / "D"), "--val-share", "0", "--test-share", "0"]
    shutil.copytree(data / "mcap/train_1", tmp_path / "one")
    shutil.copytree(data / "mcap/train_1", tmp_path / "two")
    assert main([*words, str(tmp_path / "one")]) == 0
    assert "none for validation" in capsys.readouterr().out
    words = ["bag", "to-dataset", "--out", str(tmp_path / "D"), "--val-share", "1", "--test-share", "0"]
    assert main([*words, str(tmp_path / "two")]) == 0
    told = capsys.readouterr().out
    assert "train 1, val 1, test 0" in told
    assert "none for testing" in told
    assert "none for validation" not in told


@pytest.mark.parametrize("layout", ["m4sam", "dvisal"])
def test_a_stream_sees_every_frame_at_its_time_and_is_scored_where_there_is_truth(tmp_path, monkeypatch, layout):
    generate_dataset(tmp_path / "D", layout, videos=1, frames=7, height=72, width=96)
    video = next((tmp_path / "D").rglob("train_1"))
    if layout == "m4sam":
        for path in sorted((video / "mask").iterdir())[1:6]:
            path.unlink()
        for folder in ("rgb", "depth"):  # a frame that was lost: time goes on
            sorted((video / folder).iterdir())[3].unlink()
    scan = scan_split(tmp_path / "D", layout, "train")
    seen = []
    whole = SaliencyPipeline.process

    def process(self, rgb, depth, stamp):
        seen.append((stamp, rgb))
        return whole(self, rgb, depth, stamp)

    monkeypatch.setattr(SaliencyPipeline, "process", process)
    torch.manual_seed(0)
    model = build_model(ModelConfig.preset("nano")).eval()
    items = list(predict_scan(model, scan, PredictConfig(mode="stream", clip_length=3)))
    frames = scan.videos[0].frames
    assert [item.frame for item in items] == [frame for frame in frames if frame.mask is not None]
    assert len(items) < len(frames) == len(seen)
    for (_, rgb), frame in zip(seen, frames, strict=True):
        np.testing.assert_array_equal(rgb, read_rgb(frame.rgb))
    times = [index / 15 for index in (0, 1, 2, 4, 5, 6)] if layout == "m4sam" else [index / 25 for index in range(7)]
    np.testing.assert_allclose([stamp for stamp, _ in seen], times, atol=1e-6)
    seen.clear()
    list(predict_scan(model, scan, PredictConfig(mode="clip")))
    assert seen == []


def jpeg(**options):
    rng = np.random.default_rng(0)
    picture = np.kron(rng.integers(0, 255, (18, 24, 3), np.uint8), np.ones((8, 8, 1), np.uint8))
    data = io.BytesIO()
    Image.fromarray(picture).save(data, "JPEG", quality=92, **options)
    return data.getvalue()


DAMAGE = {
    "cut and ended": lambda data: data[: len(data) // 2] + b"\xff\xd9",
    "zeroed block": lambda data: data[: len(data) // 2] + bytes(2048) + data[len(data) // 2 + 2048 :],
    "hole": lambda data: data[: len(data) // 2] + data[len(data) // 2 + 512 :],
    "noise": lambda data: (
        data[: len(data) // 2]
        + np.random.default_rng(1).integers(0, 255, 1024, np.uint8).tobytes()
        + data[len(data) // 2 + 1024 :]
    ),
}


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_rows": 1}], ids=str)
def test_damage_inside_a_jpeg_is_found_though_its_decoder_says_nothing(tmp_path, options):
    pytest.importorskip("simplejpeg")
    whole, path = jpeg(**options), tmp_path / "f.jpg"
    path.write_bytes(whole)
    assert jpeg_damage(path) is None
    for name, damage in DAMAGE.items():
        path.write_bytes(damage(whole))
        assert jpeg_damage(path), name
        if name in ("cut and ended", "zeroed block"):
            assert read_rgb(path).shape == (144, 192, 3)  # the decoder is silent


def test_check_names_the_damaged_jpeg(tmp_path, monkeypatch, capsys):
    pytest.importorskip("simplejpeg")
    generate_dataset(tmp_path / "D", "rdvs", videos=1, frames=3, height=72, width=96)
    path = sorted((tmp_path / "D/RDVS/train/train_1/rgb").iterdir())[1]
    path.write_bytes(DAMAGE["cut and ended"](path.read_bytes()))
    words = ["dataset", "check", "--layout", "rdvs", str(tmp_path / "D")]
    assert main(words) == 0
    assert f"used: {path}: jpeg is damaged inside, its decoder makes up the rest: premature end" in (
        capsys.readouterr().out
    )
    monkeypatch.setitem(sys.modules, "simplejpeg", None)
    assert main(words) == 0
    told = capsys.readouterr().out
    assert "6 JPEG files were not searched for damage inside: simplejpeg: expected" in told
    assert "pip install simplejpeg" in told


def test_a_video_that_is_in_two_splits_is_said(tmp_path):
    generate_dataset(tmp_path / "D", "m4sam", videos=2, frames=3, height=64, width=64)
    shutil.copytree(tmp_path / "D" / "train" / "train_1", tmp_path / "D" / "test" / "another_name")
    told = {
        item.path.name: item.reason for report in check_dataset(tmp_path / "D", "m4sam") for item in report.irregular
    }
    assert told == {"another_name": "video shows the same pictures as another one: train/train_1"}
