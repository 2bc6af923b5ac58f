# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""What a planted flaw is, and where one is put."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from m4sam_training.data.generate.videos import VideoFiles


@dataclass(frozen=True)
class Planted:
    """An irregularity that was put in on purpose: the file and the reason `m4sam dataset check` must give.

    Attributes:
        decoded: it is found only when every file is decoded.
    """

    path: Path
    reason: str
    decoded: bool = False


def extra_frame(video: VideoFiles, stem: str, roles: str) -> dict[str, Path]:
    """Copies of the video's first (annotated) frame under another stem."""
    made = {}
    for role in roles.split():
        folder: Path = getattr(video, role)
        source = next(folder.glob(f"{video.stems[0]}.*"))
        made[role] = folder / f"{stem}{source.suffix}"
        made[role].write_bytes(source.read_bytes())
    return made
