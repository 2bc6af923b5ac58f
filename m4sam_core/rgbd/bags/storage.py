# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""What every kind of storage file of a bag offers, and the decompression they share."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from m4sam_core.errors import ConfigError, InputError

Coding = Literal["cdr", "ros1"]
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


@dataclass(frozen=True)
class Channel:
    """One stream of messages in one storage file.

    Attributes:
        id: unique within the file.
        topic: as recorded.
        msgtype: e.g. "sensor_msgs/msg/Image".
        coding: how its messages are serialised: "cdr", "ros1", or the name of something else, which is never read.
        count: messages.
        definition: text of the message definition; "" when the file has none.
        digest: hash of the definition; "" when the file has none.
        qos: offered profiles, for copies.
    """

    id: int
    topic: str
    msgtype: str
    coding: str
    count: int
    definition: str = field(default="", repr=False)
    digest: str = field(default="", repr=False)
    qos: tuple[Any, ...] = field(default=(), repr=False)


Raw = tuple[Channel, int, bytes]
"""A message as stored: its channel, the time of recording in ns, the serialised bytes."""


class Storage(Protocol):
    """One open storage file."""

    channels: list[Channel]
    end_ns: int
    """Time of recording of the last message; 0 without one."""

    def messages(self, wanted: Collection[Channel]) -> Iterator[Raw]:
        """Messages of some channels by time of recording; what is damaged is noted and left out."""
        ...

    def close(self) -> None:
        """Close the file."""
        ...


def modern_type(name: str) -> str:
    """The ROS 2 spelling, "sensor_msgs/msg/Image", also of ROS 1's "sensor_msgs/Image"."""
    package, _, kind = name.partition("/")
    return f"{package}/msg/{kind}" if kind and "/" not in kind else name


def decompress(name: str, data: bytes, size: int) -> bytes:
    """The contents of a compressed block.

    Args:
        name: "zstd", "lz4", or "" for none.
        data: the block.
        size: of the contents, as the file states it; 0: unknown.

    Raises:
        InputError: damaged, or of another compression.
    """
    if not name:
        return data
    try:
        if name == "lz4":
            import lz4.frame  # type: ignore[import-untyped, unused-ignore]

            contents: bytes = lz4.frame.decompress(data)
        elif name == "zstd":
            contents = _zstd().decompress(data)
        else:
            raise InputError(f"compression: expected zstd or lz4, got {name[:20]!r}")
    except InputError:
        raise
    except ImportError as error:
        raise ConfigError(f"bags: expected the rosbags package, got {error}; run `pip install rosbags`") from None
    except Exception as error:  # noqa: BLE001 (each library has errors of its own, some of plain Exception)
        raise InputError(f"expected {name} data, got {text_of(error)}") from None
    if size and len(contents) != size:
        raise InputError(f"expected {size} bytes of {name} data, got {len(contents)}")
    return contents


def profiles(text: str) -> tuple[Any, ...]:
    """QoS profiles of a topic; those that cannot be understood are left out, a copy does not need them."""
    from rosbags.rosbag2.metadata import parse_qos

    try:
        return tuple(parse_qos(text or []))
    except Exception:  # noqa: BLE001 (whatever a foreign recorder wrote there)
        return ()


def unpack_file(packed: Path, target: Path) -> bool:
    """Decompress a .zstd file as far as it goes; False when its end is missing or damaged."""
    zstd = _zstd()
    unpacker = zstd.ZstdDecompressor()
    with packed.open("rb") as source, target.open("wb") as out:
        while block := source.read(1 << 20):
            try:
                out.write(unpacker.decompress(block))
                while unpacker.eof and (rest := unpacker.unused_data):
                    unpacker = zstd.ZstdDecompressor()
                    out.write(unpacker.decompress(rest))
            except Exception:  # noqa: BLE001 (the library's error has no class in common with others)
                return False
    return bool(unpacker.eof)


def text_of(error: BaseException) -> str:
    """An error's text on one line."""
    return " ".join(str(error).split()) or type(error).__name__


def _zstd() -> Any:
    """The module of PEP 784: in Python since 3.14, before that in a package that rosbags brings."""
    try:
        from compression import zstd  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        try:
            from backports import zstd
        except ImportError as error:
            raise ConfigError(f"bags: expected backports.zstd, got {error}; run `pip install -U rosbags`") from None
    return zstd
