# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Reading MCAP files (https://mcap.dev/spec) as far as they go: damage costs its own chunk, and no more.

The index at the end of the file says where the chunks are. Without one (a recorder that was killed, a file cut off) the
file is walked record by record; where a record makes no sense the walk goes on at the next chunk that does.
"""

from __future__ import annotations

import heapq
import mmap
import struct
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

from m4sam_core.errors import InputError
from m4sam_core.rgbd.bags.storage import Channel, Raw, decompress, modern_type, profiles

MAGIC = b"\x89MCAP0\r\n"
_SCHEMA, _CHANNEL, _MESSAGE, _CHUNK, _CHUNK_INDEX, _STATISTICS = 0x03, 0x04, 0x05, 0x06, 0x08, 0x0B
_FOOTER, _DATA_END = 0x02, 0x0F
_HEAD = struct.Struct("<BQ")  # opcode, length
_MESSAGE_HEAD = struct.Struct("<HIQQ")  # channel, sequence, log time, publish time
_CHUNK_HEAD = struct.Struct("<QQQII")  # start, end, uncompressed size, CRC, length of the compression's name
_FOOTER_BYTES = _HEAD.size + 20 + len(MAGIC)
_LARGEST_OPCODE = 0x0F
_MAX_CHUNK_BYTES = 1 << 31
_DEFINITIONS = ("ros2msg", "ros2idl", "ros1msg", "")


class _Chunk(NamedTuple):
    """Where a chunk's record begins, behind its head, and what its messages span."""

    start_ns: int
    end_ns: int
    at: int
    length: int
    counts: dict[int, int]


@dataclass(frozen=True)
class _Schema:
    name: str
    coding: str
    text: str


class McapFile:
    """One MCAP file, open for reading."""

    def __init__(self, path: Path, damage: list[str]) -> None:
        """Open a file.

        Args:
            path: the file.
            damage: takes what was wrong, one line each.

        Raises:
            InputError: no MCAP file, or nothing of it can be read.
        """
        self._name, self._damage = path.name, damage
        self._schemas: dict[int, _Schema] = {}
        self._channels: dict[int, Channel] = {}
        self._counts: Counter[int] = Counter()
        self._chunks: list[_Chunk] = []
        self._loose: list[tuple[int, int, int, int]] = []  # log time, place, length, channel
        self._told: set[str] = set()
        self._file = path.open("rb")
        try:
            if self._file.read(len(MAGIC)) != MAGIC:
                raise InputError(f"{path}: expected an MCAP file, got another one")
            self._data = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
            if not self._read_summary():
                self._schemas, self._channels, self._chunks, self._counts = {}, {}, [], Counter()
                self._walk()
            if not self._channels:
                raise InputError(f"{path}: expected messages, got an MCAP file without a readable one")
        except BaseException:
            self.close()
            raise
        ends = [chunk.end_ns for chunk in self._chunks] + [stamp for stamp, *_ in self._loose]
        self.end_ns = max(ends, default=0)
        self.channels = [replace(c, count=self._counts[key]) for key, c in sorted(self._channels.items())]

    def close(self) -> None:
        """Close the file."""
        if hasattr(self, "_data"):
            self._data.close()
        self._file.close()

    def messages(self, wanted: Collection[Channel]) -> Iterator[Raw]:
        """Messages of some channels by log time; a damaged chunk is noted and left out."""
        channels = {channel.id: channel for channel in wanted}
        parts = [self._chunk_messages(chunk, channels) for chunk in self._chunks if self._has(chunk, channels)]
        loose = sorted(item for item in self._loose if item[3] in channels)
        parts.append((stamp, (key, self._data[at : at + length])) for stamp, at, length, key in loose)
        for stamp_ns, item in heapq.merge(*parts, key=lambda part: part[0]):
            if item is not None:
                yield channels[item[0]], stamp_ns, item[1]

    # -------------------------------------------------------------------------------------- the index

    def _read_summary(self) -> bool:
        """Take schemas, channels and chunks from the end of the file; False when there is no sound index."""
        data, size = self._data, len(self._data)
        if size < _FOOTER_BYTES + len(MAGIC) or data[-len(MAGIC) :] != MAGIC:
            self._note("truncated; the messages before the cut are used")
            return False
        at = size - _FOOTER_BYTES
        if _HEAD.unpack_from(data, at) != (_FOOTER, 20):
            self._note("its end is damaged; it is read record by record")
            return False
        start, _, crc = struct.unpack_from("<QQI", data, at + _HEAD.size)
        if not start:
            return False
        end = at + _HEAD.size + 16
        if not len(MAGIC) <= start < at or (crc and crc32(data[start:end]) != crc):
            self._note("its index is damaged; it is read record by record")
            return False
        chunk_count = 0
        try:
            for opcode, begin, _ in self._records(data, start, at):
                if opcode == _STATISTICS:
                    chunk_count = struct.unpack_from("<QHIIII", data, begin)[5]
                elif opcode == _CHUNK_INDEX:
                    self._add_chunk_index(begin)
                else:
                    self._define(opcode, data, begin)
        except (struct.error, ValueError, OverflowError):
            self._note("its index is damaged; it is read record by record")
            return False
        return bool(self._chunks) and len(self._chunks) >= chunk_count and bool(self._channels)

    def _add_chunk_index(self, begin: int) -> None:
        start_ns, end_ns, at, length, size = struct.unpack_from("<QQQQI", self._data, begin)
        if _HEAD.unpack_from(self._data, at) != (_CHUNK, length - _HEAD.size):
            raise struct.error("an index that points to no chunk")
        body = begin + 36 + size
        places = struct.iter_unpack("<HQ", self._data[begin + 36 : body])
        counts = {key: self._index_length(place) for key, place in places}
        self._counts.update(counts)
        self._chunks.append(_Chunk(start_ns, end_ns, at + _HEAD.size, length - _HEAD.size, counts))

    def _index_length(self, place: int) -> int:
        """Messages of a channel in a chunk, by its message index record."""
        return int(struct.unpack_from("<I", self._data, place + _HEAD.size + 2)[0]) // 16

    # ------------------------------------------------------------------------------------- the records

    def _walk(self) -> None:
        """Find every chunk and every message outside of chunks."""
        at, size = len(MAGIC), len(self._data)
        while at + _HEAD.size <= size:
            opcode, length = _HEAD.unpack_from(self._data, at)
            begin, end = at + _HEAD.size, at + _HEAD.size + length
            if opcode in (_FOOTER, _DATA_END) and length in (4, 20):
                return
            if not 0 < opcode <= _LARGEST_OPCODE or (end > size and opcode != _CHUNK):
                at = self._next_chunk(at + 1)
                self._note("damaged between its chunks; it is read on at the next one")
                continue
            try:
                if opcode == _CHUNK:
                    self._take_chunk(begin, min(end, size))
                elif opcode == _MESSAGE:
                    key, _, log_ns, _ = _MESSAGE_HEAD.unpack_from(self._data, begin)
                    self._loose.append((log_ns, begin + _MESSAGE_HEAD.size, length - _MESSAGE_HEAD.size, key))
                    self._counts[key] += 1
                else:
                    self._define(opcode, self._data, begin)
            except (struct.error, UnicodeDecodeError):
                self._note("a record is damaged and left out")
            at = end

    def _next_chunk(self, at: int) -> int:
        """Where the next plausible chunk begins; the file's end when there is none."""
        while (at := self._data.find(bytes([_CHUNK]), at)) >= 0:
            if self._is_chunk(at):
                return at
            at += 1
        return len(self._data)

    def _is_chunk(self, at: int) -> bool:
        """Whether a chunk's lengths agree with each other."""
        if at + _HEAD.size + _CHUNK_HEAD.size + 8 > len(self._data):
            return False
        length = _HEAD.unpack_from(self._data, at)[1]
        start, end, _, _, name = _CHUNK_HEAD.unpack_from(self._data, at + _HEAD.size)
        behind = at + _HEAD.size + _CHUNK_HEAD.size + name
        if name > 8 or start > end or length > _MAX_CHUNK_BYTES or behind + 8 > len(self._data):
            return False
        return bool(struct.unpack_from("<Q", self._data, behind)[0] == length - _CHUNK_HEAD.size - name - 8)

    def _take_chunk(self, begin: int, end: int) -> None:
        """Note a chunk's place, and take the channels that are defined in it."""
        counts: Counter[int] = Counter()
        stamps: list[int] = []
        contents = self._contents(_Chunk(0, 0, begin, end - begin, {}))
        for opcode, at, _ in self._records(contents, 0, len(contents)):
            if opcode == _MESSAGE:
                key, _, log_ns, _ = _MESSAGE_HEAD.unpack_from(contents, at)
                counts[key] += 1
                stamps.append(log_ns)
            else:
                self._define(opcode, contents, at)
        if stamps:
            self._counts.update(counts)
            self._chunks.append(_Chunk(min(stamps), max(stamps), begin, end - begin, dict(counts)))

    def _contents(self, chunk: _Chunk) -> bytes:
        """The records in a chunk; b"" of a damaged one, which is noted; what is there of one that is cut off."""
        try:
            _, _, size, crc, name_length = _CHUNK_HEAD.unpack_from(self._data, chunk.at)
            at = chunk.at + _CHUNK_HEAD.size
            name = self._data[at : at + name_length].decode()
            (stored,) = struct.unpack_from("<Q", self._data, at + name_length)
            at += name_length + 8
            if stored > chunk.length:
                block = self._data[at : chunk.at + chunk.length]
                self._note("truncated; the messages before the cut are used")
                return b"" if name else block  # the beginning of a compressed chunk cannot be unpacked reliably
            contents = decompress(name, self._data[at : at + stored], size)
            if crc and crc32(contents) != crc:
                raise InputError("expected the chunk's checksum, got another")
        except (InputError, struct.error, UnicodeDecodeError) as error:
            lost = sum(chunk.counts.values())
            what = f"{lost} messages" if lost else f"at byte {chunk.at}"
            self._note(f"a damaged chunk is left out ({what}): {error}")
            return b""
        return contents

    def _chunk_messages(
        self, chunk: _Chunk, channels: dict[int, Channel]
    ) -> Iterator[tuple[int, tuple[int, bytes] | None]]:
        """A chunk's messages by log time; first a mark, so that a chunk is unpacked only when its time has come."""
        yield chunk.start_ns, None
        contents, found = self._contents(chunk), []
        for opcode, at, stop in self._records(contents, 0, len(contents)):
            if opcode == _MESSAGE and stop - at >= _MESSAGE_HEAD.size:
                key, _, log_ns, _ = _MESSAGE_HEAD.unpack_from(contents, at)
                if key in channels:
                    found.append((log_ns, (key, contents[at + _MESSAGE_HEAD.size : stop])))
        yield from sorted(found, key=lambda item: item[0])

    def _records(self, data: bytes | mmap.mmap, at: int, end: int) -> Iterator[tuple[int, int, int]]:
        """(opcode, begin, end) of whole records; ends, with a note, at one that makes no sense."""
        while at + _HEAD.size <= end:
            opcode, length = _HEAD.unpack_from(data, at)
            if not 0 < opcode <= _LARGEST_OPCODE or at + _HEAD.size + length > end:
                self._note("records of a chunk are damaged or cut off, and left out")
                return
            yield opcode, at + _HEAD.size, at + _HEAD.size + length
            at += _HEAD.size + length

    def _define(self, opcode: int, data: bytes | mmap.mmap, begin: int) -> None:
        """Take a schema or a channel; records of other kinds say nothing that is needed."""
        if opcode == _SCHEMA:
            (key,) = struct.unpack_from("<H", data, begin)
            name, at = _string(data, begin + 2)
            coding, at = _string(data, at)
            text, _ = _string(data, at)
            self._schemas[key] = _Schema(name, coding, text if coding in _DEFINITIONS else "")
        elif opcode == _CHANNEL:
            key, schema_key = struct.unpack_from("<HH", data, begin)
            topic, at = _string(data, begin + 4)
            coding, at = _string(data, at)
            schema = self._schemas.get(schema_key, _Schema("", "", ""))
            known = coding if schema.coding in _DEFINITIONS else schema.coding
            self._channels[key] = Channel(key, topic, modern_type(schema.name), known, 0, schema.text)
            offered = _metadata(data, at).get("offered_qos_profiles", "")
            self._channels[key] = replace(self._channels[key], qos=profiles(offered))

    def _has(self, chunk: _Chunk, channels: dict[int, Channel]) -> bool:
        return not chunk.counts or any(key in channels for key in chunk.counts)

    def _note(self, text: str) -> None:
        line = f"{self._name}: {text}"
        if line not in self._told:
            self._told.add(line)
            self._damage.append(line)


def _string(data: bytes | mmap.mmap, at: int) -> tuple[str, int]:
    (length,) = struct.unpack_from("<I", data, at)
    if at + 4 + length > len(data):
        raise struct.error("string beyond the record")
    return data[at + 4 : at + 4 + length].decode("utf-8", "replace"), at + 4 + length


def _metadata(data: bytes | mmap.mmap, at: int) -> dict[str, str]:
    """A channel's map of strings."""
    (length,) = struct.unpack_from("<I", data, at)
    values, end = {}, at + 4 + length
    at += 4
    while at < end:
        key, at = _string(data, at)
        values[key], at = _string(data, at)
    return values
