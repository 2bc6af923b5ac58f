# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""A progress bar for work that takes a while: on a terminal, and nowhere else."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Generator, Iterable
from operator import length_hint
from typing import TypeVar

T = TypeVar("T")
_SHOWN: list[Callable[[], None]] = []  # what ends each bar on the terminal
_EVERY_S = 0.1


def tracked(items: Iterable[T], title: str, total: int | None = None) -> Generator[T, None, None]:
    """The same items, with a bar on standard error that goes when they end; silent when that is no terminal.

    Args:
        items: what is worked on.
        title: what is done.
        total: how many there are; counted where it can be.
    """
    if not sys.stderr.isatty():
        yield from items
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(show_speed=True))
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as bar:
        _SHOWN.append(bar.stop)
        try:
            # Not by bar.track, whose thread an interpreter that ends before this generator waits for in vain.
            task = bar.add_task(title, total=total or length_hint(items) or None)
            done, told = 0, time.monotonic()
            for item in items:
                yield item
                done += 1
                if time.monotonic() - told > _EVERY_S:
                    bar.update(task, completed=done)
                    told = time.monotonic()
            bar.update(task, completed=done)
        finally:
            _SHOWN.remove(bar.stop)


def end_bars() -> None:
    """Take every bar off the terminal before something else is written there."""
    for stop in tuple(_SHOWN):
        stop()
