# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""A progress bar for work that takes a while: on a terminal, and nowhere else."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def tracked(items: Iterable[T], title: str, total: int | None = None) -> Iterator[T]:
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
    from rich.progress import track

    yield from track(items, title, total=total, console=Console(stderr=True), transient=True)
