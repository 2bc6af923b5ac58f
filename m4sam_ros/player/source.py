# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""What the player plays: items of a finite recording, whatever it is stored in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

RGB = "rgb"
DEPTH = "depth"
INFO = "camera_info"
CHANNELS = (RGB, DEPTH, INFO)


@dataclass(frozen=True)
class Item:
    """One message to publish.

    Attributes:
        channel: RGB, DEPTH or INFO.
        offset_ns: when it is due, from the start of the source.
        stamp_ns: its header stamp as recorded; for a folder counted from the first frame's (0 without recorded stamps).
        key: what `Source.message` makes the message of.
    """

    channel: str
    offset_ns: int
    stamp_ns: int
    key: Any


class Source(Protocol):
    """A finite recording that can be gone through again and again."""

    period_ns: int
    """One pass, including the last frame's own time."""

    notes: list[str]
    """What was wrong with the recording; what is whole of it is played."""

    def kinds(self) -> dict[str, tuple[type, str]]:
        """Message type and topic suffix ("", "/compressed", "/compressedDepth") of each channel there is."""
        ...

    def preload(self) -> None:
        """Do ahead what would cost processor time while playing: a camera leaves it to the programs it feeds."""
        ...

    def items(self) -> Iterator[Item]:
        """One pass, in the order of `offset_ns`."""
        ...

    def message(self, item: Item, stamp_ns: int) -> Any:
        """The message, or its serialised bytes, with this header stamp.

        Raises:
            InputError: its file cannot be read.
        """
        ...


def ros_header(stamp_ns: int, frame_id: str) -> Any:
    """A `std_msgs/Header`."""
    from builtin_interfaces.msg import Time
    from std_msgs.msg import Header

    return Header(stamp=Time(sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9), frame_id=frame_id)
