# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Where recordings are: which files and folders are one."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from pathlib import Path

from m4sam_core.errors import InputError
from m4sam_core.rgbd.order import natural_order

STORAGE_SUFFIXES = (".mcap", ".db3")
PACKED = ".zstd"
METADATA = "metadata.yaml"


def find_bags(paths: Collection[Path]) -> list[Path]:
    """Bags among the given files and folders, folders searched to any depth.

    Raises:
        InputError: nothing found, or a path does not exist.
    """
    found: list[Path] = []
    for path in paths:
        if not path.exists():
            raise InputError(f"{path}: expected a bag or a folder of bags, got nothing there; check the path")
        by_name = sorted(_search(path), key=lambda bag: natural_order(str(bag))) if path.is_dir() else []
        found += [path] if is_bag(path) else by_name
    if not found:
        where = ", ".join(map(str, paths))
        raise InputError(f"{where}: expected bags (.bag, .mcap, .db3 or a rosbag2 folder), got none")
    return list(dict.fromkeys(found))


def is_bag(path: Path) -> bool:
    """Whether a file or folder is one recording."""
    if path.is_dir():
        stored = [_storage_stem(file) for file in path.iterdir() if storage_suffix(file)]
        numbered = re.compile(rf"{re.escape(path.name)}(_\d+)?")
        return (path / METADATA).is_file() or (bool(stored) and all(map(numbered.fullmatch, stored)))
    return path.suffix == ".bag" or bool(storage_suffix(path))


def holds_storage(path: Path) -> bool:
    """Whether a folder has files of a recording in it, whatever they are called."""
    return path.is_dir() and any(storage_suffix(file) for file in path.iterdir())


def _search(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.name.startswith("."):
            continue
        if is_bag(path):
            yield path
        elif path.is_dir():
            yield from _search(path)


def storage_suffix(path: Path) -> str:
    """A storage file's own suffix, ".mcap" or ".db3", packed or not; "" of another file."""
    suffix = Path(path.stem).suffix if path.suffix == PACKED else path.suffix
    return suffix if suffix in STORAGE_SUFFIXES and not path.name.startswith(".") else ""


def _storage_stem(path: Path) -> str:
    return path.name.removesuffix(PACKED).removesuffix(storage_suffix(path))
