# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Files of one recording: masks, overlay video, contact sheet and summary. No ROS here."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from m4sam_core.errors import InputError
from m4sam_core.host.files import write_json, write_text
from m4sam_core.objects.drawing import Tag, draw_tags
from m4sam_core.rgbd.image_files import write_png
from m4sam_core.rgbd.pictures import contact_sheet, draw_overlay, fit_picture
from m4sam_core.rgbd.video_file import VideoFile

VIDEO_NAME = "overlay.mp4"
SHEET_NAME = "contact_sheet.png"
SUMMARY_NAME = "summary.json"
OBJECTS_NAME = "objects.jsonl"
MASK_FOLDER = "masks"
LEAST_FREE_BYTES = 8 << 20
_FPS_SAMPLE = 8
_FPS_RANGE = (1.0, 120.0)
_DEFAULT_FPS = 15.0
_TILE_WIDTH_PX = 320
_SHEET_COLUMNS = 4


@dataclass(frozen=True)
class RecordedFrame:
    """One mask with its image.

    Attributes:
        stamp_ns: header stamp.
        rgb: (H, W, 3) uint8, None when its image never came.
        mask: (H, W) uint8 0/255.
        caption: written on the overlay.
        tags: written at the objects.
        record: the frame's line of objects.jsonl, None without.
    """

    stamp_ns: int
    rgb: np.ndarray | None
    mask: np.ndarray
    caption: str
    tags: Sequence[Tag] = ()
    record: dict[str, Any] | None = None


class Recording:
    """Writes frames as they come; every file that is there under its final name is complete.

    Args:
        folder: created when missing; files of an earlier recording in it are replaced.
        masks: write masks/<stamp_ns>.png.
        video: write overlay.mp4.
        sheet_tiles: pictures on the contact sheet; 0 writes none.
        video_fps: of the video; 0 takes it from the first stamps.
        alpha: opacity of the mask.

    Attributes:
        frames: taken.
        without_rgb: of them, those whose image never came, so that no picture shows them.
        replaced: of them, those that took the file of an earlier one, for it had the same stamp.

    Raises:
        InputError: the folder cannot be written, or holds masks that no recorder wrote.
    """

    def __init__(
        self,
        folder: Path,
        masks: bool = True,
        video: bool = True,
        sheet_tiles: int = 12,
        video_fps: float = 0.0,
        alpha: float = 0.5,
    ) -> None:
        self._folder = folder
        self._masks = masks
        self._alpha = alpha
        self._video = _Video(folder / VIDEO_NAME, video_fps) if video else None
        self._tiles = _EvenSample(sheet_tiles) if sheet_tiles else None
        self.frames = 0
        self.without_rgb = 0
        self.replaced = 0
        self._objects: list[str] = []
        _refuse_foreign_masks(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if masks:
                (folder / MASK_FOLDER).mkdir(exist_ok=True)
                for old in (folder / MASK_FOLDER).glob("*.png"):
                    old.unlink()
            for name in (VIDEO_NAME, SHEET_NAME, OBJECTS_NAME, SUMMARY_NAME):
                (folder / name).unlink(missing_ok=True)
        except OSError as error:
            raise InputError(f"out: expected a folder that can be written, got {folder} ({error})") from None

    def add(self, frame: RecordedFrame) -> None:
        """Write one frame.

        Raises:
            InputError: image and mask differ in size, or the disk is full or gone.
        """
        free = shutil.disk_usage(self._folder).free
        if free < LEAST_FREE_BYTES:  # while there is room to finish the video
            raise InputError(f"{self._folder}: expected room on the disk, got {free // 1024} kB left: the disk is full")
        self.frames += 1
        if frame.record is not None:
            self._objects.append(json.dumps(frame.record, allow_nan=False))
        if self._masks:
            path = self._folder / MASK_FOLDER / f"{frame.stamp_ns}.png"
            self.replaced += path.exists()  # the folder was empty at first
            write_png(path, frame.mask)
        if self._video is None and self._tiles is None:
            return
        if frame.rgb is None:
            self.without_rgb += 1
            return
        overlay = draw_overlay(frame.rgb, frame.mask, self._alpha, caption=frame.caption)
        draw_tags(overlay, frame.tags)
        if self._video is not None:
            self._video.add(overlay, frame.stamp_ns)
        if self._tiles is not None:
            self._tiles.add(overlay)

    def close(self, summary: dict[str, Any] | None) -> None:
        """Finish every file; the summary comes last, so where it is the recording is complete.

        Args:
            summary: None when it is not.

        Raises:
            InputError: a file cannot be finished.
            ConfigError: the summary cannot be written.
        """
        if self._video is not None:
            self._video.close()
        if self._tiles is not None and self._tiles.pictures:
            tile = self._tiles.pictures[0]
            height = max(1, round(_TILE_WIDTH_PX * tile.shape[0] / tile.shape[1]))
            tiles = [fit_picture(picture, _TILE_WIDTH_PX, height) for picture in self._tiles.pictures]
            write_png(self._folder / SHEET_NAME, contact_sheet(tiles, _SHEET_COLUMNS))
        if summary is not None:
            if self._objects:
                write_text(self._folder / OBJECTS_NAME, "".join(f"{line}\n" for line in self._objects))
            write_json(self._folder / SUMMARY_NAME, summary)


def _refuse_foreign_masks(folder: Path) -> None:
    """An earlier recording may be replaced; a dataset's masks, or anything else of that name, may not."""
    masks = folder / MASK_FOLDER
    if not any(masks.glob("*.png")):
        return
    others = sorted(path.name for path in folder.iterdir() if path.is_dir() and path != masks)
    pictures = {path.suffix for path in folder.glob(f"*{Path(VIDEO_NAME).stem}*")}  # its draft, after a kill, too
    if others or not (pictures or any((folder / name).exists() for name in (SHEET_NAME, SUMMARY_NAME))):
        what = f"beside {', '.join(others[:3])}" if others else "and nothing else of a recording"
        raise InputError(f"out: expected a new folder or an earlier recording, got {masks} {what}; choose another")


class _EvenSample:
    """At most 2n - 1 pictures, evenly spread over a stream of unknown length; n or all of them at the end."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._stride = 1
        self._seen = 0
        self._kept: list[np.ndarray] = []

    def add(self, picture: np.ndarray) -> None:
        if self._seen % self._stride == 0:
            self._kept.append(picture)
            if len(self._kept) == 2 * self._size:
                self._kept = self._kept[::2]
                self._stride *= 2
        self._seen += 1

    @property
    def pictures(self) -> list[np.ndarray]:
        count = min(self._size, len(self._kept))
        return [self._kept[round(i)] for i in np.linspace(0, len(self._kept) - 1, count)]


class _Video:
    """An mp4 of pictures of one size (others are fitted into it); opened when the frame rate is known."""

    def __init__(self, path: Path, fps: float) -> None:
        self._path = path
        self._fps = fps
        self._early: list[tuple[int, np.ndarray]] = []
        self._file: VideoFile | None = None

    def add(self, picture: np.ndarray, stamp_ns: int) -> None:
        if self._file is not None:
            self._file.add(picture)
            return
        self._early.append((stamp_ns, picture))
        if self._fps or len(self._early) == _FPS_SAMPLE:
            self._open()

    def close(self) -> None:
        """Finish the file.

        Raises:
            InputError: it cannot be finished; it is not there then.
        """
        if self._file is None and self._early:
            self._open()
        if self._file is not None:
            self._file.__exit__(None, None, None)

    def _open(self) -> None:
        height, width = self._early[0][1].shape[:2]
        self._file = VideoFile(self._path, self._fps or self._estimated_fps(), width, height)
        for _, picture in self._early:
            self._file.add(picture)
        self._early.clear()

    def _estimated_fps(self) -> float:
        steps = np.diff([stamp for stamp, _ in self._early])
        steps = steps[steps > 0]
        return float(np.clip(1e9 / np.median(steps), *_FPS_RANGE)) if steps.size else _DEFAULT_FPS
