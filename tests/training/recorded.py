# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Small bags for the tests of bags."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import yaml

from m4sam_core.rgbd.bags.source import BagSource
from m4sam_core.rgbd.bags.write import ImageBagWriter
from m4sam_training.bags.convert import ConvertConfig
from m4sam_training.bags.export import export_videos
from m4sam_training.data.generate import generate_dataset
from m4sam_training.data.scan import scan_split

CFG = ConvertConfig(split="train")
FRAMES = 6


def record(root: Path) -> Path:
    """A generated dataset D with one video and intrinsics, and its bags mcap/train_1 and sqlite3/train_1."""
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


def write_ros1(data, path):
    """The exported bag as a ROS 1 bag."""
    from rosbags.rosbag1 import Writer
    from rosbags.typesys import Stores, get_typestore

    types = get_typestore(Stores.ROS1_NOETIC)
    header, time = types.types["std_msgs/msg/Header"], types.types["builtin_interfaces/msg/Time"]
    image = types.types["sensor_msgs/msg/Image"]
    with BagSource(data / "mcap" / "train_1") as source, Writer(path) as writer:
        connections = {}
        for message in source.messages(["/rgb/image", "/depth/image", "/ground_truth/mask"]):
            if message.topic not in connections:
                connections[message.topic] = writer.add_connection(message.topic, message.msgtype, typestore=types)
            fields = {name: getattr(message.decoded, name) for name in message.decoded.__dataclass_fields__}
            stamp = time(message.stamp_ns // 10**9, message.stamp_ns % 10**9)
            fields["header"] = header(seq=0, stamp=stamp, frame_id="cam")
            fields.pop("__msgtype__", None)
            raw = types.serialize_ros1(image(**fields), message.msgtype)
            writer.write(connections[message.topic], message.log_ns, raw)


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
