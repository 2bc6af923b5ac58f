# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Readable copies of truncated sqlite3 files: everything before the cut, nothing invented."""

from __future__ import annotations

import shutil
import sqlite3
import struct
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

_SQLITE_HEADER_BYTES = 100
_FILLS = (b"\x00", b"\xff")


def salvage_sqlite(file: Path, copy: Path) -> bool:
    """Write a copy with the rows in the order they were written, up to the first that reaches beyond the cut.

    False when there is none.

    SQLite reads nothing of a file that is shorter than its header says, so the missing pages are made up, twice and
    differently: a row that reads the same in both copies does not depend on them.
    """
    padded = [copy.with_name(f"{copy.name}.{index}") for index in range(len(_FILLS))]
    kept = 0
    try:
        for path, fill in zip(padded, _FILLS, strict=True):
            _pad_sqlite(file, path, fill)
        with (
            closing(_read_only(padded[0])) as first,
            closing(_read_only(padded[1])) as second,
            closing(sqlite3.connect(copy)) as new,
            new,
        ):
            for name, sql in first.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'").fetchall():
                if name.startswith("sqlite_"):
                    continue
                new.execute(sql)
                quoted = '"' + name.replace('"', '""') + '"'
                for row in _equal_rows(first, second, f"SELECT * FROM {quoted} ORDER BY rowid"):
                    new.execute(f"INSERT INTO {quoted} VALUES ({', '.join('?' * len(row))})", row)
                    kept += name == "messages"
    except sqlite3.Error:
        return False
    finally:
        for path in padded:
            path.unlink(missing_ok=True)
    return kept > 0


def _equal_rows(first: sqlite3.Connection, second: sqlite3.Connection, query: str) -> Iterator[tuple[Any, ...]]:
    rows, others = first.execute(query), second.execute(query)
    while True:
        try:
            row, other = rows.fetchone(), others.fetchone()
        except sqlite3.DatabaseError:
            return
        if row is None or row != other:
            return
        yield row


def _pad_sqlite(file: Path, copy: Path, fill: bytes) -> None:
    shutil.copyfile(file, copy)
    missing = _promised_bytes(file) - file.stat().st_size
    with copy.open("ab") as target:
        while missing > 0:
            missing -= target.write(fill * min(missing, 1 << 20))


def _read_only(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)


def sqlite_is_short(file: Path) -> bool:
    """The header promises more pages than the file has; such a file may fail only while it is read."""
    return file.stat().st_size < max(_promised_bytes(file), _SQLITE_HEADER_BYTES)


def _promised_bytes(file: Path) -> int:
    with file.open("rb") as source:
        header = source.read(_SQLITE_HEADER_BYTES)
    if len(header) < _SQLITE_HEADER_BYTES:
        return 0
    page_size, pages = struct.unpack_from(">H", header, 16)[0], struct.unpack_from(">I", header, 28)[0]
    return int(pages) * (page_size if page_size > 1 else 65536)
