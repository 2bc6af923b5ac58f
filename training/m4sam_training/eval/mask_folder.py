# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""A folder of predicted masks, ours or another method's, beside the ground truth.

How large a value is certain is told by the whole folder, never by one mask: a faint map of a frame in which nothing was
found is not a mask of 0 and 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import cv2
import numpy as np

from m4sam_core.errors import InputError
from m4sam_core.rgbd.clip_folder import Note, images_by_stem, match_names, unread_files
from m4sam_core.rgbd.image_files import image_size, read_pixels
from m4sam_core.rgbd.masks import Mask, understand
from m4sam_training.data.frames import read_clip
from m4sam_training.data.videos import Irregularity, Scan
from m4sam_training.eval.predict_dataset import Prediction

_NEAR_GREY = 0.125  # of the largest value; a grey map's channels differ by less, as lossy files leave them
_OVERSHOOT = 0.25  # of the largest value; a map that was resized smoothly goes less below 0
Key = tuple[str, str]
"""Names of a video and a frame."""


@dataclass
class FolderRemarks:
    """What is odd about a folder of masks that is used all the same.

    Attributes:
        noted: all of it.
        resized: masks of another size than the ground truth.
    """

    noted: list[Irregularity] = field(default_factory=list)
    resized: int = 0


def read_mask_folder(
    masks: Path, scan: Scan, dropped: list[Irregularity], remarks: FolderRemarks | None = None
) -> Iterator[Prediction]:
    """Existing masks `<masks>/<video>/<stem>.*` (or `<masks>/<dataset>/<video>/...`) beside the ground truth.

    Masks of single pictures may lie in the folder itself. Names that differ in padding or words are matched by their
    frame number where every frame has a mask of its number. A mask of another size is resized to the ground truth's,
    bilinearly as the public evaluators do. Grey maps keep their values; colours and alpha channels are read as those
    of the ground truth are.

    Args:
        masks: the folder.
        scan: the split.
        dropped: receives what is missing or could not be read.
        remarks: receives what is odd but used.

    Raises:
        InputError: the folder does not exist.
    """
    if not masks.is_dir():
        raise InputError(f"{masks}: expected a folder of masks, got none; give --masks the folder above the videos")

    def note(path: Path, reason: str, used: bool) -> None:
        if not used:
            dropped.append(Irregularity(path, reason))
        elif remarks is not None:
            remarks.noted.append(Irregularity(path, reason, used=True))

    files = _find(masks, scan, note)
    certain = _Certain(list(files.values()))
    for video in scan.videos:
        for frame in video.annotated:
            path = files.get((video.name, frame.stem))
            if path is None:
                dropped.append(Irregularity(masks / video.name / f"{frame.stem}.png", "predicted mask is missing"))
                continue
            try:
                clip = read_clip(video, [frame], "black")
                image_size(path)
                mask = _read(path, certain, note)
            except InputError as error:
                dropped.append(Irregularity(path, f"cannot be read: {error}"))
                continue
            height, width = clip.mask[0].shape
            if mask.shape != (height, width):
                sizes = f"{mask.shape[1]}x{mask.shape[0]} to {width}x{height}"
                note(path, f"predicted mask of another size, resized to the ground truth's: {sizes}", True)
                if remarks is not None:
                    remarks.resized += 1
                mask = np.asarray(cv2.resize(mask, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)
            yield Prediction(video.name, frame, mask.astype(np.float32) / 255, clip.mask[0], clip.rgb[0], mask)


def _find(masks: Path, scan: Scan, note: Note) -> dict[Key, Path]:
    """The file of every frame that has one."""
    nested = [path for path in sorted(masks.iterdir()) if path.is_dir()]
    beside = any((masks / video.name).is_dir() for video in scan.videos)
    if len(nested) == 1 and not beside:
        masks = nested[0]
        beside = any((masks / video.name).is_dir() for video in scan.videos)
    if scan.layout.pictures and not beside:
        names = {video.annotated[0].stem: (video.name, video.annotated[0].stem) for video in scan.videos}
        return {names[stem]: path for stem, path in _named(masks, names, note).items()}
    found: dict[Key, Path] = {}
    for video in scan.videos:
        if (masks / video.name).is_dir():
            stems, others = ([frame.stem for frame in frames] for frames in (video.annotated, video.frames))
            named = _named(masks / video.name, stems, note, others)
            found |= {(video.name, stem): path for stem, path in named.items()}
    return found


def _named(folder: Path, stems: Iterable[str], note: Note, others: Iterable[str] = ()) -> dict[str, Path]:
    """Files of a folder by the frames' stems; by number only where every frame has one: 0, 1 beside 1, 2 is one off.

    Args:
        folder: of one video, or of single pictures.
        stems: of the frames that are scored.
        note: takes what is odd, and masks of no frame.
        others: frames without ground truth, which may have masks.
    """
    wanted = dict.fromkeys(stems, folder)
    files = images_by_stem(folder, note=lambda *_: None)
    numbered, matched = dict(files), list[tuple[Path, str, bool]]()
    match_names({"rgb": wanted, "predicted mask": numbered}, lambda *found: matched.append(found))
    if wanted.keys() <= numbered.keys():
        files = numbered
        for found in matched:
            note(*found)
    known = set(others)
    for path in (path for stem, path in files.items() if stem not in wanted and stem not in known):
        note(path, "predicted mask of no frame, do its names count as those of the ground truth?", False)
    if unread := unread_files(folder):
        note(folder, f"predicted masks that are no pictures: {unread}", False)
    return {stem: path for stem, path in files.items() if stem in wanted}


class _Certain:
    """Which value of a folder's files stands for a probability of 1, for each type of samples."""

    def __init__(self, paths: list[Path]) -> None:
        self._paths = paths
        self._of_type = cache(self._look)
        self.remark: str | None = None

    def __call__(self, grey: np.ndarray) -> float:
        return self._of_type(grey.dtype)

    def _look(self, kind: np.dtype[np.generic]) -> float:
        """By the largest value, for which no more files are looked at than needed."""
        top = {"uint8": 255.0, "uint16": 65535.0}.get(kind.name, 255.0)
        largest = 0.0
        for path in self._paths:
            try:
                grey = _grey(read_pixels(path))
            except InputError:
                continue  # told when the file is used
            if grey is None or grey.dtype != kind:
                continue
            largest = max(largest, float(np.nan_to_num(grey, posinf=0.0).max()))
            if largest > top / 2:
                break
        full = next(value for value in (1.0, 255.0, max(65535.0, largest)) if largest <= value)
        if 1 < largest <= full / 2:
            self.remark = f"no predicted mask goes beyond {largest:g} of {full:g}, are they class ids?"
        return full


def _read(path: Path, certain: _Certain, note: Note) -> Mask:
    """One mask (H, W) uint8, 255 = certain."""
    pixels = read_pixels(path)
    grey = _grey(pixels)
    if grey is None:
        read = understand(pixels, name=str(path))
        note(path, f"predicted {read.note}", True)
        return read.mask
    full = certain(grey)
    if certain.remark is not None:
        note(path, certain.remark, True)
    if not np.isfinite(grey).all():
        note(path, "predicted mask with values that are no numbers, read as 0", True)
    values = np.nan_to_num(np.asarray(grey, np.float32), posinf=0.0, neginf=0.0)
    low, high = float(values.min()), float(values.max())
    if low < -_OVERSHOOT * max(high, 1.0):
        raise InputError(
            f"{path}: expected a map from 0 (background) up, got {low:.3g} to {high:.3g}; are these logits? save their "
            "sigmoid"
        )
    return np.rint(values * np.float32(255 / full)).clip(0, 255).astype(np.uint8)


def _grey(pixels: np.ndarray) -> np.ndarray | None:
    """The one plane of a grey picture; None where colours or an alpha channel say what is salient."""
    if pixels.ndim == 2:
        return pixels
    if pixels.shape[2] in (2, 4) and pixels[..., -1].min() != pixels[..., -1].max():
        return None
    if pixels.shape[2] >= 3:
        colours = pixels[..., :3].astype(np.float32)
        if float(np.ptp(colours, axis=2).max()) > _NEAR_GREY * max(float(colours.max()), 1.0):
            return None
    return np.ascontiguousarray(pixels[..., 0])
