# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Bags and datasets: lossless there and back, labels, masks added."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
import torch
import yaml

from m4sam_core.build import build_model
from m4sam_core.checkpoint import save_checkpoint
from m4sam_core.config import ModelConfig
from m4sam_core.errors import ConfigError
from m4sam_core.rgbd.bags.frames import Drops, read_frames
from m4sam_core.rgbd.bags.source import BagSource
from m4sam_core.rgbd.bags.topics import choose_topics
from m4sam_core.rgbd.bags.write import ImageBagWriter
from m4sam_core.rgbd.image_files import write_png
from m4sam_training.bags.convert import ConvertConfig, convert_bag
from m4sam_training.bags.export import export_videos, predict_bag
from m4sam_training.data.scan import scan_split
from tests.training.recorded import CFG, FRAMES, assert_same_images, images, record, write_ros1


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return record(tmp_path_factory.mktemp("bags"))


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_round_trip_is_lossless(data, tmp_path, storage):
    report = convert_bag(data / storage / "train_1", "train_1", tmp_path / "out", CFG)
    assert report.videos == {"train/train_1_001": FRAMES}
    assert report.labelled == FRAMES
    assert report.drops == {}
    video = tmp_path / "out" / "train" / "train_1_001"
    assert_same_images(video, data / "D" / "train" / "train_1")
    meta = yaml.safe_load((video / "video.yaml").read_text())
    assert meta["intrinsics"] == yaml.safe_load((data / "D/train/train_1/video.yaml").read_text())["intrinsics"]
    assert meta["fps"] == 15.0
    assert scan_split(tmp_path / "out", "m4sam", "train").videos[0].fps == 15.0


def test_float_depth_is_lossless(tmp_path):
    rng = np.random.default_rng(0)
    depths = [rng.uniform(0.3, 9, (24, 32)).astype(np.float32) for _ in range(3)]
    depths[1][:4] = np.nan
    with ImageBagWriter(tmp_path / "zed") as writer:
        for index, depth in enumerate(depths):
            stamp = 10**18 + index * 50_000_000
            writer.write_image("/zed/rgb/image", rng.integers(0, 255, (24, 32, 4), np.uint8), "bgra8", stamp, "cam")
            writer.write_image("/zed/depth/depth_registered", depth, "32FC1", stamp + 1_000_000, "cam")
    convert_bag(tmp_path / "zed", "zed", tmp_path / "out", CFG)
    files = sorted((tmp_path / "out/train/zed_001/depth").iterdir())
    for file, depth in zip(files, depths, strict=True):
        np.testing.assert_array_equal(cv2.imread(str(file), cv2.IMREAD_UNCHANGED), depth)


def test_compressed_topics_convert(data, tmp_path):
    import struct

    from rosbags.rosbag2 import StoragePlugin, Writer
    from rosbags.typesys import Stores, get_typestore

    types = get_typestore(Stores.ROS2_HUMBLE)
    kind = "sensor_msgs/msg/CompressedImage"
    message, header = types.types[kind], types.types["std_msgs/msg/Header"]
    rgb_topic, depth_topic = "/cam/color/image_raw/compressed", "/cam/aligned_depth/image_raw/compressedDepth"
    stored = data / "D" / "train" / "train_1"
    stems = sorted(path.stem for path in (stored / "depth").iterdir())
    with Writer(tmp_path / "run", version=8, storage_plugin=StoragePlugin.MCAP) as writer:
        topics = {t: writer.add_connection(t, kind, typestore=types) for t in (rgb_topic, depth_topic)}
        for stem in stems:
            time = types.types["builtin_interfaces/msg/Time"](int(stem) // 10**9, int(stem) % 10**9)
            depth = struct.pack("<iff", 0, 0, 0) + (stored / "depth" / f"{stem}.png").read_bytes()
            for topic, text, payload in (
                (rgb_topic, "rgb8; png compressed bgr8", (stored / "rgb" / f"{stem}.png").read_bytes()),
                (depth_topic, "16UC1; compressedDepth png", depth),
            ):
                body = np.frombuffer(payload, np.uint8)
                raw = types.serialize_cdr(message(header(time, "cam"), text, body), kind)
                writer.write(topics[topic], int(stem), raw)
    report = convert_bag(tmp_path / "run", "run", tmp_path / "out", CFG)
    assert (report.topics["rgb"], report.topics["depth"]) == (rgb_topic, depth_topic)
    for name, image in images(tmp_path / "out/train/run_001").items():
        np.testing.assert_array_equal(image, cv2.imread(str(stored / name), -1))
    assert report.videos == {"train/run_001": FRAMES}


def test_a_ros1_bag_converts(data, tmp_path):
    write_ros1(data, tmp_path / "old.bag")
    report = convert_bag(tmp_path / "old.bag", "old", tmp_path / "out", CFG)
    assert report.videos == {"train/old_001": FRAMES}
    assert_same_images(tmp_path / "out/train/old_001", data / "D" / "train" / "train_1")


def test_masks_are_added_to_a_ros1_bag(data, tmp_path, weights):
    write_ros1(data, tmp_path / "old.bag")
    report = predict_bag(tmp_path / "old.bag", tmp_path / "new", str(weights), mask_topic="/m4sam/mask")
    assert report.masks == FRAMES
    with BagSource(tmp_path / "new") as source:
        assert {topic.name: topic.count for topic in source.topics} == {
            "/depth/image": FRAMES,
            "/ground_truth/mask": FRAMES,
            "/m4sam/mask": FRAMES,
            "/rgb/image": FRAMES,
        }
        frames = list(read_frames(source, choose_topics(source, mask="/ground_truth/mask"), Drops()))
    stored = images(data / "D/train/train_1/depth")
    for frame in frames:
        np.testing.assert_array_equal(frame.depth, stored[f"{frame.stamp_ns}.png"])


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("w") / "nano.safetensors"
    save_checkpoint(path, build_model(ModelConfig.preset("nano")), {})
    return path


def test_annotations_win_over_the_topic_and_pseudo_labels_are_marked(data, tmp_path, weights):
    stems = sorted(p.stem for p in (data / "D/train/train_1/mask").iterdir())
    notes = tmp_path / "annotations"
    notes.mkdir()
    ours = np.zeros((72, 96), np.uint8)
    ours[10:20, 10:20] = 255
    write_png(notes / f"{stems[0]}.png", ours)
    write_png(notes / f"{stems[1]}.png", ours[:10])
    write_png(notes / "first.png", ours)
    cfg = ConvertConfig(split="train", mask_topic="", annotations=notes, model=str(weights))
    report = convert_bag(data / "mcap" / "train_1", "a", tmp_path / "out", cfg)
    video = tmp_path / "out/train/a_001"
    np.testing.assert_array_equal(cv2.imread(str(video / "mask" / f"{stems[0]}.png"), 0), ours)
    assert set(report.drops) == {"annotation is not named by a stamp", "annotation of another size than rgb"}
    assert yaml.safe_load((video / "video.yaml").read_text())["labels"] == ["annotation", "pseudo: nano.safetensors"]
    rows = (video / "pseudo_labels.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["stem", *stems[1:]]
    assert all(0 <= float(row.split(",")[1]) <= 1 for row in rows[1:])


def test_pictures_of_nothing_are_no_labels_and_are_noted_in_predictions(tmp_path, weights):
    colours = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    with ImageBagWriter(tmp_path / "bag") as writer:
        for index in range(6):
            covered = index in (2, 3)
            stamp = 10**18 + index * 10**8
            writer.write_image("/rgb/image", np.full_like(colours, 3) if covered else colours, "rgb8", stamp, "cam")
            depth = np.full((48, 64), 0 if covered else 900, np.uint16)
            depth[:20] += 0 if covered else 500
            writer.write_image("/depth/image", depth, "16UC1", stamp, "cam")
    cfg = ConvertConfig(split="train", mask_topic="", model=str(weights))
    report = convert_bag(tmp_path / "bag", "a", tmp_path / "out", cfg)
    assert report.drops["no pseudo label: nothing can be seen"]["count"] == 2
    assert len(list((tmp_path / "out/train/a_001/mask").iterdir())) == 4
    predicted = predict_bag(tmp_path / "bag", tmp_path / "masks", str(weights))
    assert [
        n for note, n in predicted.drops.notes.items() if note.startswith("mask left empty: rgb: nothing can be seen")
    ] == [2]
    assert sum(n for note, n in predicted.drops.notes.items() if note.startswith("masked from rgb alone")) == 2


def test_predict_adds_masks_and_keeps_every_message(data, tmp_path, weights):
    bag, out = data / "mcap" / "train_1", tmp_path / "out"
    report = predict_bag(bag, out, str(weights), mask_topic="/m4sam/mask", storage="sqlite3")
    assert report.masks == FRAMES
    with BagSource(bag) as old, BagSource(out) as new:

        def raw(source):
            return [(c.topic, t, bytes(r)) for c, t, r in source.raw_messages() if c.topic != "/m4sam/mask"]

        assert sorted(raw(old)) == sorted(raw(new))
        stamps = [m.stamp_ns for m in new.messages(["/m4sam/mask"])]
        assert stamps == [m.stamp_ns for m in old.messages(["/rgb/image"])]
        frames = list(read_frames(new, choose_topics(new, mask="/m4sam/mask"), Drops()))
        assert all(frame.mask is not None for frame in frames)
    with pytest.raises(ConfigError, match="nothing is ever overwritten"):
        predict_bag(bag, out, str(weights), mask_topic="/m4sam/mask")
    with pytest.raises(ConfigError, match="choose another --mask-topic"):
        predict_bag(bag, tmp_path / "o2", str(weights), mask_topic="/ground_truth/mask")
    assert {path.name for path in tmp_path.iterdir()} == {"out"}


def test_predict_writes_a_line_of_objects_for_every_mask(data, tmp_path, weights):
    bag, out = data / "mcap" / "train_1", tmp_path / "out"
    report = predict_bag(bag, out, str(weights), mask_topic="/m4sam/mask", objects=True)
    lines = [json.loads(line) for line in (out / "objects.jsonl").read_text().splitlines()]
    assert report.objects == len({item["id"] for line in lines for item in line["objects"]})
    with BagSource(out) as new:
        assert [line["stamp_ns"] for line in lines] == [m.stamp_ns for m in new.messages(["/m4sam/mask"])]


def test_predict_says_no_position_where_depth_shows_nothing(tmp_path, weights):
    with ImageBagWriter(tmp_path / "bag") as writer:
        for index in range(3):
            stamp, rng = 10**18 + index * 50_000_000, np.random.default_rng(0)
            rgb, depth = rng.integers(0, 255, (48, 64, 3), np.uint8), np.full((48, 64), 1500, np.uint16)
            info = {"width": 64, "height": 48, "k": [60.0, 0, 31.5, 0, 60, 23.5, 0, 0, 1]}
            writer.write_image("/cam/rgb", rgb, "rgb8", stamp, "cam")
            writer.write_image("/cam/depth", depth, "16UC1", stamp, "cam")
            writer.write_camera_info("/cam/camera_info", info, stamp, "cam")
    predict_bag(tmp_path / "bag", tmp_path / "out", str(weights), mask_topic="/m", objects=True)
    lines = [json.loads(line) for line in (tmp_path / "out/objects.jsonl").read_text().splitlines()]
    assert all("the same number" in line["note"] for line in lines)
    positions = [item["centroid_m"] for line in lines for item in line["objects"]]
    assert positions
    assert set(positions) == {None}


def test_export_leaves_existing_bags_alone(data, tmp_path):
    scan = scan_split(data / "D", "m4sam", "train")
    assert len(export_videos(scan, tmp_path, "mcap", progress=lambda _: None)) == 1
    assert export_videos(scan, tmp_path, "mcap", progress=lambda _: None) == []
    assert {path.name for path in (tmp_path / "train_1").iterdir()} == {"metadata.yaml", "train_1.mcap"}
    lines = []
    export_videos(scan, tmp_path, "mcap", progress=lines.append)
    assert "exists already" in lines[0]
