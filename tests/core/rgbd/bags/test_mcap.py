# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""MCAP files are read as far as they go: damage costs its own chunk."""

from __future__ import annotations

import numpy as np
import pytest
from mcap.writer import CompressionType, Writer

from m4sam_core.errors import InputError
from m4sam_core.rgbd.bags.source import BagSource
from tests.core.rgbd.bags.recordings import DEPTH, IMAGE, RGB, ROS2, STEP_NS, T0, Mcap, cdr_image, mcap, ros1_image


def read(path, data, topic=RGB):
    """Indices of the frames that are read, and the notes on damage."""
    path.write_bytes(bytes(data))
    with BagSource(path) as source:
        messages = list(source.messages([topic]))
        assert [m.log_ns for m in messages] == sorted(m.log_ns for m in messages)
        assert {t.name: t.count for t in source.topics}.keys() == {RGB, DEPTH}
        return [int(message.decoded.data[0]) - 1 for message in messages], source.damage


def test_a_sound_file(tmp_path):
    assert read(tmp_path / "a.mcap", mcap(12).data) == (list(range(12)), [])


@pytest.mark.parametrize(("summary", "chunk"), [(True, 0), (True, 2), (True, 5), (False, 2), (False, 5)])
def test_a_damaged_chunk_costs_itself(tmp_path, summary, chunk):
    file = mcap(12, summary=summary)
    begin, end = file.chunk_places[chunk]
    middle = (begin + end) // 2
    file.data[middle : middle + 8] = bytes(value ^ 0xFF for value in file.data[middle : middle + 8])
    frames, damage = read(tmp_path / "a.mcap", file.data)
    assert frames == [index for index in range(12) if index // 2 != chunk]
    assert len(damage) == 1
    assert "a damaged chunk is left out" in damage[0]
    assert ("4 messages" in damage[0]) == summary


def test_a_file_without_an_index_is_walked_also_when_times_are_out_of_order(tmp_path):
    frames, damage = read(tmp_path / "a.mcap", mcap(12, per_chunk=3, summary=False, jumble=True).data)
    assert frames == list(range(12))
    assert damage == []


@pytest.mark.parametrize("share", [0.3, 0.5, 0.9])
def test_a_truncated_file_keeps_what_came_before_the_cut(tmp_path, share):
    file = mcap(12, per_chunk=3, jumble=True)
    cut = int(file.chunk_places[-1][1] * share)
    frames, damage = read(tmp_path / "a.mcap", file.data[:cut])
    whole = sum(end <= cut for _, end in file.chunk_places)
    assert set(range(3 * whole)) <= {index ^ 1 for index in frames}
    assert "truncated; the messages before the cut are used" in damage[0]


def test_garbage_between_chunks_is_passed_over(tmp_path):
    file = mcap(12)
    at = file.chunk_places[2][1]
    data = file.data[:at] + bytes(range(0xA0, 0xF0)) * 40 + file.data[at:]
    frames, damage = read(tmp_path / "a.mcap", data[:-9])  # without its end the file is walked
    assert frames == list(range(12))
    assert any("read on at the next one" in line for line in damage)


def test_a_damaged_index_is_noticed_and_the_file_walked(tmp_path):
    file = mcap(12)
    at = len(file.data) - 37 - len(file.indexes)
    file.data[at + 30 : at + 40] = b"\xff" * 10
    frames, damage = read(tmp_path / "a.mcap", file.data)
    assert frames == list(range(12))
    assert "its index is damaged" in damage[0]


def test_messages_outside_of_chunks(tmp_path):
    file = Mcap()
    file.channel(RGB, IMAGE)
    file.channel(DEPTH, IMAGE)
    for index in (1, 0, 2):
        file.loose(RGB, T0 + index * STEP_NS, cdr_image(index, "rgb8"))
    assert read(tmp_path / "a.mcap", file.finish(summary=False)) == ([0, 1, 2], [])


def test_channels_of_other_formats_do_not_matter(tmp_path):
    """Protobuf, JSON, service events, no schema at all: a recorder takes what is there."""
    file = Mcap()
    file.channel("/fox/image", "foxglove.RawImage", "protobuf", "protobuf", "\x0a\x00")
    file.channel("/log", "Log", "json", "jsonschema", "{}")
    file.channel("/add_two_ints/_service_event", "example_interfaces/srv/AddTwoInts_Event", text="no definition :(")
    file.channel("/nothing", "", schema_coding="")
    file.channel(RGB, IMAGE)
    file.channel(DEPTH, IMAGE)
    for topic in ("/fox/image", "/log", "/add_two_ints/_service_event", "/nothing"):
        file.add(topic, T0, b"\x00\x01\x02\x03")
    file.add(RGB, T0, cdr_image(0, "rgb8"))
    file.end_chunk()
    path = tmp_path / "a.mcap"
    path.write_bytes(bytes(file.finish()))
    with BagSource(path) as source:
        assert len(list(source.messages([topic.name for topic in source.topics]))) == 1
        assert {topic.name for topic in source.topics} >= {"/fox/image", "/log", "/nothing"}
        assert source.damage == []


def test_ros_1_messages_in_an_mcap_file(tmp_path):
    file = Mcap("ros1")
    file.channel(RGB, "sensor_msgs/Image", "ros1", "ros1msg")
    file.channel(DEPTH, "sensor_msgs/Image", "ros1", "ros1msg")
    for index in range(3):
        file.add(RGB, T0 + index * STEP_NS, ros1_image(index, "rgb8"))
        file.add(DEPTH, T0 + index * STEP_NS, ros1_image(index, "16UC1"))
    file.end_chunk()
    assert read(tmp_path / "a.mcap", file.finish()) == ([0, 1, 2], [])


def test_random_damage_never_raises_anything_else(tmp_path):
    rng = np.random.default_rng(0)
    sound = mcap(6).data
    for _ in range(150):
        data = bytearray(sound)
        for _ in range(int(rng.integers(1, 4))):
            at = int(rng.integers(0, len(data)))
            data[at : at + 8] = rng.integers(0, 256, 8, dtype=np.uint8).tobytes()
        (tmp_path / "a.mcap").write_bytes(bytes(data[: int(rng.integers(len(data) // 2, len(data) + 1))]))
        try:
            with BagSource(tmp_path / "a.mcap") as source:
                list(source.messages([RGB, DEPTH]))
        except InputError:
            continue


@pytest.mark.parametrize("compression", ["NONE", "LZ4", "ZSTD"])
@pytest.mark.parametrize("chunks", [True, False])
def test_files_by_the_reference_writer(tmp_path, compression, chunks):
    """MCAP's own library writes, as rosbag2 does, in each of its compressions and without chunks."""
    path = tmp_path / "a.mcap"
    with path.open("wb") as file:
        writer = Writer(file, chunk_size=4096, compression=CompressionType[compression], use_chunking=chunks)
        writer.start("ros2", "reference")
        schema = writer.register_schema(IMAGE, "ros2msg", ROS2.generate_msgdef(IMAGE, ros_version=2)[0].encode())
        channels = {topic: writer.register_channel(topic, "cdr", schema) for topic in (RGB, DEPTH)}
        for index in range(12):
            for topic, encoding in ((RGB, "rgb8"), (DEPTH, "16UC1")):
                log_ns = T0 + index * STEP_NS
                writer.add_message(channels[topic], log_ns, cdr_image(index, encoding), log_ns)
        writer.finish()
    assert read(path, path.read_bytes()) == (list(range(12)), [])
