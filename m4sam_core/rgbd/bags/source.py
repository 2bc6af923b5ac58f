"""Reading rosbags: rosbag2 (sqlite3, mcap, with or without metadata.yaml) and ROS 1, damaged ones as far as they go."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from m4sam_core.errors import InputError
from m4sam_core.host.optional import require
from m4sam_core.rgbd.bags.salvage import salvage, sqlite_is_short

STORAGE_SUFFIXES = (".mcap", ".db3")
_TOPIC = re.compile(r"/?[A-Za-z_][A-Za-z0-9_]*(/[A-Za-z_][A-Za-z0-9_]*)*")


@dataclass(frozen=True)
class Topic:
    """One topic of a bag.

    Attributes:
        name: as recorded.
        msgtype: e.g. "sensor_msgs/msg/Image".
        count: messages.
        plain: the name is a legal ROS name; others are never used.
    """

    name: str
    msgtype: str
    count: int
    plain: bool


@dataclass(frozen=True)
class BagMessage:
    """One message; `decoded` is the deserialised message (fields as in ROS)."""

    topic: str
    msgtype: str
    log_ns: int
    raw: bytes = field(repr=False)
    decoded: Any = field(repr=False)

    @property
    def stamp_ns(self) -> int:
        """Header stamp in nanoseconds; the log time where the header has none."""
        stamp = getattr(getattr(self.decoded, "header", None), "stamp", None)
        if stamp is None:
            return self.log_ns
        return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec) or self.log_ns


def find_bags(paths: Collection[Path]) -> list[Path]:
    """Bags among the given files and folders, folders searched to any depth.

    Raises:
        InputError: nothing found, or a path does not exist.
    """
    found: list[Path] = []
    for path in paths:
        if not path.exists():
            raise InputError(f"{path}: expected a bag or a folder of bags, got nothing there; check the path")
        found += [path] if _is_bag(path) else sorted(_search(path)) if path.is_dir() else []
    if not found:
        where = ", ".join(map(str, paths))
        raise InputError(f"{where}: expected bags (.bag, .mcap, .db3 or a rosbag2 folder), got none")
    return list(dict.fromkeys(found))


def _is_bag(path: Path) -> bool:
    if path.is_dir():
        stored = [file.stem for file in path.iterdir() if file.suffix in STORAGE_SUFFIXES]
        numbered = re.compile(rf"{re.escape(path.name)}(_\d+)?")
        return (path / "metadata.yaml").is_file() or (bool(stored) and all(map(numbered.fullmatch, stored)))
    return path.suffix in (".bag", *STORAGE_SUFFIXES)


def _search(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.name.startswith("."):
            continue
        if _is_bag(path):
            yield path
        elif path.is_dir():
            yield from _search(path)


class BagSource:
    """One bag, open for reading.

    Attributes:
        path: the bag.
        damage: what was wrong with it, one line each; messages before the damage are still read.
    """

    def __init__(self, path: Path) -> None:
        """Open a bag.

        Raises:
            ConfigError: the `rosbags` package is missing.
            InputError: not a bag, or nothing of it can be read.
        """
        self.path = path
        self.damage: list[str] = []
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        try:
            self._reader = self._open([path])
        except InputError as error:
            self.damage.append(str(error))
            self._reader = self._open_salvaged()

    def __enter__(self) -> BagSource:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the bag and remove temporary copies."""
        self._reader.close()
        if self._scratch is not None:
            self._scratch.cleanup()

    @property
    def is_ros1(self) -> bool:
        """A ROS 1 bag."""
        return not self._reader.is2

    @property
    def typestore(self) -> Any:
        """The message types of this bag (`rosbags`)."""
        return self._reader.typestore

    @property
    def connections(self) -> list[Any]:
        """Connections of the bag (`rosbags`), for copying."""
        return list(self._reader.connections)

    @property
    def topics(self) -> list[Topic]:
        """Every topic, by name."""
        return [
            Topic(name, info.msgtype or "several types", info.msgcount, is_topic_name(name))
            for name, info in sorted(self._reader.topics.items())
        ]

    def messages(self, topics: Collection[str]) -> Iterator[BagMessage]:
        """Messages of some topics in the order they were recorded, up to the damage if there is any.

        Damage is noted in `damage`; a message that cannot be deserialised is noted and left out.
        """
        wanted = [connection for connection in self._reader.connections if connection.topic in topics]
        if not wanted:
            return
        for connection, log_ns, raw in self.raw_messages(wanted):
            try:
                decoded = self._reader.deserialize(raw, connection.msgtype)
            except Exception as error:  # noqa: BLE001 (whatever damaged bytes make the decoder raise)
                self.damage.append(f"{connection.topic} at {log_ns}: message cannot be decoded ({error})")
                continue
            yield BagMessage(connection.topic, connection.msgtype, log_ns, bytes(raw), decoded)

    def raw_messages(self, connections: Collection[Any] = ()) -> Iterator[tuple[Any, int, bytes]]:
        """(connection, log time in ns, serialised message), up to the damage if there is any."""
        stream = self._reader.messages(connections=connections)
        while True:
            try:
                item = next(stream)
            except StopIteration:
                return
            except Exception as error:  # noqa: BLE001 (whatever damaged bytes make the reader raise)
                self.damage.append(f"reading stopped: {_text(error)}")
                return
            yield item

    # -------------------------------------------------------------------------------------- opening

    def _open(self, paths: list[Path]) -> Any:
        require("rosbags", "bags")
        from rosbags.highlevel import AnyReader
        from rosbags.typesys import Stores, get_typestore

        for file in (p for path in paths for p in ([*path.glob("*.db3")] if path.is_dir() else [path])):
            if file.suffix == ".db3" and sqlite_is_short(file):
                raise InputError(f"{file}: expected a whole database, got a truncated one")
        try:
            if paths[0].is_dir() and not (paths[0] / "metadata.yaml").is_file():
                raise InputError(
                    f"{paths[0]}: no metadata.yaml; the recorder was stopped hard, its files are read one by one"
                )
            reader = AnyReader(paths, default_typestore=get_typestore(Stores.ROS2_HUMBLE))
            reader.open()
        except InputError:
            raise
        except Exception as error:  # noqa: BLE001 (a damaged file makes it raise anything)
            raise InputError(f"{paths[0]}: expected a readable bag, got {_text(error)}") from None
        return reader

    def _open_salvaged(self) -> Any:
        """What can be read of a bag without metadata, or with truncated storage files."""
        if self.path.suffix == ".bag":
            raise InputError(f"{self.damage[0]}; repair it with `rosbag reindex`")
        inside = self.path.iterdir() if self.path.is_dir() else [self.path]
        files = sorted(path for path in inside if path.suffix in STORAGE_SUFFIXES)
        self._scratch = tempfile.TemporaryDirectory(prefix="m4sam_bag_")
        sound = []
        for file in files:
            try:
                self._open([file]).close()
                sound.append(file)
            except InputError:
                copy = Path(self._scratch.name) / file.name
                if salvage(file, copy):
                    sound.append(copy)
                    self.damage.append(f"{file.name}: truncated; the messages before the cut are used")
                else:
                    self.damage.append(f"{file.name}: nothing readable")
        if not sound:
            self._scratch.cleanup()
            raise InputError(f"{self.damage[0]}; nothing of it could be saved")
        return self._open(sound)


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


def _text(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
