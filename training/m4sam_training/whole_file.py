"""Files that are whole under their name, whatever is killed while they are written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


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
