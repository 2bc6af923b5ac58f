# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Reading ROS 1 bags by the rosbags package: a damaged chunk costs itself."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from m4sam_core.errors import InputError
from m4sam_core.rgbd.bags.storage import Channel, Raw, text_of


class Ros1File:
    """One .bag file, open for reading."""

    def __init__(self, path: Path, damage: list[str]) -> None:
        """Open a file.

        Raises:
            InputError: no ROS 1 bag, or one without an index.
        """
        from rosbags.rosbag1 import Reader

        self._name, self._damage = path.name, damage
        try:
            self._reader: Any = Reader(path)
            self._reader.open()
        except Exception as error:  # noqa: BLE001 (a damaged file makes it raise anything)
            remedy = "repair it with `rosbag reindex`"
            raise InputError(f"{path}: expected a readable bag, got {text_of(error)}; {remedy}") from None
        self._connections: dict[int, Any] = {connection.id: connection for connection in self._reader.connections}
        self.end_ns = int(self._reader.end_time)
        self.channels = [
            Channel(key, c.topic, c.msgtype, "ros1", c.msgcount, c.msgdef.data, c.digest)
            for key, c in self._connections.items()
        ]

    def close(self) -> None:
        """Close the file."""
        self._reader.close()

    def messages(self, wanted: Collection[Channel]) -> Iterator[Raw]:
        """Messages of some channels by log time; a damaged chunk is noted and left out."""
        channels = {channel.id: channel for channel in wanted}
        connections = [self._connections[key] for key in channels]
        entries = list(heapq.merge(*(self._reader.indexes[key] for key in channels)))
        done = 0
        while done < len(entries):
            begin = entries[done].time
            again = sum(entry.time == begin for entry in entries[:done])
            stream = self._reader.messages(connections, start=begin)
            try:
                for connection, log_ns, raw in itertools.islice(stream, again, None):
                    yield channels[connection.id], log_ns, raw
                    done += 1
                return
            except Exception as error:  # noqa: BLE001 (whatever damaged bytes make the reader raise)
                bad = entries[done].chunk_pos
                lost = sum(entry.chunk_pos == bad for entry in entries[done:])
                self._damage.append(f"{self._name}: a damaged chunk is left out ({lost} messages): {text_of(error)}")
                done = sum(entry.chunk_pos != bad for entry in entries[:done])
                entries = [entry for entry in entries if entry.chunk_pos != bad]
                for key, index in self._reader.indexes.items():
                    self._reader.indexes[key] = [entry for entry in index if entry.chunk_pos != bad]
