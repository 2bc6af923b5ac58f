# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Recordings as people have them, into datasets, into bags with masks, and back."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
import torch

from m4sam_core.build import build_model
from m4sam_core.checkpoint import save_checkpoint
from m4sam_core.cli.main import main
from m4sam_core.config import ModelConfig
from m4sam_core.errors import ConfigError, InputError
from m4sam_core.rgbd.bags.source import BagSource
from m4sam_core.rgbd.bags.write import ImageBagWriter
from m4sam_training.bags.convert import ConvertConfig, convert_bag
from m4sam_training.bags.export import export_videos, predict_bag
from m4sam_training.data.scan import scan_split
from tests.core.rgbd.bags.recordings import DEPTH, IMAGE, RGB, ROS2, T0, frames_rows, humble_db3, image, write_metadata
from tests.training.recorded import CFG

SIZE = (24, 32)
STEP_NS = 33_333_333


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("w") / "nano.safetensors"
    save_checkpoint(path, build_model(ModelConfig.preset("nano")), {})
    return path


def pictures(index):
    rng = np.random.default_rng(5)
    rgb = rng.integers(0, 255, (*SIZE, 3), np.uint8)
    rgb[0, 0] = index
    return rgb, rng.integers(800, 3000, SIZE).astype(np.uint16)


def write(path, start_ns=T0, frames=6, depth=lambda z: (z, "16UC1"), mask=None, depth_frame="cam"):
    with ImageBagWriter(path) as writer:
        for index in range(frames):
            stamp = start_ns + index * STEP_NS
            rgb, z = pictures(index)
            writer.write_image("/c/color", rgb, "rgb8", stamp, "cam")
            values, encoding = depth(z)
            writer.write_image("/c/depth", values, encoding, stamp, depth_frame)
            if mask is not None:
                values, encoding = mask(index)
                writer.write_image("/seg/mask", values, encoding, stamp, "cam", stamp + 1000)
    return path


def box(value, dtype=np.uint8):
    mask = np.zeros(SIZE, dtype)
    mask[6:18, 8:20] = value
    return mask


MASKS = {
    "0 and 1": lambda _: (box(1), "mono8"),
    "a class id": lambda _: (box(15), "8UC1"),
    "16 bit": lambda _: (box(3, np.uint16), "mono16"),
    "a colour": lambda _: (box(1)[..., None] * np.uint8([200, 0, 0]), "rgb8"),
    "a probability": lambda _: (box(0.9, np.float32), "32FC1"),
}


@pytest.mark.parametrize("kind", MASKS)
def test_mask_topics_of_every_kind_are_labels(tmp_path, kind):
    report = convert_bag(write(tmp_path / "b", mask=MASKS[kind]), "b", tmp_path / "D", CFG)
    assert report.labelled == 6
    for path in (tmp_path / "D/train/b_001/mask").iterdir():
        np.testing.assert_array_equal(cv2.imread(str(path), -1), box(255))


def test_class_ids_of_a_topic_are_refused_until_the_user_says_which(tmp_path):
    bag = write(tmp_path / "b", mask=lambda index: (box(1 + index % 2), "mono8"))
    report = convert_bag(bag, "b", tmp_path / "D", CFG)
    assert report.labelled == 0
    assert any("say which are salient with --mask-values" in reason for reason in report.drops)
    told = convert_bag(bag, "b", tmp_path / "E", ConvertConfig(split="train", mask_values="2"))
    masks = [cv2.imread(str(path), -1).any() for path in sorted((tmp_path / "E/train/b_001/mask").iterdir())]
    assert told.labelled == 6
    assert masks == [False, True] * 3


def test_annotations_of_class_ids_are_refused_until_the_user_says_which(tmp_path):
    bag, notes = write(tmp_path / "b"), tmp_path / "notes"
    notes.mkdir()
    for index in range(6):
        cv2.imwrite(str(notes / f"{T0 + index * STEP_NS}.png"), box(1 + index % 2))
    with pytest.raises(InputError, match="expected masks of two values, got 1, 2; say which"):
        convert_bag(bag, "b", tmp_path / "D", ConvertConfig(split="train", annotations=notes))
    told = ConvertConfig(split="train", annotations=notes, mask_values="1-2")
    assert convert_bag(bag, "b", tmp_path / "E", told).labelled == 6


def test_stamps_that_gain_a_digit_keep_their_order_there_and_back(tmp_path):
    start = 10_000_000_000 - 3 * STEP_NS
    convert_bag(write(tmp_path / "sim", start, mask=MASKS["0 and 1"]), "sim", tmp_path / "D", CFG)
    scan = scan_split(tmp_path / "D", "m4sam", "train")
    export_videos(scan, tmp_path / "back", "mcap", progress=lambda _: None)
    with BagSource(tmp_path / "back/sim_001") as source:
        frames = [(m.stamp_ns, int(m.decoded.data[0])) for m in source.messages(["/rgb/image"])]
    assert frames == [(start + index * STEP_NS, index) for index in range(6)]


@pytest.mark.parametrize(("unit", "stored"), [(0.00025, 0.00025), (None, 0.001)])
def test_the_unit_of_counts_is_told_and_kept(tmp_path, unit, stored):
    bag = write(tmp_path / "b", mask=MASKS["0 and 1"])
    convert_bag(bag, "b", tmp_path / "D", ConvertConfig(split="train", depth_unit_m=unit))
    video = scan_split(tmp_path / "D", "m4sam", "train").videos[0]
    assert video.depth_unit_m == stored
    np.testing.assert_array_equal(cv2.imread(str(video.frames[0].depth), -1), pictures(0)[1])
    export_videos(scan_split(tmp_path / "D", "m4sam", "train"), tmp_path / "back", "mcap", progress=lambda _: None)
    with BagSource(tmp_path / "back/b_001") as source:
        message = next(source.messages(["/depth/image"]))
    counts = np.frombuffer(bytes(message.decoded.data), np.uint16).reshape(SIZE)
    assert np.abs(counts - pictures(0)[1] * (stored / 0.001)).max() <= 0.51  # millimetres are whole numbers


def test_float_depth_in_millimetres_is_noticed_and_the_unit_mends_it(tmp_path):
    bag = write(tmp_path / "b", depth=lambda z: (z.astype(np.float32), "32FC1"))
    report = convert_bag(bag, "b", tmp_path / "D", CFG)
    assert report.notes == {"float depth is not in metres; tell its unit with --depth-unit": 6}
    told = convert_bag(bag, "b", tmp_path / "E", ConvertConfig(split="train", depth_unit_m=0.001))
    file = next((tmp_path / "E/train/b_001/depth").iterdir())
    np.testing.assert_allclose(cv2.imread(str(file), -1), pictures(0)[1] / 1000, rtol=1e-6)
    assert told.videos == report.videos


def test_registered_depth_of_lower_resolution_is_used_and_other_depth_is_not(tmp_path):
    small = write(tmp_path / "a", depth=lambda z: (z[::2, ::2], "16UC1"))
    report = convert_bag(small, "a", tmp_path / "D", CFG)
    assert report.notes == {"depth of another size than rgb, resized when it is used": 6}
    assert report.drops == {}
    other = write(tmp_path / "b", depth=lambda z: (z[::2, ::2], "16UC1"), depth_frame="depth_camera")
    assert main(["bag", "to-dataset", str(other), "--out", str(tmp_path / "E"), "--json", str(tmp_path / "r")]) == 1
    assert "depth of another size than rgb (6)" in json.loads((tmp_path / "r").read_text())[0]["error"]


def test_masks_are_added_to_a_bag_of_unknown_types(tmp_path, weights):
    """Humble's bags carry no definitions; a RealSense recorded with -a holds types of its driver."""
    odd = [("/camera/extrinsics", "realsense2_camera_msgs/msg/Extrinsics", T0, b"\x00\x01\x00\x00" + bytes(96))]
    odd += [("/srv/_service_event", "example_interfaces/srv/AddTwoInts_Event", T0, b"\x00\x01\x00\x00")]
    bag = humble_db3(tmp_path / "run.db3", [*frames_rows(0, 4), *odd])
    report = predict_bag(bag, tmp_path / "new", str(weights))
    assert (report.masks, report.left_out) == (4, [])
    from rosbags.highlevel import AnyReader
    from rosbags.typesys import Stores, get_typestore

    with AnyReader([tmp_path / "new"], default_typestore=get_typestore(Stores.ROS2_HUMBLE)) as reader:
        counts = {connection.topic: connection.msgcount for connection in reader.connections}
        raw = {c.topic: bytes(data) for c, _, data in reader.messages() if c.topic in (odd[0][0], odd[1][0])}
    assert counts == {RGB: 4, DEPTH: 4, "/saliency/mask": 4, odd[0][0]: 1, odd[1][0]: 1}
    assert raw == {row[0]: row[3] for row in odd}


@pytest.mark.parametrize("name", ["run [kitchen] 2", "a[/b]", "100%"])
def test_what_a_bag_is_called_is_not_markup(tmp_path, name, capsys):
    bag = tmp_path / name
    bag.mkdir(parents=True)
    humble_db3(bag / "b.db3", frames_rows(0, 2))
    write_metadata(bag, ["b.db3"])
    assert main(["bag", "info", str(bag)]) == 0
    assert name.rsplit("/", 1)[-1] in capsys.readouterr().out


@pytest.mark.parametrize(("value", "told"), [(0, "depth without any reading"), (1000, "depth of one number, which")])
def test_depth_that_tells_nothing_is_counted(tmp_path, value, told):
    bag = write(tmp_path / "b", depth=lambda z: (np.full_like(z, value), "16UC1"))
    report = convert_bag(bag, "b", tmp_path / "D", CFG)
    assert [count for note, count in report.notes.items() if note.startswith(told)] == [6]


def test_another_bag_of_the_same_name_and_size_is_not_taken_for_the_first(tmp_path):
    first, second = write(tmp_path / "x" / "run"), write(tmp_path / "y" / "run", depth=lambda z: (z + 1, "16UC1"))
    assert sum(p.stat().st_size for p in first.iterdir()) == sum(p.stat().st_size for p in second.iterdir())
    convert_bag(first, "run", tmp_path / "D", CFG)
    assert convert_bag(first, "run", tmp_path / "D", CFG).resumed
    with pytest.raises(ConfigError, match="expected the same bag and settings as before, got others"):
        convert_bag(second, "run", tmp_path / "D", CFG)


def test_a_bag_that_was_converted_before_its_content_was_noted_stays_finished(tmp_path):
    bag = write(tmp_path / "run")
    convert_bag(bag, "run", tmp_path / "D", CFG)
    marker = tmp_path / "D" / ".bags" / "run.json"
    values = json.loads(marker.read_text())
    del values["key"]["content"]
    marker.write_text(json.dumps(values))
    assert convert_bag(bag, "run", tmp_path / "D", CFG).resumed


@pytest.mark.parametrize("bits", [10, 12])
def test_colour_of_few_bits_is_said_although_the_dataset_has_eight(tmp_path, bits):
    bag = tmp_path / "b"
    with ImageBagWriter(bag) as writer:
        for index in range(3):
            rgb, depth = pictures(index)
            stamp = T0 + index * STEP_NS
            writer.write_image("/c/color", rgb.astype(np.uint16) << (bits - 8), "rgb16", stamp, "cam")
            writer.write_image("/c/depth", depth, "16UC1", stamp, "cam")
    notes = convert_bag(bag, "b", tmp_path / "D", CFG).notes
    assert [count for note, count in notes.items() if "has the camera 10 or 12 bits?" in note] == [3]


def test_a_height_that_leaves_half_of_the_bytes_is_said(tmp_path):
    bag = tmp_path / "b"
    bag.mkdir()
    rows = []
    for index in range(3):
        stamp = T0 + index * STEP_NS
        rgb, depth = pictures(index)
        half = image(stamp, depth, "16UC1")
        half.height, half.width = (side // 2 for side in SIZE)
        rows += [(RGB, IMAGE, stamp, bytes(ROS2.serialize_cdr(image(stamp, rgb, "rgb8"), IMAGE)))]
        rows += [(DEPTH, IMAGE, stamp, bytes(ROS2.serialize_cdr(half, IMAGE)))]
    humble_db3(bag / "b.db3", rows)
    write_metadata(bag, ["b.db3"])
    notes = convert_bag(bag, "b", tmp_path / "D", CFG).notes
    assert [count for note, count in notes.items() if "is the height right?" in note] == [3]


def test_why_no_topic_fits_is_told_by_what_each_holds(tmp_path):
    bag = write(tmp_path / "b", depth=lambda z: ((z >> 4).astype(np.uint8), "8UC1"))
    with pytest.raises(InputError, match=r"image topics of the bag: /c/color \(6\) rgb8, /c/depth \(6\) 8UC1"):
        convert_bag(bag, "b", tmp_path / "D", CFG)
