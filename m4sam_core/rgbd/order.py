# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""The one order of frames, and names that are times."""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal

_FIRST_NS, _LAST_NS = 9 * 10**17, 10**19  # 1998 to 2286; shorter ones are microseconds, ticks or dates written out
_DECIMAL = re.compile(r"[0-9]+\.[0-9]+")
_NUMBERS = re.compile(r"([0-9]+)")

Part = tuple[int, "int | Decimal", str]


def natural_order(name: str) -> tuple[tuple[Part, ...], str]:
    """Sort key that orders names as people count: 9 < 10 < a2 < a10, 9.95 < 10.0 (a name that is a time in seconds).

    Numbers come before text. Names that differ only in padding keep a fixed order, so the order is total.
    """
    if _DECIMAL.fullmatch(name):
        return ((0, Decimal(name), ""),), name
    parts = (part for part in _NUMBERS.split(name) if part)
    return tuple((0, int(part), "") if _NUMBERS.fullmatch(part) else (1, 0, part) for part in parts), name


def frame_number(stem: str) -> int | Decimal | None:
    """The last number of a name, or the time it is; None without one."""
    if _DECIMAL.fullmatch(stem):
        return Decimal(stem)
    numbers = _NUMBERS.findall(stem)
    return int(numbers[-1]) if numbers else None


def stamps_ns(stems: Sequence[str], declared: bool = False) -> list[int] | None:
    """The times that names are, in nanoseconds; None when they are not.

    They are when every one is a time since 1970 of 1998 or later, in nanoseconds or in seconds with a fraction.

    Args:
        stems: in order.
        declared: the clip says that its names are stamps in nanoseconds, however few digits they have.
    """
    if not stems:
        return None
    if all(_DECIMAL.fullmatch(stem) for stem in stems):
        times = [int(Decimal(stem) * 10**9) for stem in stems]
    elif all(_NUMBERS.fullmatch(stem) for stem in stems):
        times = [int(stem) for stem in stems]
        if declared:
            return times
    else:
        return None
    return times if all(_FIRST_NS <= time < _LAST_NS for time in times) else None
