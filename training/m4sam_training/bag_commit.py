"""Finished work is moved into place exactly once, whatever is killed, repeated or run twice."""

from __future__ import annotations

import fcntl
import glob
import json
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from m4sam_core.errors import ConfigError


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
        ConfigError: a video is in the way that is not this bag's.
    """
    journal = marker.with_suffix(".journal")
    ours = set(json.loads(journal.read_text())["videos"]) if journal.is_file() else set()
    foreign = [video for video in videos if (out / video).exists() and video not in ours]
    if foreign:
        raise ConfigError(
            f"{out / foreign[0]}: expected no such video, got one of another bag or setting; use a new --out"
        )
    _write_whole(journal, {"videos": list(videos)})
    for video in videos:
        target = out / video
        if target.exists():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        (scratch / video).rename(target)
    _write_whole(marker, {"key": key, "report": report})
    journal.unlink()
    for left in marker.parent.glob(f"{glob.escape(marker.stem)}.*.partial"):  # of attempts that were killed
        shutil.rmtree(left, ignore_errors=True)


def finished(marker: Path, key: dict[str, Any]) -> dict[str, Any] | None:
    """The report kept in the marker; None when the work is not finished.

    Raises:
        ConfigError: it was made with other settings or from another bag of that name.
    """
    if not marker.is_file():
        return None
    stored = json.loads(marker.read_text())
    if stored["key"] != key:
        raise ConfigError(f"{marker}: expected the same bag and settings as before, got others; use a new --out")
    report: dict[str, Any] = stored["report"]
    return report


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file; waits for whoever holds it. Freed by the system when the process dies."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _write_whole(path: Path, values: dict[str, Any]) -> None:
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}")
    temporary.write_text(json.dumps(values, indent=1))
    temporary.replace(path)
