# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""A rosbag as a source of the player: stored CDR bytes go out as they are, only their stamps are set."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

from m4sam_core.errors import InputError
from m4sam_core.rgbd.bags.ros1_messages import as_cdr
from m4sam_core.rgbd.bags.source import CAMERA_INFO, COMPRESSED, IMAGE, BagSource
from m4sam_core.rgbd.bags.topics import choose_topics
from m4sam_ros.player.settings import PlayConfig
from m4sam_ros.player.source import DEPTH, INFO, RGB, Item

_STAMP_AT = 4  # behind the 4 bytes that name the encapsulation; every message used here begins with its header
_SECOND_NS = 1_000_000_000


class BagPlayback:
    """The rgb, depth and camera_info topics of a bag, found as every tool finds them.

    Raises:
        ConfigError: rosbags is not installed.
        InputError: the bag cannot be read, or a topic is missing or ambiguous.
    """

    def __init__(self, path: Path, cfg: PlayConfig) -> None:
        self._path = path
        self._cfg = cfg
        with BagSource(path) as source:
            choice = choose_topics(source, cfg.rgb_topic, cfg.depth_topic, "", cfg.camera_info_topic)
            roles = {RGB: choice.rgb, DEPTH: choice.depth, INFO: choice.camera_info}
            self._topics = {channel: topic for channel, topic in roles.items() if topic is not None}
            known = {topic.name: topic for topic in source.topics}
            self._types = {channel: known[topic].msgtype for channel, topic in self._topics.items()}
            self._start_ns = next(log_ns for _, log_ns, _ in source.raw_messages(self._topics.values()))
            span_ns, count = source.end_ns - self._start_ns, known[choice.rgb].count
            self.notes = list(dict.fromkeys(source.damage))
        self.period_ns = round((span_ns + span_ns / max(1, count - 1)) if count > 1 and span_ns else _SECOND_NS)

    def kinds(self) -> dict[str, tuple[type, str]]:
        """See `Source`."""
        from sensor_msgs.msg import CameraInfo, CompressedImage, Image

        kinds: dict[str, tuple[type, str]] = {}
        for channel, name in self._types.items():
            suffix = "" if name != COMPRESSED else "/compressed" if channel == RGB else self._depth_suffix()
            kinds[channel] = ({IMAGE: Image, COMPRESSED: CompressedImage, CAMERA_INFO: CameraInfo}[name], suffix)
        return kinds

    def preload(self) -> None:
        """Nothing: messages leave as they were recorded."""

    def items(self) -> Iterator[Item]:
        """See `Source`."""
        channels = {topic: channel for channel, topic in self._topics.items()}
        frames, stamp_ns = 0, None
        unstamped: list[tuple[str, int, InputError]] = []  # damaged ones before the first stamp
        with BagSource(self._path) as source:
            for stored, log_ns, raw in source.raw_messages(channels):
                channel, offset_ns = channels[stored.topic], log_ns - self._start_ns
                if channel == RGB:
                    frames += 1
                    if 0 < self._cfg.max_frames < frames:
                        break
                key: bytes | InputError
                try:
                    key = as_cdr(stored, raw)
                    stamp_ns = read_stamp(key)
                except InputError as damaged:  # told when it is due, at the stamp before it
                    if stamp_ns is None:
                        unstamped.append((channel, offset_ns, damaged))
                        continue
                    key = damaged
                yield from (Item(early, at_ns, stamp_ns, damage) for early, at_ns, damage in unstamped)
                unstamped.clear()
                yield Item(channel, offset_ns, stamp_ns, key)
        yield from (Item(channel, at_ns, 0, damage) for channel, at_ns, damage in unstamped)

    def message(self, item: Item, stamp_ns: int) -> bytes:
        """See `Source`."""
        if isinstance(item.key, InputError):
            raise item.key
        return with_stamp(item.key, stamp_ns)

    def _depth_suffix(self) -> str:
        """The transport the depth topic was recorded with: its name tells it, else the driver's own."""
        return "/compressed" if self._topics[DEPTH].endswith("/compressed") else "/compressedDepth"


def read_stamp(cdr: bytes | memoryview) -> int:
    """Header stamp of a serialised message, nanoseconds.

    Raises:
        InputError: the message ends before it.
    """
    if len(cdr) < _STAMP_AT + 8:
        raise InputError(f"message in the bag: expected a header, got {len(cdr)} bytes; it was truncated")
    seconds, nanoseconds = struct.unpack_from(_stamp_format(cdr), cdr, _STAMP_AT)
    return int(seconds) * _SECOND_NS + int(nanoseconds)


def with_stamp(cdr: bytes, stamp_ns: int) -> bytes:
    """The same serialised message with another header stamp."""
    changed = bytearray(cdr)
    struct.pack_into(_stamp_format(cdr), changed, _STAMP_AT, *divmod(stamp_ns, _SECOND_NS))
    return bytes(changed)


def _stamp_format(cdr: bytes | memoryview) -> str:
    return "<iI" if cdr[1] & 1 else ">iI"
