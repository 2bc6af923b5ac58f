# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Whether anything below a folder has changed."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path


def tree_state(root: Path) -> str:
    """A digest of the names, sizes and times of change of all files and folders below a folder; links are followed.

    Raises:
        OSError: a part cannot be read.
    """
    digest = hashlib.blake2b(digest_size=16)
    folders, seen = [str(root)], set()
    while folders:
        folder = folders.pop()
        with os.scandir(folder) as listing:
            entries = sorted(listing, key=lambda entry: entry.name)
        for entry in entries:
            status = entry.stat()
            if entry.is_dir() and (status.st_dev, status.st_ino) not in seen:
                seen.add((status.st_dev, status.st_ino))
                folders.append(entry.path)
            digest.update(f"{entry.path}\0{status.st_size}\0{status.st_mtime_ns}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()
