# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Small recordings as recorders, other tools and accidents leave them."""

from __future__ import annotations

import sqlite3
import struct
from pathlib import Path
from zlib import crc32

import numpy as np
import yaml
from rosbags.typesys import Stores, get_typestore

IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
T0, STEP_NS = 1_700_000_000_000_000_000, 33_333_333
RGB, DEPTH = "/camera/color/image_raw", "/camera/aligned_depth_to_color/image_raw"
ROS2, ROS1 = get_typestore(Stores.ROS2_HUMBLE), get_typestore(Stores.ROS1_NOETIC)
_KINDS = {"rgb8": 3, "bgr8": 3, "mono8": 1, "8UC1": 1, "16UC1": 2, "mono16": 2, "32FC1": 4}


def pixels(index: int, encoding: str, height: int = 12, width: int = 16) -> np.ndarray:
    """A picture that carries its index in every pixel."""
    shape = (height, width, 3) if encoding in ("rgb8", "bgr8") else (height, width)
    dtype = {"16UC1": np.uint16, "mono16": np.uint16, "32FC1": np.float32}.get(encoding, np.uint8)
    return np.full(shape, index + 1, dtype)


def image(stamp_ns: int, array: np.ndarray, encoding: str, frame_id: str = "cam", store=ROS2, seq=None):
    kinds = store.types
    stamp = kinds["builtin_interfaces/msg/Time"](sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
    extra = {} if seq is None else {"seq": seq}
    header = kinds["std_msgs/msg/Header"](stamp=stamp, frame_id=frame_id, **extra)
    array = np.ascontiguousarray(array)
    return kinds[IMAGE](
        header=header,
        height=array.shape[0],
        width=array.shape[1],
        encoding=encoding,
        is_bigendian=0,
        step=array.strides[0],
        data=array.view(np.uint8).reshape(-1),
    )


def cdr_image(index: int, encoding: str, **more) -> bytes:
    return bytes(ROS2.serialize_cdr(image(T0 + index * STEP_NS, pixels(index, encoding), encoding, **more), IMAGE))


def ros1_image(index: int, encoding: str) -> bytes:
    message = image(T0 + index * STEP_NS, pixels(index, encoding), encoding, store=ROS1, seq=index)
    return bytes(ROS1.serialize_ros1(message, IMAGE))


def compressed(index: int, data: bytes, text: str) -> bytes:
    kinds = ROS2.types
    stamp_ns = T0 + index * STEP_NS
    stamp = kinds["builtin_interfaces/msg/Time"](sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
    header = kinds["std_msgs/msg/Header"](stamp=stamp, frame_id="cam")
    message = kinds[COMPRESSED](header=header, format=text, data=np.frombuffer(data, np.uint8))
    return bytes(ROS2.serialize_cdr(message, COMPRESSED))


class Mcap:
    """An MCAP file, record by record: chunks with checksums, a summary, or neither."""

    def __init__(self, profile: str = "ros2") -> None:
        self.data = bytearray(b"\x89MCAP0\r\n" + _record(0x01, _text(profile) + _text("test")))
        self.definitions, self.indexes, self.chunk_places = b"", b"", []
        self._chunk, self._stamps, self._counts, self._keys = b"", [], {}, {}

    def channel(self, topic: str, msgtype: str, coding: str = "cdr", schema_coding: str = "ros2msg", text: str = ""):
        key = len(self._keys) + 1
        schema = struct.pack("<H", key) + _text(msgtype) + _text(schema_coding) + _text(text)
        channel = struct.pack("<HH", key, key) + _text(topic) + _text(coding) + struct.pack("<I", 0)
        records = _record(0x03, schema) + _record(0x04, channel)
        self.definitions += records
        self._chunk += records
        self._keys[topic] = key
        return key

    def add(self, topic: str, log_ns: int, raw: bytes) -> None:
        key = self._keys[topic]
        self._chunk += _record(0x05, struct.pack("<HIQQ", key, 0, log_ns, log_ns) + raw)
        self._stamps.append(log_ns)
        self._counts[key] = self._counts.get(key, 0) + 1

    def loose(self, topic: str, log_ns: int, raw: bytes) -> None:
        """A message outside of chunks; the channels too."""
        self.data += self._chunk
        self._chunk = b""
        self.data += _record(0x05, struct.pack("<HIQQ", self._keys[topic], 0, log_ns, log_ns) + raw)

    def end_chunk(self) -> None:
        place = len(self.data)
        head = struct.pack("<QQQI", min(self._stamps), max(self._stamps), len(self._chunk), crc32(self._chunk))
        body = head + _text("") + struct.pack("<Q", len(self._chunk)) + self._chunk
        self.data += _record(0x06, body)
        self.chunk_places.append((place, len(self.data)))
        offsets = b""
        for key, count in self._counts.items():
            offsets += struct.pack("<HQ", key, len(self.data))
            self.data += _record(0x07, struct.pack("<HI", key, 16 * count) + bytes(16 * count))
        head = struct.pack("<QQQQI", min(self._stamps), max(self._stamps), place, len(body) + 9, len(offsets))
        rest = struct.pack("<Q", 0) + _text("") + struct.pack("<QQ", len(self._chunk), len(self._chunk))
        self.indexes += _record(0x08, head + offsets + rest)
        self._chunk, self._stamps, self._counts = b"", [], {}

    def finish(self, summary: bool = True) -> bytearray:
        self.data += _record(0x0F, bytes(4))
        start = len(self.data) if summary else 0
        if summary:
            self.data += self.definitions + self.indexes
        self.data += _record(0x02, struct.pack("<QQI", start, 0, 0)) + b"\x89MCAP0\r\n"
        return self.data


def mcap(frames: int = 12, per_chunk: int = 2, summary: bool = True, jumble: bool = False) -> Mcap:
    """Colour and depth in chunks; jumble: recorded in pairs of swapped times, as two threads write."""
    file = Mcap()
    file.channel(RGB, IMAGE)
    file.channel(DEPTH, IMAGE)
    order = [index ^ 1 for index in range(frames)] if jumble else list(range(frames))
    for place, index in enumerate(order):
        file.add(RGB, T0 + index * STEP_NS, cdr_image(index, "rgb8"))
        file.add(DEPTH, T0 + index * STEP_NS + 1, cdr_image(index, "16UC1"))
        if place % per_chunk == per_chunk - 1:
            file.end_chunk()
    file.finish(summary)
    return file


def humble_db3(path: Path, rows: list[tuple[str, str, int, bytes]]) -> Path:
    """A .db3 as Humble writes it: no definitions, no hashes. rows: (topic, type, log_ns, message)."""
    database = sqlite3.connect(path)
    database.execute("PRAGMA synchronous = OFF")
    database.execute(
        "CREATE TABLE topics(id INTEGER PRIMARY KEY, name TEXT NOT NULL, type TEXT NOT NULL, "
        "serialization_format TEXT NOT NULL, offered_qos_profiles TEXT NOT NULL)"
    )
    database.execute(
        "CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER NOT NULL, timestamp INTEGER NOT NULL, "
        "data BLOB NOT NULL)"
    )
    database.execute("CREATE INDEX timestamp_idx ON messages (timestamp ASC)")
    topics: dict[str, int] = {}
    for topic, kind, log_ns, raw in rows:
        if topic not in topics:
            topics[topic] = len(topics) + 1
            database.execute("INSERT INTO topics VALUES (?, ?, ?, 'cdr', '')", (topics[topic], topic, kind))
        database.execute(
            "INSERT INTO messages(topic_id, timestamp, data) VALUES (?, ?, ?)", (topics[topic], log_ns, raw)
        )
    database.commit()
    database.close()
    return path


def frames_rows(first: int, count: int, kinds=((RGB, "rgb8"), (DEPTH, "16UC1"))) -> list[tuple[str, str, int, bytes]]:
    return [
        (topic, IMAGE, T0 + index * STEP_NS + place, cdr_image(index, encoding))
        for index in range(first, first + count)
        for place, (topic, encoding) in enumerate(kinds)
    ]


def write_metadata(folder: Path, files: list[str], **more) -> None:
    """The part of a metadata.yaml that a reader needs."""
    values = {"version": 5, "storage_identifier": "sqlite3", "relative_file_paths": files, **more}
    (folder / "metadata.yaml").write_text(yaml.safe_dump({"rosbag2_bagfile_information": values}))


def _record(opcode: int, body: bytes) -> bytes:
    return struct.pack("<BQ", opcode, len(body)) + body


def _text(text: str) -> bytes:
    return struct.pack("<I", len(text.encode())) + text.encode()
