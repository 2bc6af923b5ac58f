"""A rosbag as a source of the player: stored CDR bytes go out as they are, only their stamps are set."""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from m4sam_core.errors import InputError
from m4sam_ros.messages.convert import DEPTH_ENCODINGS
from m4sam_ros.player.settings import PlayConfig
from m4sam_ros.player.sources import DEPTH, INFO, RGB, Item

IMAGE = "sensor_msgs/msg/Image"
COMPRESSED = "sensor_msgs/msg/CompressedImage"
CAMERA_INFO = "sensor_msgs/msg/CameraInfo"
_STAMP_AT = 4  # behind the 4 bytes that name the encapsulation; every message used here begins with its header
_SECOND_NS = 1_000_000_000


class BagSource:
    """The rgb, depth and camera_info topics of a rosbag2 (sqlite3, mcap) or ROS 1 bag.

    Raises:
        InputError: rosbags is not installed, the bag cannot be read, or a topic is missing or ambiguous.
    """

    def __init__(self, path: Path, cfg: PlayConfig) -> None:
        self._path = path
        self._cfg = cfg
        with _opened(path) as reader:
            self._is_ros1 = not reader.is2
            self._topics = _choose(reader, path, cfg)
            used = {connection.topic: connection for connection in self._connections(reader)}
            self._types = {channel: used[topic].msgtype for channel, topic in self._topics.items()}
            count = used[self._topics[RGB]].msgcount
            self._start_ns = next(iter(reader.messages(list(used.values()))))[1]
            span_ns = reader.end_time - self._start_ns
        self.period_ns = round((span_ns + span_ns / max(1, count - 1)) if count > 1 else _SECOND_NS)

    def kinds(self) -> dict[str, tuple[type, str]]:
        """See `Source`."""
        from sensor_msgs.msg import CameraInfo, CompressedImage, Image

        kinds: dict[str, tuple[type, str]] = {}
        for channel, name in self._types.items():
            suffix = "" if name != COMPRESSED else "/compressed" if channel == RGB else "/compressedDepth"
            kinds[channel] = ({IMAGE: Image, COMPRESSED: CompressedImage, CAMERA_INFO: CameraInfo}[name], suffix)
        return kinds

    def preload(self) -> None:
        """Nothing: messages leave as they were recorded."""

    def items(self) -> Iterator[Item]:
        """See `Source`."""
        channels = {topic: channel for channel, topic in self._topics.items()}
        frames = 0
        with _opened(self._path) as reader:
            for connection, time_ns, raw in reader.messages(self._connections(reader)):
                channel = channels[connection.topic]
                if channel == RGB:
                    frames += 1
                    if 0 < self._cfg.max_frames < frames:
                        return
                cdr = _ros1_to_cdr(reader, raw, connection.msgtype) if self._is_ros1 else raw
                yield Item(channel, time_ns - self._start_ns, read_stamp(cdr), bytes(cdr))

    def message(self, item: Item, stamp_ns: int) -> bytes:
        """See `Source`."""
        return with_stamp(item.key, stamp_ns)

    def _connections(self, reader: Any) -> list[Any]:
        return [connection for connection in reader.connections if connection.topic in self._topics.values()]


def _ros1_to_cdr(reader: Any, raw: bytes, name: str) -> bytes:
    """A ROS 1 message as ROS 2 bytes: headers lose `seq`, CameraInfo's D, K, R, P become lower case."""
    from rosbags.typesys import Stores, get_typestore

    store = get_typestore(Stores.ROS2_HUMBLE)
    return bytes(store.serialize_cdr(_renewed(reader.deserialize(raw, name), name, store), name))


def _renewed(message: Any, name: str, store: Any) -> Any:
    """The same message of the store's own class, field by field."""
    kind = store.types[name]
    values = {}
    for field in dataclasses.fields(kind):
        value = getattr(message, field.name) if hasattr(message, field.name) else getattr(message, field.name.upper())
        inner = getattr(value, "__msgtype__", None)
        values[field.name] = _renewed(value, inner, store) if inner else value
    return kind(**values)


def read_stamp(cdr: bytes | memoryview) -> int:
    """Header stamp of a serialised message, nanoseconds."""
    seconds, nanoseconds = struct.unpack_from(_stamp_format(cdr), cdr, _STAMP_AT)
    return int(seconds) * _SECOND_NS + int(nanoseconds)


def with_stamp(cdr: bytes, stamp_ns: int) -> bytes:
    """The same serialised message with another header stamp."""
    changed = bytearray(cdr)
    struct.pack_into(_stamp_format(cdr), changed, _STAMP_AT, *divmod(stamp_ns, _SECOND_NS))
    return bytes(changed)


def _stamp_format(cdr: bytes | memoryview) -> str:
    return "<iI" if cdr[1] & 1 else ">iI"


def _opened(path: Path) -> Any:
    try:
        from rosbags.highlevel import AnyReader, AnyReaderError
        from rosbags.typesys import Stores, get_typestore
    except ImportError:
        raise InputError(
            f"{path}: playing a bag needs the package rosbags, which is not installed; run `pip install rosbags`"
        ) from None
    try:
        # The type store serves bags that carry no message definitions; image types are the same in every release.
        reader = AnyReader([path], default_typestore=get_typestore(Stores.ROS2_HUMBLE))
        reader.open()
    except (AnyReaderError, OSError, ValueError) as error:
        raise InputError(f"{path}: expected a rosbag, got one that cannot be opened ({error})") from None
    return _Closing(reader)


class _Closing:
    """`with` over a reader that is open already: opening errors are told from reading errors."""

    def __init__(self, reader: Any) -> None:
        self._reader = reader

    def __enter__(self) -> Any:
        return self._reader

    def __exit__(self, *_: object) -> None:
        self._reader.close()


def _choose(reader: Any, path: Path, cfg: PlayConfig) -> dict[str, str]:
    """Channel to topic. Raises InputError, listing the bag's image topics."""
    images = {c.topic: c for c in reader.connections if c.msgtype in (IMAGE, COMPRESSED) and c.msgcount > 0}
    listing = ", ".join(sorted(images)) or "none"
    for given in (cfg.rgb_topic, cfg.depth_topic):
        if given and given not in images:
            raise InputError(f"{path}: expected images on {given}, got none; image topics of this bag: {listing}")
    depths = [cfg.depth_topic] if cfg.depth_topic else [t for t, c in images.items() if _is_depth(reader, c)]
    depth = _only(path, "depth", depths, listing)
    colours = [cfg.rgb_topic] if cfg.rgb_topic else [t for t, c in images.items() if t != depth and _is_rgb(reader, c)]
    raw = [topic for topic in colours if images[topic].msgtype == IMAGE]
    topics = {RGB: _only(path, "rgb", raw or colours, listing), DEPTH: depth}
    infos = {c.topic for c in reader.connections if c.msgtype == CAMERA_INFO and c.msgcount > 0}
    beside = f"{topics[RGB].removesuffix('/compressed').rpartition('/')[0]}/camera_info"
    wanted = cfg.camera_info_topic or beside
    if wanted in infos:
        topics[INFO] = wanted
    elif cfg.camera_info_topic:
        raise InputError(
            f"{path}: expected CameraInfo on {wanted}, got {', '.join(sorted(infos)) or 'none'}; check the name"
        )
    return topics


def _only(path: Path, role: str, topics: list[str], listing: str) -> str:
    named = topics if len(topics) == 1 else [topic for topic in topics if role in topic.lower()]
    if len(named) != 1:
        got = ", ".join(topics) or "none"
        raise InputError(
            f"{path}: expected one {role} topic, got {got}; name it with -p {role}_topic:=..., image topics: {listing}"
        )
    return named[0]


def _format(reader: Any, connection: Any) -> str:
    """Encoding of an Image topic, format text of a CompressedImage topic, from its first message."""
    _, _, raw = next(iter(reader.messages([connection])))
    first = reader.deserialize(raw, connection.msgtype)
    return str(first.encoding if connection.msgtype == IMAGE else first.format)


def _is_depth(reader: Any, connection: Any) -> bool:
    text = _format(reader, connection)
    return text in DEPTH_ENCODINGS if connection.msgtype == IMAGE else "compressedDepth" in text


def _is_rgb(reader: Any, connection: Any) -> bool:
    text = _format(reader, connection)
    if connection.msgtype == COMPRESSED:
        return "compressedDepth" not in text
    # One-channel pictures in a bag with depth are infrared, masks or left/right cameras.
    return text not in DEPTH_ENCODINGS and not text.startswith(("mono", "8UC1"))
