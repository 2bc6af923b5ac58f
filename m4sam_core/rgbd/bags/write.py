# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Writing image messages into rosbags."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import numpy as np

from m4sam_core.errors import ConfigError, InputError
from m4sam_core.host.optional import require
from m4sam_core.rgbd.bags.storage import Channel
from m4sam_core.rgbd.encodings import ENCODINGS

Storage = Literal["mcap", "sqlite3"]
STORAGES: tuple[Storage, ...] = ("mcap", "sqlite3")
_RULE = "=" * 80 + "\n"
_IDL = f"{_RULE}IDL: "
_NO_HASH = f"RIHS01_{'0' * 64}"  # the writer insists on one; what it writes of this is emptied
_METADATA_VERSION: Literal[8] = 8  # the last one with QoS profiles in the form older distributions parse


def storage_of(text: str) -> Storage:
    """The storage of that name.

    Raises:
        ConfigError: unknown.
    """
    for storage in STORAGES:
        if storage == text:
            return storage
    raise ConfigError(f"storage: expected one of {', '.join(STORAGES)}, got {text!r}")


class ImageBagWriter:
    """A new rosbag2 folder that takes images (and copies of any message); used in a `with` block.

    Raises:
        OSError: leaving the block, the disk is full, whatever the storage calls that.
    """

    def __init__(self, path: Path, storage: Storage = "mcap") -> None:
        """Begin a bag.

        Raises:
            ConfigError: the path exists already, or rosbags is missing.
        """
        require("rosbags", "bags")
        from rosbags.rosbag2 import StoragePlugin, Writer
        from rosbags.typesys import Stores, get_typestore

        if path.exists():
            raise ConfigError(f"{path}: expected a new bag, got something that exists; nothing is ever overwritten")
        plugin = StoragePlugin.MCAP if storage == "mcap" else StoragePlugin.SQLITE3
        self._path = path
        self._types = get_typestore(Stores.ROS2_HUMBLE)
        self._writer = Writer(path, version=_METADATA_VERSION, storage_plugin=plugin)
        self._writer.open()
        self._connections: dict[str, Any] = {}
        self._copied: dict[tuple[str, str, str], Any] = {}

    def __enter__(self) -> ImageBagWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        failed = error
        try:
            self._writer.close()
        except (OSError, sqlite3.Error) as problem:
            failed = failed or problem
        if isinstance(failed, sqlite3.OperationalError) and "full" in str(failed):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from failed
        if failed is not None and failed is not error:
            raise failed
        metadata = self._path / "metadata.yaml"
        if metadata.is_file():
            metadata.write_text(metadata.read_text().replace(_NO_HASH, "''"))

    def copy_channel(self, channel: Channel) -> Any:
        """A connection like a channel of another bag; name, type, definition and profiles are kept.

        A type that neither the bag nor this tool knows the definition of is copied without one.

        Raises:
            InputError: the channel's messages are not ROS's.
        """
        if channel.coding not in ("cdr", "ros1") or not channel.msgtype:
            got = f"{channel.coding or 'nothing'} of type {channel.msgtype or 'unknown'}"
            raise InputError(f"{channel.topic}: expected CDR messages, got {got}; left out")
        definition, digest = self._definition(channel)
        key = (channel.topic, channel.msgtype, str(channel.qos))
        if key not in self._copied:
            self._copied[key] = self._writer.add_connection(
                channel.topic,
                channel.msgtype,
                msgdef=definition,
                rihs01=digest,
                offered_qos_profiles=channel.qos,
            )
        return self._copied[key]

    def _definition(self, channel: Channel) -> tuple[str, str]:
        """Text and hash of a type: this tool's, else the bag's as far as they make sense."""
        if channel.msgtype in self._types.types:
            text, _ = self._types.generate_msgdef(channel.msgtype, ros_version=2)
            return text, self._types.hash_rihs01(channel.msgtype)
        from rosbags.typesys import Stores, get_types_from_idl, get_types_from_msg, get_typestore

        store, text = get_typestore(Stores.EMPTY), channel.definition
        try:
            if text.startswith(_IDL):
                for part in text.split(_RULE)[1:]:
                    store.register(get_types_from_idl(part.partition("\n")[2]))
            elif text:
                store.register(get_types_from_msg(text, channel.msgtype))
        except Exception:  # noqa: BLE001 (a foreign definition makes the parser raise anything)
            text = ""
        return text, store.hash_rihs01(channel.msgtype) if channel.msgtype in store.types else _NO_HASH

    def copy(self, connection: Any, log_ns: int, raw: bytes) -> None:
        """Write a serialised message as it is."""
        self._writer.write(connection, log_ns, raw)

    def write_image(
        self, topic: str, pixels: np.ndarray, encoding: str, stamp_ns: int, frame_id: str, log_ns: int | None = None
    ) -> None:
        """Write one sensor_msgs/Image.

        Args:
            topic: its topic.
            pixels: (H, W) or (H, W, C) of exactly the encoding's type.
            encoding: a key of `m4sam_core.rgbd.encodings.ENCODINGS`.
            stamp_ns: header stamp.
            frame_id: header frame.
            log_ns: time of recording; None: the stamp.

        Raises:
            InputError: array and encoding disagree.
        """
        known = ENCODINGS[encoding]
        channels = pixels.shape[2] if pixels.ndim == 3 else 1
        if pixels.dtype != np.dtype(known.dtype) or channels != known.channels:
            raise InputError(
                f"{topic}: expected {known.channels} channels of {known.dtype}, got {pixels.shape} {pixels.dtype}"
            )
        types = self._types.types
        height, width = pixels.shape[:2]
        message = types["sensor_msgs/msg/Image"](
            header=self._header(stamp_ns, frame_id),
            height=height,
            width=width,
            encoding=encoding,
            is_bigendian=0,
            step=width * channels * pixels.dtype.itemsize,
            data=np.ascontiguousarray(pixels).view(np.uint8).reshape(-1),
        )
        self._write(topic, "sensor_msgs/msg/Image", message, stamp_ns if log_ns is None else log_ns)

    def write_camera_info(self, topic: str, intrinsics: Mapping[str, Any], stamp_ns: int, frame_id: str) -> None:
        """Write one sensor_msgs/CameraInfo from the `intrinsics` of a video.yaml."""
        types = self._types.types
        k = _numbers(intrinsics.get("k"), 9)
        roi = types["sensor_msgs/msg/RegionOfInterest"](x_offset=0, y_offset=0, height=0, width=0, do_rectify=False)
        message = types["sensor_msgs/msg/CameraInfo"](
            header=self._header(stamp_ns, frame_id),
            height=int(intrinsics.get("height", 0)),
            width=int(intrinsics.get("width", 0)),
            distortion_model=str(intrinsics.get("distortion_model", "")),
            d=np.asarray(intrinsics.get("d") or [], dtype=np.float64),
            k=k,
            r=np.eye(3).reshape(-1),
            p=np.concatenate([np.insert(k.reshape(3, 3), 3, 0, axis=1).reshape(-1)]),
            binning_x=0,
            binning_y=0,
            roi=roi,
        )
        self._write(topic, "sensor_msgs/msg/CameraInfo", message, stamp_ns)

    def _write(self, topic: str, msgtype: str, message: Any, log_ns: int) -> None:
        if topic not in self._connections:
            self._connections[topic] = self._writer.add_connection(topic, msgtype, typestore=self._types)
        self._writer.write(self._connections[topic], log_ns, self._types.serialize_cdr(message, msgtype))

    def _header(self, stamp_ns: int, frame_id: str) -> Any:
        types = self._types.types
        stamp = types["builtin_interfaces/msg/Time"](sec=stamp_ns // 1_000_000_000, nanosec=stamp_ns % 1_000_000_000)
        return types["std_msgs/msg/Header"](stamp=stamp, frame_id=frame_id)


def _numbers(values: Sequence[float] | None, count: int) -> np.ndarray:
    array = np.asarray(values if values is not None else np.zeros(count), dtype=np.float64).reshape(-1)
    if array.size != count:
        raise InputError(f"intrinsics: expected {count} numbers, got {array.size}; check video.yaml")
    return array
