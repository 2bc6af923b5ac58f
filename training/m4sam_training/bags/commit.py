# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Finished work is moved into place exactly once, whatever is killed, repeated or run twice."""

from __future__ import annotations

import fcntl
import glob
import json
import shutil
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from m4sam_core.errors import ConfigError
from m4sam_core.host.files import write_json

_LOOK_BYTES = 1 << 20


def commit(
    scratch: Path, out: Path, marker: Path, videos: Sequence[str], report: dict[str, Any], key: dict[str, Any]
) -> None:
    """Move videos from a scratch folder into the dataset; call it under `locked`.

    A journal names the videos first, so that a commit that was killed is completed by the next. The marker comes last.

    Args:
        scratch: folder that holds the videos.
        out: the dataset's folder.
        marker: `<name>.json`; scratch folders are its siblings `<name>.*.partial`.
        videos: "split/video" below both folders.
        report: kept in the marker.
        key: what the work was made from and with.

    Raises:
        ConfigError: a video is in the way that is not this bag's, or a commit with another key was killed half-way.
    """
    journal = _journal_of(marker)
    ours = set(_read_same(journal, key)["videos"]) if journal.is_file() else set()
    foreign = [video for video in videos if (out / video).exists() and video not in ours]
    if foreign:
        raise ConfigError(
            f"{out / foreign[0]}: expected no such video, got one of another bag or setting; use a new --out"
        )
    write_json(journal, {"key": key, "videos": list(videos)})
    for video in videos:
        target = out / video
        if target.exists():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        (scratch / video).rename(target)
    write_json(marker, {"key": key, "report": report})
    _tidy(marker)


def finished(marker: Path, key: dict[str, Any]) -> dict[str, Any] | None:
    """The report kept in the marker; None when the work is not finished.

    Raises:
        ConfigError: it was made with other settings or from another bag of that name.
    """
    if marker.is_file():
        report: dict[str, Any] = _read_same(marker, key)["report"]
        _tidy(marker)
        return report
    if _journal_of(marker).is_file():  # some of its videos are in place: they must not be mixed with others
        _read_same(_journal_of(marker), key)
    return None


def identity(bag: Path) -> dict[str, Any]:
    """What tells a bag from another of its name: its size in bytes, and a checksum of the ends of its files.

    Raw recordings of one length have one size.
    """
    files = sorted(path for path in ([*bag.iterdir()] if bag.is_dir() else [bag]) if path.is_file())
    checksum = 0
    for path in files:
        with path.open("rb") as file:
            checksum = zlib.crc32(file.read(_LOOK_BYTES), checksum)
            file.seek(max(0, path.stat().st_size - _LOOK_BYTES))
            checksum = zlib.crc32(file.read(), checksum)
    return {"size": sum(path.stat().st_size for path in files), "content": f"{checksum:08x}"}


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file; waits for whoever holds it. Freed by the system when the process dies."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _journal_of(marker: Path) -> Path:
    return marker.with_suffix(".journal")


def _tidy(marker: Path) -> None:
    """Remove what attempts at finished work left, killed ones and others that are too late."""
    _journal_of(marker).unlink(missing_ok=True)
    for left in marker.parent.glob(f"{glob.escape(marker.stem)}.*.partial"):
        shutil.rmtree(left, ignore_errors=True)


def _read_same(path: Path, key: dict[str, Any]) -> dict[str, Any]:
    stored: dict[str, Any] = json.loads(path.read_text())
    if any(key.get(name) != value for name, value in stored["key"].items()):  # of before, it may say less
        raise ConfigError(f"{path}: expected the same bag and settings as before, got others; use a new --out")
    return stored
