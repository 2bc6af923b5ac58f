# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Header stamps of recorded messages, and when 0 is one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

_SOON_NS = 2_000_000_000  # two images further apart say nothing about a clock


def header_stamp_ns(decoded: Any) -> int | None:
    """Of a deserialised message, nanoseconds; None without a header."""
    stamp = getattr(getattr(decoded, "header", None), "stamp", None)
    return None if stamp is None else int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


def begins_at_zero(own: Sequence[int], images: Iterable[Sequence[int]]) -> bool:
    """Whether a topic's first stamp is 0 and its next is not, in a recording whose clock (a simulator's) starts so.

    A driver that leaves stamps unset leaves them all unset, or sends the time since 1970 next.

    Args:
        own: the topic's first two stamps, nanoseconds; fewer when it has no more.
        images: the same of each image topic of the recording.
    """
    started = any(len(stamps) > 1 and stamps[0] == 0 < stamps[1] <= _SOON_NS for stamps in images)
    return started and own[:1] == [0] and 0 not in own[1:]
