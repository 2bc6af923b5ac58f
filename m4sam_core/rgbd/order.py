# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""The one order of frames, and names that are times."""

from __future__ import annotations

import re
from collections.abc import Iterable
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


def are_stamps(stems: Iterable[str]) -> bool:
    """Whether every name is a time since 1970 in nanoseconds, of 1998 or later."""
    names = list(stems)
    return bool(names) and all(_NUMBERS.fullmatch(name) and _FIRST_NS <= int(name) < _LAST_NS for name in names)
