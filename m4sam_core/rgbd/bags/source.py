# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""The one reader of rosbags: rosbag2 (sqlite3, mcap, compressed or not, with or without metadata.yaml) and ROS 1.

Only images and calibrations are ever decoded, whose layout is the same in every distribution. Other types, and what a
recorder wrote about them, cannot keep a bag from being read.
"""

from __future__ import annotations

import contextlib
import heapq
import re
import tempfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any

from m4sam_core.errors import ConfigError, InputError
from m4sam_core.host.optional import require
from m4sam_core.host.plain_yaml import load_yaml
from m4sam_core.rgbd.bags.find import METADATA, PACKED, storage_suffix
from m4sam_core.rgbd.bags.mcap import McapFile
from m4sam_core.rgbd.bags.ros1 import Ros1File
from m4sam_core.rgbd.bags.sqlite import SqliteFile
from m4sam_core.rgbd.bags.stamps import begins_at_zero, header_stamp_ns
from m4sam_core.rgbd.bags.storage import Channel, Coding, Storage, text_of, unpack_file
from m4sam_core.rgbd.order import natural_order

IMAGE, COMPRESSED, CAMERA_INFO = (
    "sensor_msgs/msg/Image",
    "sensor_msgs/msg/CompressedImage",
    "sensor_msgs/msg/CameraInfo",
)
KNOWN_TYPES = (IMAGE, COMPRESSED, CAMERA_INFO)
_TOPIC = re.compile(r"/?[A-Za-z_][A-Za-z0-9_]*(/[A-Za-z_][A-Za-z0-9_]*)*")


@dataclass(frozen=True)
class Topic:
    """One topic of a bag.

    Attributes:
        name: as recorded.
        msgtype: e.g. "sensor_msgs/msg/Image"; "several types" when it changes.
        count: messages.
        plain: the name is a legal ROS name; others are never used.
    """

    name: str
    msgtype: str
    count: int
    plain: bool


@dataclass(frozen=True)
class BagMessage:
    """One message.

    Attributes:
        decoded: the deserialised message (fields as in ROS).
        zero_is_a_time: its topic's clock begins at 0, so that a stamp of 0 is no lack of one.
    """

    topic: str
    msgtype: str
    log_ns: int
    raw: bytes = field(repr=False)
    decoded: Any = field(repr=False)
    zero_is_a_time: bool = False

    @property
    def stamp_ns(self) -> int:
        """Header stamp in nanoseconds; the log time where the header has none."""
        stamp = header_stamp_ns(self.decoded)
        return self.log_ns if stamp is None or (stamp == 0 and not self.zero_is_a_time) else stamp


class BagSource:
    """One bag, open for reading.

    Attributes:
        path: the bag.
        damage: what was wrong with it, one line each; what is whole is read all the same.
    """

    def __init__(self, path: Path) -> None:
        """Open a bag.

        Raises:
            ConfigError: the `rosbags` package is missing.
            InputError: not a bag, or nothing of it can be read.
        """
        _types("cdr")  # the package is there
        self.path = path
        self.damage: list[str] = []
        self._scratch = tempfile.TemporaryDirectory(prefix="m4sam_bag_")
        self._storages: list[Storage] = []
        self._stamps: dict[str, list[int]] = {}
        try:
            refused = [reason for file in self._files() if (reason := self._open(file)) is not None]
            if not self._storages:
                why = refused[0] if refused else "no storage file (.mcap, .db3) in it"
                raise InputError(f"{path}: expected a rosbag, got {why}; nothing of it could be saved")
            self.damage += refused
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> BagSource:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the bag and remove temporary copies."""
        for storage in self._storages:
            storage.close()
        self._scratch.cleanup()

    @property
    def is_ros1(self) -> bool:
        """A ROS 1 bag."""
        return any(isinstance(storage, Ros1File) for storage in self._storages)

    @property
    def end_ns(self) -> int:
        """Time of recording of the last message, of any topic."""
        return max(storage.end_ns for storage in self._storages)

    @property
    def channels(self) -> list[Channel]:
        """Every channel of every file."""
        return [channel for storage in self._storages for channel in storage.channels]

    @property
    def topics(self) -> list[Topic]:
        """Every topic, by name."""
        by_name: dict[str, list[Channel]] = {}
        for channel in self.channels:
            by_name.setdefault(channel.topic, []).append(channel)
        return [
            Topic(name, _common_type(channels), sum(c.count for c in channels), is_topic_name(name))
            for name, channels in sorted(by_name.items())
        ]

    def messages(self, topics: Collection[str]) -> Iterator[BagMessage]:
        """Images and calibrations of some topics in the order they were recorded.

        Damage is noted in `damage`; a message that cannot be deserialised is noted and left out.
        """
        for channel, log_ns, raw in self.raw_messages(topics):
            if channel.msgtype not in KNOWN_TYPES:
                continue
            coding: Coding = "ros1" if channel.coding == "ros1" else "cdr"
            try:
                decoded = _decode(coding, raw, channel.msgtype)
            except Exception as error:  # noqa: BLE001 (whatever damaged bytes make the decoder raise)
                self.damage.append(f"{channel.topic} at {log_ns}: message cannot be decoded ({text_of(error)})")
                continue
            zero_is_a_time = header_stamp_ns(decoded) == 0 and self._clock_begins_at_zero(channel.topic)
            yield BagMessage(channel.topic, channel.msgtype, log_ns, raw, decoded, zero_is_a_time)

    def raw_messages(self, topics: Collection[str] | None = None) -> Iterator[tuple[Channel, int, bytes]]:
        """(channel, log time in ns, serialised message) of some or all topics in the order they were recorded."""
        streams = []
        for storage in self._storages:
            wanted = [c for c in storage.channels if topics is None or c.topic in topics]
            if wanted:
                streams.append(storage.messages(wanted))
        yield from streams[0] if len(streams) == 1 else heapq.merge(*streams, key=lambda item: item[1])

    def _clock_begins_at_zero(self, topic: str) -> bool:
        images = {channel.topic for channel in self.channels if channel.msgtype in (IMAGE, COMPRESSED)}
        return begins_at_zero(self._first_stamps(topic), map(self._first_stamps, images))

    def _first_stamps(self, topic: str) -> list[int]:
        """Header stamps of a topic's first two messages that can be read, nanoseconds."""
        if topic not in self._stamps:
            found: list[int] = []
            for channel, _, raw in self.raw_messages((topic,)):
                with contextlib.suppress(Exception):  # told by `messages`
                    stamp = header_stamp_ns(
                        _decode("ros1" if channel.coding == "ros1" else "cdr", raw, channel.msgtype)
                    )
                    found += [] if stamp is None else [stamp]
                if len(found) > 1:
                    break
            self._stamps[topic] = found
        return self._stamps[topic]

    # -------------------------------------------------------------------------------------- opening

    def _files(self) -> list[Path]:
        """The bag's storage files, in order; what metadata.yaml says otherwise is noted."""
        if not self.path.is_dir():
            return [self.path]
        stored = {file.name: file for file in self.path.iterdir() if storage_suffix(file)}
        by_number = [stored[name] for name in sorted(stored, key=lambda name: natural_order(name.split(".")[0]))]
        listed = self._listed()
        if listed is None:
            return by_number
        found = [stored.get(name) or stored.get(name.removesuffix(PACKED)) for name in listed]
        absent = [name for name, file in zip(listed, found, strict=True) if file is None]
        if absent:
            self.damage.append(f"{METADATA}: {', '.join(absent)} of this bag are missing")
        files = [file for file in found if file is not None]
        if not files:
            return by_number
        extra = [file.name for file in by_number if file not in files]
        if extra:
            self.damage.append(f"{', '.join(extra)}: not listed in {METADATA}, left out")
        return files

    def _listed(self) -> list[str] | None:
        """File names by metadata.yaml; None, with a note, when it does not tell."""
        path = self.path / METADATA
        if not path.is_file():
            self.damage.append(f"no {METADATA}; the recorder was stopped hard, its files are read one by one")
            return None
        try:
            information = load_yaml(path)["rosbag2_bagfile_information"]
            return [Path(str(name)).name for name in information["relative_file_paths"]]
        except (ConfigError, KeyError, TypeError) as error:
            self.damage.append(f"{METADATA} cannot be read, the files are read one by one ({text_of(error)})")
            return None

    def _open(self, file: Path) -> str | None:
        """Open one storage file; why it cannot be used, else None."""
        scratch = Path(self._scratch.name)
        try:
            if file.suffix == PACKED:
                unpacked = scratch / file.stem
                if not unpack_file(file, unpacked):
                    self.damage.append(f"{file.name}: its zstd data ends early; the messages before the cut are used")
                file = unpacked
            storage: Storage
            if file.suffix == ".bag":
                storage = Ros1File(file, self.damage)
            elif file.suffix == ".mcap":
                storage = McapFile(file, self.damage)
            else:
                storage = SqliteFile(file, self.damage, scratch)
        except (InputError, OSError, ValueError) as error:
            return text_of(error)
        self._storages.append(storage)
        return None


def is_topic_name(name: str) -> bool:
    """True for a legal ROS topic name; "../x" and the like are none."""
    return _TOPIC.fullmatch(name) is not None


def check_topic(name: str) -> str:
    """The name itself.

    Raises:
        InputError: not a legal ROS topic name.
    """
    if not is_topic_name(name):
        raise InputError(f"topic: expected a ROS name such as /camera/color/image_raw, got {name!r}")
    return name


def _common_type(channels: list[Channel]) -> str:
    types = {channel.msgtype for channel in channels}
    return types.pop() or "unknown" if len(types) == 1 else "several types"


def _decode(coding: Coding, raw: bytes, msgtype: str) -> Any:
    store = _types(coding)
    return store.deserialize_ros1(raw, msgtype) if coding == "ros1" else store.deserialize_cdr(raw, msgtype)


@cache
def _types(coding: Coding) -> Any:
    """The message types of `rosbags`.

    Raises:
        ConfigError: the package is missing.
    """
    require("rosbags", "bags")
    from rosbags.typesys import Stores, get_typestore

    return get_typestore(Stores.ROS1_NOETIC if coding == "ros1" else Stores.ROS2_HUMBLE)
