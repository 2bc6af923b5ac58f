# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""ROS 1 messages of any type as ROS 2 messages, by the rosbags package: field by field, headers without their seq."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from m4sam_core.errors import ConfigError, InputError
from m4sam_core.host.optional import require
from m4sam_core.rgbd.bags.storage import Channel, text_of


class Ros1Converter:
    """Messages of one ROS 1 type to ROS 2.

    Args:
        msgtype: in ROS 2's spelling.
        definition: its text in the bag; "" for a type that every ROS 1 has.

    Attributes:
        msgtype: what the type is called in ROS 2.
        definition: its text there; "" where this tool knows the type anyway.

    Raises:
        ConfigError: the `rosbags` package is missing.
        InputError: neither the bag nor this tool has a definition that makes sense.
    """

    def __init__(self, msgtype: str, definition: str) -> None:
        require("rosbags", "bags")
        from rosbags.convert.converter import STATIC_MSGTYPE_RENAMES
        from rosbags.typesys import Stores, get_types_from_msg, get_typestore

        self._source, self._target = get_typestore(Stores.ROS1_NOETIC), get_typestore(Stores.ROS2_HUMBLE)
        self._from = msgtype
        self.msgtype = str(STATIC_MSGTYPE_RENAMES.get(msgtype, msgtype))
        self.definition = ""
        try:
            if msgtype not in self._source.fielddefs or self.msgtype not in self._target.fielddefs:
                if not definition.strip():
                    raise ValueError("none")
                found = get_types_from_msg(definition, msgtype)
                for store in (self._source, self._target):
                    store.register({name: fields for name, fields in found.items() if name not in store.fielddefs})
                self.definition = str(self._target.generate_msgdef(self.msgtype, ros_version=2)[0])
        except Exception as error:  # noqa: BLE001 (a foreign definition makes the parser raise anything)
            raise InputError(f"ROS 1 type {msgtype}: expected its definition, got {text_of(error)}") from None
        self._cache: dict[str, object] = {}

    def __call__(self, raw: bytes) -> bytes:
        """The message as ROS 2 has it on the wire.

        Raises:
            InputError: it cannot be decoded.
        """
        from rosbags.convert.converter import migrate_bytes

        names = (self._from, self.msgtype)
        try:
            return bytes(
                migrate_bytes(self._source, self._target, *names, self._cache, raw, src_is2=False, dst_is2=True)
            )
        except Exception as error:  # noqa: BLE001 (whatever damaged bytes make the decoder raise)
            raise InputError(f"expected a whole {self._from}, got {text_of(error)}; it is damaged") from None


@lru_cache(maxsize=256)
def converter(msgtype: str, definition: str) -> Ros1Converter:
    """The converter of a type.

    Raises:
        ConfigError, InputError: as `Ros1Converter`.
    """
    try:
        return Ros1Converter(msgtype, definition)
    except ImportError as error:
        raise ConfigError(f"bags: expected a newer rosbags, got {error}; run `pip install -U rosbags`") from None


def as_ros2(channel: Channel) -> Channel:
    """A ROS 1 channel as a ROS 2 bag has it; any other as it is.

    Raises:
        ConfigError: the `rosbags` package is missing.
        InputError: its type has no definition that makes sense.
    """
    if channel.coding != "ros1":
        return channel
    known = converter(channel.msgtype, channel.definition)
    return replace(channel, msgtype=known.msgtype, coding="cdr", definition=known.definition, digest="", qos=())


def as_cdr(channel: Channel, raw: bytes) -> bytes:
    """A message as ROS 2 has it on the wire.

    Args:
        channel: its channel.
        raw: as stored.

    Raises:
        InputError: it cannot be decoded.
    """
    if channel.coding != "ros1":
        return raw
    try:
        return converter(channel.msgtype, channel.definition)(raw)
    except InputError as error:
        raise InputError(f"{channel.topic}: {error}") from None
