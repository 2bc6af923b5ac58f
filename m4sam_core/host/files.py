"""Files and folders that are whole under their name, whatever is killed while they are written."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from m4sam_core.errors import ConfigError


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A hidden draft beside `path` that takes its place when the block ends, and goes when the block raises.

    A kill at any moment leaves the old file or the new one, and at most a draft that the next attempt overwrites. The
    draft keeps the suffix, by which encoders choose a format. One writer per file at a time.

    Args:
        path: the file, in a folder that exists.
    """
    draft = path.with_name(f".{path.stem}.part{path.suffix}")
    try:
        yield draft
        os.replace(draft, path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """The same for a folder that does not exist yet or is empty; the draft starts empty.

    Args:
        path: the folder; its parents are made.
    """
    target = path.resolve()
    draft = target.with_name(f".{target.name}.part")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    try:
        yield draft
        os.replace(draft, target)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


def write_json(path: Path, values: Mapping[str, Any] | Sequence[Any]) -> None:
    """Write a JSON file, creating its folder; a kill leaves the old file or the new one.

    Raises:
        ConfigError: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as draft:
            draft.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: expected a file that can be written, got {error}; choose another file") from None
