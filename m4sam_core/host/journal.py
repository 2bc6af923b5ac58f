# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""JSON lines in which a long run notes what is finished, so that it can go on after being stopped at any moment."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from m4sam_core.host.files import write_text
from m4sam_core.host.outputs import naming


class Journal:
    """Appends to a journal whose first line says what the run is about.

    Args:
        path: the file; its folder is made if absent.
        about: the first line.
        done: lines of an earlier attempt that stay, from `read_journal`; anything else in the file is dropped.
    """

    def __init__(self, path: Path, about: Mapping[str, Any], done: Sequence[Mapping[str, Any]] = ()) -> None:
        write_text(path, "".join(json.dumps(line) + "\n" for line in (about, *done)))
        self._file = path.open("a", encoding="utf-8")

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Nothing more is added."""
        self._file.close()

    def add(self, line: Mapping[str, Any]) -> None:
        """Note that something is finished."""
        with naming(Path(self._file.name)):
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()


def read_journal(path: Path) -> list[dict[str, Any]]:
    """The journal's whole lines, `about` first; nothing of what follows a line cut short by a crash."""
    return list(_lines(path))


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    if not path.is_file():
        return
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True):
        try:
            line = json.loads(text)
        except json.JSONDecodeError:
            return
        if not isinstance(line, dict) or not text.endswith("\n"):
            return
        yield line


def differing(about: Mapping[str, Any], stored: Mapping[str, Any]) -> list[str]:
    """Names of what the stored first line says otherwise."""
    wanted = json.loads(json.dumps(about))
    return [name for name in wanted if stored.get(name) != wanted[name]]
