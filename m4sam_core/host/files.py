# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Files and folders that are whole under their name, whatever is killed while they are written.

The one way in which this project writes files: into a draft beside the final name, synced to the disk, then renamed.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from m4sam_core.errors import ConfigError
from m4sam_core.host.outputs import cannot_write


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A hidden draft beside `path` that takes its place when the block ends, and goes when the block raises.

    A kill at any moment, of the process or of the power, leaves the old file or the new one, and at most a draft that
    the next attempt overwrites. The draft keeps the suffix, by which encoders choose a format. Of several writers at
    once each has a draft of its own, and the last to end wins. A device or pipe (/dev/stdout) is written as it is.

    Args:
        path: the file, in a folder that exists.

    Raises:
        OSError: the draft cannot be made, synced or renamed.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        yield path
        return
    with _own_draft(lambda name: path.with_name(f".{path.stem}.{name}{path.suffix}"), _open_file) as draft:
        try:
            yield draft
            sync(draft)
            os.replace(draft, path)
        except BaseException as error:
            if isinstance(error, OSError) and error.filename is None:
                error.filename = str(path)  # a full disk does not say where
            draft.unlink(missing_ok=True)
            raise
    sync(path.parent)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """The same for a folder that does not exist yet or is empty; the draft starts empty.

    The files in it are synced by whoever writes them.

    Args:
        path: the folder; its parents are made.

    Raises:
        OSError: the folder exists and is not empty, or cannot be made.
    """
    target = path.resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    with _own_draft(lambda name: target.with_name(f".{target.name}.{name}"), _open_folder) as draft:
        try:
            yield draft
            os.replace(draft, target)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise
    sync(target.parent)


@contextmanager
def scratch_folder(path: Path) -> Iterator[Path]:
    """An empty hidden folder beside `path`, on its disk, that goes when the block ends; a kill leaves it to the next.

    Args:
        path: what will be written from it, in a folder that exists.

    Raises:
        OSError: it cannot be made.
    """
    with _own_draft(lambda name: path.with_name(f".{path.name}.{name}"), _open_folder) as draft:
        try:
            yield draft
        finally:
            shutil.rmtree(draft, ignore_errors=True)


def write_bytes(path: Path, data: bytes | memoryview) -> None:
    """Write a whole file; its folder is made if absent.

    Raises:
        OSError: it cannot be written; the old file stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as draft:
        draft.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write a whole UTF-8 file; see `write_bytes`."""
    write_bytes(path, text.encode())


def write_json(path: Path, values: Mapping[str, Any] | Sequence[Any]) -> None:
    """Write a whole JSON file; its folder is made if absent.

    Raises:
        ConfigError: it cannot be written; the old file stays.
    """
    try:
        write_text(path, json.dumps(values, indent=1) + "\n")
    except OSError as error:
        raise ConfigError(cannot_write(path, error)) from error


@contextmanager
def _own_draft(named: Callable[[str], Path], opened: Callable[[Path], int]) -> Iterator[Path]:
    """The first of the names part, part1, part2, ... that no other writer holds; empty, and held in the block.

    Whoever holds a draft has it locked, and the system frees the lock of the dead: nothing piles up after kills.
    """
    number = 0
    while True:
        draft = named(f"part{number or ''}")
        handle = opened(draft)
        try:
            if not _locked(handle):
                number += 1
                continue
            if not _is_at(handle, draft):  # its holder has just renamed it
                continue
            _emptied(handle, draft)
            yield draft
            return
        finally:
            os.close(handle)


def _open_file(path: Path) -> int:
    # Not through a link that somebody planted there; the mode is what the umask leaves of it.
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)


def _open_folder(path: Path) -> int:
    path.mkdir(exist_ok=True)
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)


def _locked(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks: one writer per file at a time
        return True
    return True


def _is_at(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path, follow_symlinks=False))
    except FileNotFoundError:
        return False


def _emptied(handle: int, draft: Path) -> None:
    if not draft.is_dir():
        os.ftruncate(handle, 0)
        return
    for left in draft.iterdir():
        if left.is_dir() and not left.is_symlink():
            shutil.rmtree(left)
        else:
            left.unlink()


def sync(path: Path) -> None:
    """Have the disk hold what has been written to a file, or the names in a folder.

    Raises:
        OSError: it cannot be opened or synced.
    """
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
