# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Frames that wait for a person, the doubtful first, and the table that leads from a tool's file back to them."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Literal

import numpy as np

from m4sam_core.errors import InputError
from m4sam_core.host.files import whole_file
from m4sam_core.rgbd.image_files import IMAGE_SUFFIXES, image_size
from m4sam_core.rgbd.masks import read_mask
from m4sam_training.data.predicted_masks import PredictedMask, read_predicted
from m4sam_training.data.videos import Frame, Scan, Video

FRAMES_FILE, IMAGES_FOLDER = "frames.csv", "images"
LABEL = "salient"
Which = Literal["todo", "predicted", "unlabelled", "drawn", "all"]
WHICH: tuple[Which, ...] = ("todo", "predicted", "unlabelled", "drawn", "all")
DRAWN, PREDICTED, UNLABELLED = "drawn", "predicted", "none"
_KINDS: dict[Which, tuple[str, ...]] = {
    "todo": (PREDICTED, UNLABELLED),
    "predicted": (PREDICTED,),
    "unlabelled": (UNLABELLED,),
    "drawn": (DRAWN,),
    "all": (PREDICTED, UNLABELLED, DRAWN),
}
_WORDS = {DRAWN: "with a drawn mask", PREDICTED: "with a predicted mask", UNLABELLED: "without a mask"}


@dataclass(frozen=True)
class LabelFrame:
    """A frame as a labelling tool sees it.

    Attributes:
        name: of its image in the export; begins with its rank, for tools that order by name.
        split, video, stem: where it is in the dataset.
        height, width: of its image. Pixels.
        source: of its mask: "drawn", "none" without one, or as `PredictedMask.source`.
        confidence: of a predicted mask, in [0, 1]; None: not known.
    """

    name: str
    split: str
    video: str
    stem: str
    height: int
    width: int
    source: str
    confidence: float | None = None

    def folder(self, data: Path) -> Path:
        """Its video's folder in a dataset of the m4sam layout."""
        return data / self.split / self.video

    def mask_path(self, data: Path) -> Path:
        """Where its mask is written."""
        return self.folder(data) / "mask" / f"{self.stem}.png"

    def mask_file(self, data: Path) -> Path | None:
        """Its mask, in whatever format; None without one."""
        paths = (self.mask_path(data).with_name(f"{self.stem}{suffix}") for suffix in IMAGE_SUFFIXES)
        return next((path for path in paths if path.is_file()), None)

    def mask(self, data: Path) -> np.ndarray | None:
        """Its mask (height, width), uint8, 0 or 255; None without one.

        Raises:
            InputError: the file cannot be read.
        """
        path = self.mask_file(data)
        return None if path is None else read_mask(path)


def choose_frames(scans: Sequence[Scan], which: Which = "todo", limit: int = 0) -> list[tuple[LabelFrame, Frame]]:
    """Frames of a dataset in the order in which people should look at them.

    Predictions of the lowest confidence come first, then those of unknown confidence, then frames without a mask, then
    what was drawn already.

    Args:
        scans: splits of the m4sam layout, with their frames without masks.
        which: "todo": predicted and unlabelled; "predicted", "unlabelled", "drawn", or "all".
        limit: no more than these; 0: all.

    Raises:
        InputError: no such frame, or an image cannot be read.
    """
    found: list[tuple[tuple[float, float, int], Scan, Video, Frame, str, float | None]] = []
    kinds: Counter[str] = Counter()
    for scan in scans:
        for video in scan.videos:
            known = read_predicted(video.folder)
            for frame in video.frames:
                source, confidence = _origin(frame, known.get(frame.mask.stem if frame.mask else ""))
                rank = {UNLABELLED: 2.0, DRAWN: 3.0}.get(source, 1.0 if confidence is None else 0.0)
                place = (rank, confidence if confidence is not None else 0.0, len(found))
                kind = source if source in (UNLABELLED, DRAWN) else PREDICTED
                kinds[kind] += 1
                if kind in _KINDS[which]:
                    found.append((place, scan, video, frame, source, confidence))
    found.sort(key=lambda item: item[0])
    chosen = found[: limit or None]
    if not chosen:
        wanted = " or ".join(_WORDS[kind] for kind in _KINDS[which])
        got = ", ".join(f"{count} {_WORDS[kind]}" for kind, count in kinds.items()) or "none at all"
        raise InputError(f"label: expected frames {wanted}, got {got}; --frames all exports every one")
    digits = len(str(len(chosen)))
    made = []
    for number, (_, scan, video, frame, source, confidence) in enumerate(chosen, 1):
        name = f"{number:0{digits}d}_{video.name}_{frame.stem}{frame.rgb.suffix.lower()}"
        height, width = image_size(frame.rgb)
        made.append((LabelFrame(name, scan.split, video.name, frame.stem, height, width, source, confidence), frame))
    return made


def write_frames(path: Path, frames: Sequence[LabelFrame]) -> None:
    """Write the table, whole."""
    with whole_file(path) as draft, draft.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(LabelFrame)])
        writer.writeheader()
        writer.writerows(asdict(frame) for frame in frames)


def read_frames(path: Path) -> dict[str, LabelFrame]:
    """The table by name.

    Raises:
        InputError: it is missing, or not as `write_frames` leaves it.
    """
    if path.is_dir():
        path = path / FRAMES_FILE
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        frames = [
            LabelFrame(
                row["name"], row["split"], row["video"], row["stem"], int(row["height"]), int(row["width"]),
                row["source"], float(row["confidence"]) if row["confidence"] else None,
            )
            for row in rows
        ]  # fmt: skip
    except (OSError, KeyError, ValueError, TypeError) as error:
        wanted = "the folder that `m4sam label export` wrote"
        raise InputError(f"{path}: expected its table of frames, got {error!r}; give {wanted}") from None
    return {frame.name: frame for frame in frames}


def _origin(frame: Frame, predicted: PredictedMask | None) -> tuple[str, float | None]:
    if frame.mask is None:
        return UNLABELLED, None
    if not frame.predicted:
        return DRAWN, None
    return (predicted.source, predicted.confidence) if predicted else ("pseudo: unknown", None)
