# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""ROS 1 bags with more than images in them: every message reaches the new bag, or the topic that does not is named."""

from __future__ import annotations

import os
import shutil

import numpy as np
import pytest
import torch
from rosbags.rosbag1 import Reader, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from m4sam_core.build import build_model
from m4sam_core.checkpoint import save_checkpoint
from m4sam_core.cli.main import main
from m4sam_core.config import ModelConfig
from m4sam_core.errors import InputError
from m4sam_core.rgbd.bags.ros1_messages import as_cdr, as_ros2
from m4sam_core.rgbd.bags.source import BagSource
from m4sam_core.rgbd.bags.storage import Channel
from tests.training.recorded import FRAMES, record, write_ros1

TF = "geometry_msgs/TransformStamped[] transforms\n"
GRIPPER = "Header header\nfloat32[3] force\nmy_robot/Finger[] fingers\ntime since\n" + "=" * 80
GRIPPER += "\nMSG: my_robot/Finger\nstring name\nfloat64 opening\nuint8[] raw\n" + "=" * 80
GRIPPER += "\nMSG: std_msgs/Header\nuint32 seq\ntime stamp\nstring frame_id\n"


@pytest.fixture(scope="module")
def bag(tmp_path_factory):
    """The exported images, tf, a twist, and a type of the robot's own."""
    root = tmp_path_factory.mktemp("ros1")
    write_ros1(record(root), root / "images.bag")
    types = get_typestore(Stores.ROS1_NOETIC)
    for name, text in (("my_robot/msg/Gripper", GRIPPER), ("tf2_msgs/msg/TFMessage", TF)):
        found = get_types_from_msg(text, name)
        types.register({known: fields for known, fields in found.items() if known not in types.fielddefs})
    new = types.types
    header = new["std_msgs/msg/Header"](seq=7, stamp=new["builtin_interfaces/msg/Time"](5, 6), frame_id="base")
    vector, turn = new["geometry_msgs/msg/Vector3"](1.0, 2.0, 3.0), new["geometry_msgs/msg/Quaternion"](0, 0, 0, 1)
    pose = new["geometry_msgs/msg/Transform"](vector, turn)
    moved = new["geometry_msgs/msg/TransformStamped"](header, "camera", pose)
    finger = new["my_robot/msg/Finger"]("left", 0.25, np.arange(3, dtype=np.uint8))
    force, since = np.array([1, 2, 3], np.float32), new["builtin_interfaces/msg/Time"](8, 9)
    messages = {
        "/tf": new["tf2_msgs/msg/TFMessage"]([moved, moved]),
        "/cmd_vel": new["geometry_msgs/msg/Twist"](vector, vector),
        "/gripper": new["my_robot/msg/Gripper"](header, force, [finger, finger], since),
    }
    with Reader(root / "images.bag") as reader, Writer(root / "run.bag") as writer:
        for connection in reader.connections:
            copy = writer.add_connection(connection.topic, connection.msgtype, typestore=types)
            for _, log_ns, raw in reader.messages([connection]):
                writer.write(copy, log_ns, raw)
        for topic, message in messages.items():
            name = message.__msgtype__
            connection = writer.add_connection(topic, name, typestore=types)
            writer.write(connection, reader.start_time + 1, types.serialize_ros1(message, name))
    torch.manual_seed(0)
    save_checkpoint(root / "nano.safetensors", build_model(ModelConfig.preset("nano")), {})
    return root


def test_every_message_of_a_ros1_bag_is_in_the_new_one(bag, tmp_path):
    words = ["bag", "predict", str(bag / "run.bag"), "--model", str(bag / "nano.safetensors")]
    assert main([*words, "--out", str(tmp_path / "new"), "--mask-topic", "/m4sam/mask"]) == 0
    store = get_typestore(Stores.ROS2_HUMBLE)
    with BagSource(tmp_path / "new") as source:
        assert {topic.name: (topic.msgtype, topic.count) for topic in source.topics if topic.count == 1} == {
            "/tf": ("tf2_msgs/msg/TFMessage", 1),
            "/cmd_vel": ("geometry_msgs/msg/Twist", 1),
            "/gripper": ("my_robot/msg/Gripper", 1),
        }
        assert {topic.count for topic in source.topics} == {1, FRAMES}
        text = next(channel.definition for channel in source.channels if channel.topic == "/gripper")
        found = get_types_from_msg(text, "my_robot/msg/Gripper")
        store.register({name: fields for name, fields in found.items() if name not in store.fielddefs})
        read = {
            channel.topic: store.deserialize_cdr(raw, channel.msgtype)
            for channel, _, raw in source.raw_messages(["/tf", "/cmd_vel", "/gripper"])
        }
    assert [moved.child_frame_id for moved in read["/tf"].transforms] == ["camera", "camera"]
    assert read["/tf"].transforms[1].transform.translation.z == 3.0
    assert (read["/tf"].transforms[0].header.stamp.sec, read["/tf"].transforms[0].header.frame_id) == (5, "base")
    assert read["/cmd_vel"].angular.y == 2.0
    gripper = read["/gripper"]
    assert gripper.force.tolist() == [1, 2, 3]
    assert [(finger.name, finger.opening, finger.raw.tolist()) for finger in gripper.fingers] == [
        ("left", 0.25, [0, 1, 2])
    ] * 2
    assert (gripper.since.sec, gripper.since.nanosec, gripper.header.stamp.nanosec) == (8, 9, 6)


def test_the_old_name_of_tf_becomes_the_new_one():
    channel = Channel(0, "/tf", "tf/msg/tfMessage", "ros1", 1)
    with pytest.raises(InputError, match="expected its definition"):
        as_ros2(channel)
    known = as_ros2(Channel(0, "/tf", "tf/msg/tfMessage", "ros1", 1, TF))
    assert (known.msgtype, known.coding) == ("tf2_msgs/msg/TFMessage", "cdr")


@pytest.mark.parametrize("text", ["", "no definition at all {", "other_pkg/Unknown[] things\n"])
def test_a_type_without_a_definition_is_named(text):
    channel = Channel(0, "/odd", "my_robot/msg/Odd", "ros1", 1, text)
    with pytest.raises(InputError, match=r"ROS 1 type my_robot/msg/Odd: expected its definition"):
        as_ros2(channel)


def test_a_damaged_message_is_named():
    channel = Channel(0, "/cmd_vel", "geometry_msgs/msg/Twist", "ros1", 1)
    with pytest.raises(InputError, match="/cmd_vel: expected a whole geometry_msgs/msg/Twist"):
        as_cdr(channel, b"\x00" * 5)


def test_damage_alone_is_an_exit_code_only_when_asked_for(bag, tmp_path, capsys):
    whole = next((bag / "mcap").iterdir())
    shutil.copytree(whole, tmp_path / "killed")
    file = next((tmp_path / "killed").glob("*.mcap"))
    os.truncate(file, int(file.stat().st_size * 0.7))
    convert = ["bag", "to-dataset", str(tmp_path / "killed"), "--split", "train", "--out"]
    predict = ["bag", "predict", str(tmp_path / "killed"), "--model", str(bag / "nano.safetensors"), "--out"]
    info = ["bag", "info", str(tmp_path / "killed")]
    for number, words in enumerate((info, [*convert, str(tmp_path / "D")], [*predict, str(tmp_path / "p")])):
        strict = [*words[:-1], f"{words[-1]}_strict"] if number else words
        assert main(words) == 0
        assert "truncated" in capsys.readouterr().out
        assert main([*strict, "--strict"]) == 1
        capsys.readouterr()
    assert (tmp_path / "D_strict/train").is_dir()  # the work was done all the same
    assert (tmp_path / "p_strict").is_dir()
    assert main(["bag", "info", str(whole), "--strict"]) == 0
