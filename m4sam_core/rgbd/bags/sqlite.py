# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Reading rosbag2's sqlite3 files as far as they go: a damaged row costs itself."""

from __future__ import annotations

import shutil
import sqlite3
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path

from m4sam_core.errors import InputError
from m4sam_core.rgbd.bags.salvage import salvage_sqlite, sqlite_is_short
from m4sam_core.rgbd.bags.storage import ZSTD_MAGIC, Channel, Raw, decompress, profiles, text_of

_WINDOW = 256  # rows asked for at once where the table is damaged


class SqliteFile:
    """One .db3 file, open for reading."""

    def __init__(self, path: Path, damage: list[str], scratch: Path) -> None:
        """Open a file.

        Args:
            path: the file.
            damage: takes what was wrong, one line each.
            scratch: folder for a readable copy of one that is cut off or was not closed.

        Raises:
            InputError: no rosbag2 database, or nothing of it can be read.
        """
        self._name, self._damage = path.name, damage
        try:
            self._db = _read_only(_whole(path, damage, scratch))
            self._rows = self._read_rows()
            self.channels = self._read_channels()
            self.end_ns = self._rows[-1][0] if self._rows else 0
        except sqlite3.Error as error:
            raise InputError(f"{path}: expected a rosbag2 database, got {text_of(error)}") from None
        if not self.channels:
            raise InputError(f"{path}: expected a rosbag2 database with topics, got none")

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def messages(self, wanted: Collection[Channel]) -> Iterator[Raw]:
        """Messages of some channels by log time; rows that cannot be read are noted and left out."""
        channels = {channel.id: channel for channel in wanted}
        lost = 0
        for log_ns, row, key in self._rows:
            if key not in channels:
                continue
            try:
                found = self._db.execute("SELECT data FROM messages WHERE id = ?", (row,)).fetchone()
                data = bytes(found[0])
                if data.startswith(ZSTD_MAGIC):  # compression mode "message"
                    data = decompress("zstd", data, 0)
            except (sqlite3.Error, InputError, TypeError):
                lost += 1
                continue
            yield channels[key], log_ns, data
        if lost:
            self._damage.append(f"{self._name}: {lost} damaged messages are left out")

    def _read_rows(self) -> list[tuple[int, int, int]]:
        """(log time, row, topic) of every message, by time."""
        query = "SELECT timestamp, id, topic_id FROM messages NOT INDEXED"
        try:
            rows = self._db.execute(query).fetchall()
        except sqlite3.DatabaseError:
            rows = self._rows_around_damage(query)
            self._damage.append(f"{self._name}: the table of messages is damaged; {len(rows)} are read")
        return sorted(row for row in rows if all(isinstance(value, int) for value in row))

    def _rows_around_damage(self, query: str) -> list[tuple[int, int, int]]:
        (pages,) = self._db.execute("PRAGMA page_count").fetchone()
        rows: list[tuple[int, int, int]] = []
        first, misses = 0, 0
        while misses < max(4, pages // _WINDOW + 4):
            window = self._window(query, first, first + _WINDOW)
            rows += window
            misses = 0 if window else misses + 1
            first += _WINDOW
        return rows

    def _window(self, query: str, first: int, end: int) -> list[tuple[int, int, int]]:
        """Rows first <= id < end, halving the window around what cannot be read."""
        try:
            return self._db.execute(f"{query} WHERE id >= ? AND id < ?", (first, end)).fetchall()
        except sqlite3.DatabaseError:
            if end - first <= 1:
                return []
            middle = (first + end) // 2
            return self._window(query, first, middle) + self._window(query, middle, end)

    def _read_channels(self) -> list[Channel]:
        columns = {row[1] for row in self._db.execute("PRAGMA table_info(topics)")}
        digest = "type_description_hash" if "type_description_hash" in columns else "''"
        qos = "offered_qos_profiles" if "offered_qos_profiles" in columns else "''"
        counts = Counter(key for _, _, key in self._rows)
        definitions: dict[str, str] = {}
        if self._db.execute("SELECT 1 FROM sqlite_master WHERE name = 'message_definitions'").fetchone():
            query = "SELECT topic_type, encoded_message_definition FROM message_definitions"
            definitions = {name: text or "" for name, text in self._db.execute(query)}
        query = f"SELECT id, name, type, serialization_format, {digest}, {qos} FROM topics ORDER BY id"
        return [
            Channel(key, name, kind, coding, counts[key], definitions.get(kind, ""), hashed or "", profiles(text))
            for key, name, kind, coding, hashed, text in self._db.execute(query)
        ]


def _whole(path: Path, damage: list[str], scratch: Path) -> Path:
    """The file, or a copy of it that SQLite can read."""
    if sqlite_is_short(path):
        copy = scratch / path.name
        if not salvage_sqlite(path, copy):
            raise InputError(f"{path}: expected a whole database, got a truncated one without a readable message")
        damage.append(f"{path.name}: truncated; the messages before the cut are used")
        return copy
    log = path.with_name(f"{path.name}-wal")
    if not log.is_file() or log.stat().st_size == 0:
        return path
    damage.append(f"{log.name}: the recorder was stopped hard; what it had not yet moved into the database is read too")
    for file in (path, log):
        shutil.copyfile(file, scratch / file.name)
    with sqlite3.connect(scratch / path.name) as merged:
        merged.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    merged.close()
    return scratch / path.name


def _read_only(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True, check_same_thread=False)
