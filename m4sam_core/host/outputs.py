# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Places a command will write to: tried before the work begins, and held by one run at a time."""

from __future__ import annotations

import errno
import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from m4sam_core.errors import ConfigError

_ADVICE = {
    errno.ENOSPC: "free some space or choose another place",
    errno.EDQUOT: "free some of your quota or choose another place",
    errno.EFBIG: "choose a file system that takes larger files",
    errno.EACCES: "choose a place that you may use",
    errno.EPERM: "choose a place that you may use",
    errno.EROFS: "choose a place that can be written",
    errno.ENOENT: "check the path",
    errno.ENOTDIR: "check the path: a part of it is a file",
    errno.EISDIR: "check the path: it is a folder",
    errno.EEXIST: "check the path: it is taken",
    errno.ENAMETOOLONG: "choose a shorter name",
}


def advice(error: OSError) -> str:
    """What to do about a file or folder that cannot be used."""
    return _ADVICE.get(error.errno or 0, "choose another place")


def explain(error: OSError) -> str | None:
    """One line for what the user can mend about files and folders, with what to do; None for everything else."""
    if error.errno not in _ADVICE:
        return None
    place = error.filename2 or error.filename
    return f"{place or 'output'}: expected to read or write there, got {error.strerror}; {advice(error)}"


def cannot_write(path: Path, error: OSError) -> str:
    """One line for an output that could not be written, with what to do."""
    return f"{path}: expected a file that can be written, got {error.strerror or error}; {advice(error)}"


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """A full disk does not say where it is full: an OSError in the block that names no file names `path`."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise


def is_full(error: BaseException | None) -> bool:
    """Whether an error is that of a disk that takes nothing more, which whatever is written next will meet, too."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def check_outputs(*, folders: tuple[Path | None, ...] = (), files: tuple[Path | None, ...] = ()) -> None:
    """Try all outputs of a command before hours of work; folders are made.

    Args:
        folders: results go into them; None is left out.
        files: results that are files of their own; None is left out.

    Raises:
        ConfigError: one cannot be made or written.
    """
    for file in files:
        if file is not None and file.is_dir():
            raise ConfigError(f"{file}: expected a file to write, got a folder; name a file in it")
    wanted = [path for path in folders if path is not None]
    wanted += [path.parent for path in files if path is not None and not (path.exists() and not path.is_file())]
    for folder in dict.fromkeys(wanted):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder) as probe:
                probe.write(b"0")
        except OSError as error:
            raise ConfigError(
                f"{folder}: expected a folder that can be written, got {error.strerror}; {advice(error)}"
            ) from None


def check_new_folder(out: Path) -> None:
    """Refuse a place where something is already, for results that appear as a whole.

    Raises:
        ConfigError: a file, or a folder with something in it.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"{out}: expected a new or empty folder, got one with files; nothing is ever overwritten")


@contextmanager
def sole_writer(folder: Path) -> Iterator[None]:
    """Hold a folder for one run; the system frees it when the process dies, however it dies.

    Args:
        folder: it exists.

    Raises:
        ConfigError: another run holds it.
    """
    with (folder / ".lock").open("a+") as file:
        _lock(file.fileno(), folder, " (it holds .lock)")
        try:
            yield
        except BaseException:
            _leave_if_empty(folder)
            raise


@contextmanager
def only_user(folder: Path | None) -> Iterator[None]:
    """The same for this machine alone, and without a file in the folder; None holds nothing.

    Raises:
        ConfigError: another run holds it.
    """
    if folder is None:
        yield
        return
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _lock(handle, folder, "")
        yield
    finally:
        os.close(handle)


def _lock(handle: int, folder: Path, how: str) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ConfigError(
            f"{folder}: expected no other run in this folder, got one that is at work{how}; "
            "wait for it or choose another --out"
        ) from None
    except OSError:  # a file system without locks
        pass


def _leave_if_empty(folder: Path) -> None:
    """A run that fails before it has written anything leaves no folder that looks like one."""
    if [path.name for path in folder.iterdir()] == [".lock"]:
        (folder / ".lock").unlink()
        folder.rmdir()
