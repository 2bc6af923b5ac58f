"""Bags and datasets: lossless there and back, damage kept small, nothing written twice or outside."""

from __future__ import annotations

import json
import os
import shutil

import cv2
import numpy as np
import pytest
import torch
import yaml

from m4sam_core.build import build_model
from m4sam_core.checkpoint import save_checkpoint
from m4sam_core.config import ModelConfig
from m4sam_core.errors import ConfigError, InputError
from m4sam_training.bag_convert import ConvertConfig, convert_bag, split_of
from m4sam_training.bag_export import export_videos, predict_bag
from m4sam_training.bag_frames import Drops, choose_topics, read_frames
from m4sam_training.bag_jobs import bag_names, convert_bags
from m4sam_training.bag_source import BagSource, find_bags
from m4sam_training.bag_write import ImageBagWriter
from m4sam_training.cli.main import main
from m4sam_training.generate import generate_dataset
from m4sam_training.image_files import write_png
from m4sam_training.scan import scan_split

CFG = ConvertConfig(split="train")
FRAMES = 6


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("bags")
    generate_dataset(root / "D", "m4sam", videos=1, frames=FRAMES, height=72, width=96)
    meta = root / "D" / "train" / "train_1" / "video.yaml"
    k = [90.0, 0.0, 48.0, 0.0, 90.0, 36.0, 0.0, 0.0, 1.0]
    intrinsics = {"width": 96, "height": 72, "k": k, "distortion_model": "plumb_bob", "d": [0.0] * 5}
    meta.write_text(yaml.safe_dump({**yaml.safe_load(meta.read_text()), "intrinsics": intrinsics}))
    scan = scan_split(root / "D", "m4sam", "train")
    for storage in ("mcap", "sqlite3"):
        export_videos(scan, root / storage, storage, progress=lambda _: None)
    return root


def images(folder):
    return {p.relative_to(folder).as_posix(): cv2.imread(str(p), cv2.IMREAD_UNCHANGED) for p in folder.rglob("*.png")}


def assert_same_images(left, right):
    ours, theirs = images(left), images(right)
    assert ours.keys() == theirs.keys() != set()
    for name, image in ours.items():
        assert image.dtype == theirs[name].dtype
        np.testing.assert_array_equal(image, theirs[name], err_msg=name)


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


def write_ros1(data, path):
    """The exported bag as a ROS 1 bag."""
    from rosbags.rosbag1 import Writer
    from rosbags.typesys import Stores, get_typestore

    types = get_typestore(Stores.ROS1_NOETIC)
    header, time = types.types["std_msgs/msg/Header"], types.types["builtin_interfaces/msg/Time"]
    image = types.types["sensor_msgs/msg/Image"]
    with BagSource(data / "mcap" / "train_1") as source, Writer(path) as writer:
        connections = {}
        for message in source.messages(["/rgb/image", "/depth/image", "/saliency/mask"]):
            if message.topic not in connections:
                connections[message.topic] = writer.add_connection(message.topic, message.msgtype, typestore=types)
            fields = {name: getattr(message.decoded, name) for name in message.decoded.__dataclass_fields__}
            stamp = time(message.stamp_ns // 10**9, message.stamp_ns % 10**9)
            fields["header"] = header(seq=0, stamp=stamp, frame_id="cam")
            fields.pop("__msgtype__", None)
            raw = types.serialize_ros1(image(**fields), message.msgtype)
            writer.write(connections[message.topic], message.log_ns, raw)


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
            "/m4sam/mask": FRAMES,
            "/rgb/image": FRAMES,
            "/saliency/mask": FRAMES,
        }
        frames = list(read_frames(source, choose_topics(source, mask="/saliency/mask"), Drops()))
    stored = images(data / "D/train/train_1/depth")
    for frame in frames:
        np.testing.assert_array_equal(frame.depth, stored[f"{frame.stamp_ns}.png"])


# ------------------------------------------------------------------------------------------- damage


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


def write_bag(path, frames, depth_offset_ns=0):
    """frames: (stamp_ns, rgb, depth or None)."""
    with ImageBagWriter(path) as writer:
        for stamp, rgb, depth in frames:
            writer.write_image("/cam/color", rgb, "bgr8", stamp, "cam")
            if depth is not None:
                writer.write_image("/cam/depth", depth, "16UC1", stamp + depth_offset_ns, "cam")


def noise_frame(rng, index, **changes):
    rgb, depth = rng.integers(0, 255, (24, 32, 3), np.uint8), rng.integers(500, 4000, (24, 32)).astype(np.uint16)
    frame = {"stamp": 10**18 + index * 33_000_000, "rgb": rgb, "depth": depth, **changes}
    return frame["stamp"], frame["rgb"], frame["depth"]


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


# ----------------------------------------------------------------------------- once, and only inside


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


# ------------------------------------------------------------------------------------------- labels


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
        predict_bag(bag, tmp_path / "o2", str(weights))
    assert {path.name for path in tmp_path.iterdir()} == {"out"}


def test_export_leaves_existing_bags_alone(data, tmp_path):
    scan = scan_split(data / "D", "m4sam", "train")
    assert len(export_videos(scan, tmp_path, "mcap", progress=lambda _: None)) == 1
    assert export_videos(scan, tmp_path, "mcap", progress=lambda _: None) == []
    assert {path.name for path in (tmp_path / "train_1").iterdir()} == {"metadata.yaml", "train_1.mcap"}
    lines = []
    export_videos(scan, tmp_path, "mcap", progress=lines.append)
    assert "exists already" in lines[0]
