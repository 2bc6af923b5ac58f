# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Bags to videos: damage kept small, cuts and splits, nothing written twice or outside."""

from __future__ import annotations

import json
import os
import shutil
import zlib
from dataclasses import replace

import numpy as np
import pytest

from m4sam_core.cli.main import main
from m4sam_core.errors import ConfigError, InputError
from m4sam_core.host.plain_yaml import load_yaml
from m4sam_core.rgbd.bags.find import find_bags
from m4sam_core.rgbd.bags.source import BagSource
from m4sam_core.rgbd.bags.topics import choose_topics
from m4sam_core.rgbd.bags.write import ImageBagWriter
from m4sam_core.rgbd.encodings import image_to_numpy
from m4sam_core.rgbd.image_files import write_png
from m4sam_core.rgbd.masks import read_mask
from m4sam_training.bags.convert import ConvertConfig, convert_bag, split_of
from m4sam_training.bags.jobs import bag_names, convert_bags
from m4sam_training.data.predicted_masks import read_predicted
from tests.training.recorded import CFG, FRAMES, assert_same_images, images, noise_frame, record, write_bag


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return record(tmp_path_factory.mktemp("bags"))


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_a_truncated_bag_keeps_what_came_before_the_cut(data, tmp_path, storage):
    bag = tmp_path / "cut"
    shutil.copytree(data / storage / "train_1", bag)
    file = next(bag.glob("*.mcap" if storage == "mcap" else "*.db3"))
    os.truncate(file, int(file.stat().st_size * 0.7))
    report = convert_bag(bag, "cut", tmp_path / "out", CFG)
    assert 3 <= report.videos["train/cut_001"] < FRAMES
    assert any("truncated; the messages before the cut are used" in line for line in report.damage)
    original = images(data / "D" / "train" / "train_1")
    for name, image in images(tmp_path / "out/train/cut_001").items():
        np.testing.assert_array_equal(image, original[name], err_msg=name)


def test_a_bag_without_metadata_converts(data, tmp_path):
    bag = tmp_path / "killed"
    shutil.copytree(data / "mcap" / "train_1", bag)
    (bag / "metadata.yaml").unlink()
    report = convert_bag(bag, "killed", tmp_path / "out", CFG)
    assert report.videos == {"train/killed_001": FRAMES}
    assert "no metadata.yaml" in report.damage[0]


def test_a_missing_topic_is_named_and_the_other_bags_go_on(data, tmp_path):
    with ImageBagWriter(tmp_path / "in" / "rgb_only") as writer:
        for index in range(3):
            writer.write_image("/rgb/image", np.zeros((24, 32, 3), np.uint8), "rgb8", 10**18 + index, "cam")
    shutil.copytree(data / "mcap" / "train_1", tmp_path / "in" / "good")
    (tmp_path / "in" / "noise.mcap").write_bytes(os.urandom(2000))
    reports = {r.name: r for r in convert_bags(find_bags([tmp_path / "in"]), tmp_path / "out", CFG)}
    assert reports["good"].error is None
    assert "expected one depth topic, got none; give --depth-topic" in reports["rgb_only"].error
    assert "/rgb/image (3)" in reports["rgb_only"].error
    assert "nothing of it could be saved" in reports["noise"].error
    assert main(["bag", "info", str(tmp_path / "in")]) == 1
    assert main(["bag", "to-dataset", str(tmp_path / "in"), "--out", str(tmp_path / "o2"), "--split", "train"]) == 1
    assert (tmp_path / "o2" / "train" / "good_001").is_dir()


def test_the_command_says_when_no_video_is_left_for_validation(data, tmp_path, capsys):
    words = ["bag", "to-dataset", str(data / "mcap"), "--out", str(tmp_path / "o")]
    assert main([*words, "--val-share", "0", "--test-share", "0"]) == 0
    assert "o: train 1, val 0, test 0\nnone for validation" in capsys.readouterr().out
    assert main([*words[:-1], str(tmp_path / "o2"), "--val-share", "1", "--test-share", "0"]) == 0
    assert "none for validation" not in capsys.readouterr().out


def test_frames_without_a_partner_are_counted_by_reason(tmp_path):
    rng = np.random.default_rng(0)
    frames = [noise_frame(rng, index) for index in range(12)]
    frames[4] = (*frames[4][:2], None)
    frames[8] = (*frames[8][:2], np.zeros((10, 10), np.uint16))
    write_bag(tmp_path / "b", frames, depth_offset_ns=4_000_000)
    report = convert_bag(tmp_path / "b", "b", tmp_path / "out", ConvertConfig(split="train", cut="none"))
    assert report.videos == {"train/b_001": 10}
    assert {reason: entry["count"] for reason, entry in report.drops.items()} == {
        "rgb without a pair: no_depth": 1,
        "depth of another size than rgb": 1,
    }
    assert "record the aligned depth topic" in report.drops["depth of another size than rgb"]["examples"][0]


def test_cuts_at_gaps_and_by_time(tmp_path):
    rng = np.random.default_rng(0)
    rgb, depth = noise_frame(rng, 0)[1:]
    frames = [noise_frame(rng, index, rgb=rgb, depth=depth) for index in [*range(30), *range(130, 150)]]
    write_bag(tmp_path / "b", frames)
    cut = convert_bag(tmp_path / "b", "b", tmp_path / "gap", ConvertConfig(split="train", cut="scene"))
    assert cut.videos == {"train/b_001": 30, "train/b_002": 20}
    timed = ConvertConfig(split="train", cut="time", segment_s=0.5)
    assert convert_bag(tmp_path / "b", "b", tmp_path / "time", timed).videos == {
        "train/b_001": 16,
        "train/b_002": 14,
        "train/b_003": 16,
        "train/b_004": 4,
    }


def test_splits_are_stable_and_near_their_shares():
    cfg = ConvertConfig(val_share=0.2, test_share=0.1)
    splits = [split_of(f"run_{n:04d}_001", cfg) for n in range(2000)]
    assert splits == [split_of(f"run_{n:04d}_001", cfg) for n in range(2000)]
    assert splits.count("test") / 2000 == pytest.approx(0.1, abs=0.03)
    assert splits.count("val") / 2000 == pytest.approx(0.2, abs=0.03)


def test_a_recording_goes_where_its_first_video_went_before_recordings_stayed_whole():
    places = {name: zlib.crc32(f"{name}_001".encode()) / 2**32 for name in ("bag1g", "desk", "kitchen", "run_7")}
    wanted = {name: "test" if place < 0.1 else "val" if place < 0.2 else "train" for name, place in places.items()}
    assert {name: split_of(name, ConvertConfig()) for name in places} == wanted
    assert wanted["bag1g"] == "val"


def test_a_second_run_changes_nothing_and_another_setting_is_refused(data, tmp_path):
    bag, out = data / "mcap" / "train_1", tmp_path / "out"
    convert_bag(bag, "a", out, CFG)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.png")}
    again = convert_bag(bag, "a", out, CFG)
    assert again.resumed
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.png")} == before
    with pytest.raises(ConfigError, match="expected the same bag and settings as before"):
        convert_bag(bag, "a", out, ConvertConfig(split="train", every=2))
    (out / ".bags" / "a.json").unlink()
    with pytest.raises(ConfigError, match="got one of another bag or setting"):
        convert_bag(bag, "a", out, CFG)


def test_a_commit_that_was_killed_is_completed(data, tmp_path):
    rng = np.random.default_rng(0)
    write_bag(tmp_path / "b", [noise_frame(rng, index) for index in [*range(5), *range(100, 105)]])
    cfg = ConvertConfig(split="train", cut="none")
    convert_bag(tmp_path / "b", "b", tmp_path / "whole", cfg)
    shutil.copytree(tmp_path / "whole", tmp_path / "half")
    shutil.rmtree(tmp_path / "half/train/b_002")
    marker = tmp_path / "half/.bags/b.json"
    key = json.loads(marker.read_text())["key"]
    marker.with_suffix(".journal").write_text(json.dumps({"key": key, "videos": ["train/b_001", "train/b_002"]}))
    marker.unlink()
    other = ConvertConfig(split="train", cut="none", every=2)
    with pytest.raises(ConfigError, match="expected the same bag and settings"):
        convert_bag(tmp_path / "b", "b", tmp_path / "half", other)
    convert_bag(tmp_path / "b", "b", tmp_path / "half", cfg)
    assert_same_images(tmp_path / "half", tmp_path / "whole")
    assert {p.name for p in (tmp_path / "half/.bags").iterdir()} == {"b.json", "b.lock"}


@pytest.mark.parametrize("name", ["../evil", "a/b", "..", "", "x\n"])
def test_names_that_leave_the_folder_are_refused(data, tmp_path, name):
    with pytest.raises(ConfigError, match="expected a plain file name"):
        convert_bag(data / "mcap" / "train_1", name, tmp_path / "out", CFG)
    assert not (tmp_path / "evil_001").exists()


def test_hostile_topics_are_never_used(tmp_path, capsys):
    rng = np.random.default_rng(0)
    with ImageBagWriter(tmp_path / "b") as writer:
        for topic in ("/cam/color", "../../depth"):
            for index in range(3):
                stamp, rgb, depth = noise_frame(rng, index)
                is_depth = "depth" in topic
                writer.write_image(topic, depth if is_depth else rgb, "16UC1" if is_depth else "rgb8", stamp, "c")
    assert main(["bag", "info", str(tmp_path / "b")]) == 0
    assert "no ROS name, ignored" in capsys.readouterr().out
    with BagSource(tmp_path / "b") as source:
        with pytest.raises(InputError, match="expected one depth topic, got none"):
            choose_topics(source)
        with pytest.raises(InputError, match="topic: expected a ROS name"):
            choose_topics(source, depth="../../depth")


def test_bag_names_are_plain_and_do_not_depend_on_order(tmp_path):
    paths = [tmp_path / "a" / "run.bag", tmp_path / "b" / "run.bag", tmp_path / "we ird;name"]
    assert bag_names(paths) == ["a_run", "b_run", "we_ird_name"]
    assert bag_names(paths[::-1]) == ["we_ird_name", "b_run", "a_run"]
    with pytest.raises(ConfigError, match="expected different names"):
        bag_names([tmp_path / "x" / "a" / "run.bag", tmp_path / "y" / "a" / "run.bag"])


@pytest.fixture(scope="module")
def predicted(data, tmp_path_factory):
    """A recording whose masks are the node's."""
    return predict_copy(data / "mcap" / "train_1", tmp_path_factory.mktemp("node") / "run")


def predict_copy(bag, out):
    with BagSource(bag) as source, ImageBagWriter(out) as writer:
        for topic, name in (
            ("/rgb/image", "/rgb/image"),
            ("/depth/image", "/depth/image"),
            ("/ground_truth/mask", "/front/saliency/mask"),
        ):
            for message in source.messages([topic]):
                image = image_to_numpy(message.decoded)
                writer.write_image(name, image, message.decoded.encoding, message.stamp_ns, "cam")
    return out


def test_masks_of_the_node_are_predictions_not_truth(data, predicted, tmp_path):
    convert_bag(predicted, "node", tmp_path / "D", CFG)
    noted = load_yaml(tmp_path / "D" / "train" / "node_001" / "video.yaml")["labels"]
    assert noted == ["pseudo: topic /front/saliency/mask"]
    convert_bag(data / "mcap" / "train_1", "drawn", tmp_path / "D", CFG)
    assert load_yaml(tmp_path / "D" / "train" / "drawn_001" / "video.yaml")["labels"] == ["topic"]


def test_masks_drawn_later_reach_the_dataset_and_win_over_predictions(data, predicted, tmp_path):
    stems = sorted(p.stem for p in (data / "D/train/train_1/mask").iterdir())
    cfg = replace(CFG, annotations=tmp_path / "drawn")
    (tmp_path / "drawn").mkdir()
    first = convert_bag(predicted, "node", tmp_path / "D", cfg)
    video = tmp_path / "D" / "train" / "node_001"
    mask = np.zeros_like(read_mask(video / "mask" / f"{stems[0]}.png"))
    mask[2:5, 2:5] = 255
    write_png(tmp_path / "drawn" / f"{stems[0]}.png", mask)
    write_png(tmp_path / "drawn" / f"{stems[1]}.png", mask[:-1])
    again = convert_bag(predicted, "node", tmp_path / "D", cfg)
    assert (again.resumed, again.late_masks, again.labelled) == (True, 1, first.labelled)
    assert "annotation of another size than rgb" in again.drops
    np.testing.assert_array_equal(read_mask(video / "mask" / f"{stems[0]}.png"), mask)
    assert load_yaml(video / "video.yaml")["labels"] == ["annotation", "pseudo: topic /front/saliency/mask"]
    assert convert_bag(predicted, "node", tmp_path / "D", cfg).late_masks == 0


def test_a_prediction_that_somebody_hands_in_as_drawn_is_drawn(data, predicted, tmp_path):
    """Also after a run that was stopped between the mask and the note that it is one."""
    cfg = replace(CFG, annotations=tmp_path / "drawn")
    (tmp_path / "drawn").mkdir()
    convert_bag(predicted, "node", tmp_path / "D", cfg)
    video = tmp_path / "D" / "train" / "node_001"
    stem = next(iter(read_predicted(video)))
    shutil.copy(video / "mask" / f"{stem}.png", tmp_path / "drawn")
    assert convert_bag(predicted, "node", tmp_path / "D", cfg).late_masks == 1
    assert stem not in read_predicted(video)
    assert convert_bag(predicted, "node", tmp_path / "D", cfg).late_masks == 0


def test_a_confidence_that_nothing_has_is_refused(data, tmp_path, capsys):
    words = [
        "bag",
        "to-dataset",
        str(data / "mcap" / "train_1"),
        "--out",
        str(tmp_path / "D"),
        "--min-confidence",
        "0.9",
    ]
    assert main(words) == 2
    assert "--min-confidence: expected --model with it" in capsys.readouterr().err


def test_a_conversion_that_leaves_training_empty_says_so(data, tmp_path, capsys):
    shutil.copytree(data / "mcap" / "train_1", tmp_path / "bag1g")  # hashed into val
    assert main(["bag", "to-dataset", str(tmp_path / "bag1g"), "--out", str(tmp_path / "D")]) == 0
    assert "none for training" in capsys.readouterr().out
