"""Files of one recording: masks, overlay video, contact sheet and summary. No ROS here."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from m4sam_core.errors import InputError
from m4sam_core.rgbd.pictures import contact_sheet, draw_overlay, fit_picture

VIDEO_NAME = "overlay.mp4"
SHEET_NAME = "contact_sheet.png"
SUMMARY_NAME = "summary.json"
MASK_FOLDER = "masks"
_CODEC = "mp4v"
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
    """

    stamp_ns: int
    rgb: np.ndarray | None
    mask: np.ndarray
    caption: str


class Recording:
    """Writes frames as they come; every file that is there under its final name is complete.

    Args:
        folder: created when missing; files of an earlier recording in it are replaced.
        masks: write masks/<stamp_ns>.png.
        video: write overlay.mp4.
        sheet_tiles: pictures on the contact sheet; 0 writes none.
        video_fps: of the video; 0 takes it from the first stamps.
        alpha: opacity of the mask.

    Raises:
        InputError: the folder cannot be written.
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
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if masks:
                (folder / MASK_FOLDER).mkdir(exist_ok=True)
                for old in (folder / MASK_FOLDER).glob("*.png"):
                    old.unlink()
            for name in (VIDEO_NAME, SHEET_NAME, SUMMARY_NAME):
                (folder / name).unlink(missing_ok=True)
        except OSError as error:
            raise InputError(f"out: expected a folder that can be written, got {folder} ({error})") from None

    def add(self, frame: RecordedFrame) -> None:
        """Write one frame.

        Raises:
            OSError: the disk is full or gone.
            InputError: image and mask differ in size.
        """
        self.frames += 1
        if self._masks:
            write_png(self._folder / MASK_FOLDER / f"{frame.stamp_ns}.png", frame.mask)
        if self._video is None and self._tiles is None:
            return
        if frame.rgb is None:
            self.without_rgb += 1
            return
        overlay = draw_overlay(frame.rgb, frame.mask, self._alpha, caption=frame.caption)
        if self._video is not None:
            self._video.add(overlay, frame.stamp_ns)
        if self._tiles is not None:
            self._tiles.add(overlay)

    def close(self, summary: dict[str, Any]) -> None:
        """Finish every file; the summary comes last, so where it is the recording is complete."""
        if self._video is not None:
            self._video.close()
        if self._tiles is not None and self._tiles.pictures:
            tile = self._tiles.pictures[0]
            height = max(1, round(_TILE_WIDTH_PX * tile.shape[0] / tile.shape[1]))
            tiles = [fit_picture(picture, _TILE_WIDTH_PX, height) for picture in self._tiles.pictures]
            write_png(self._folder / SHEET_NAME, contact_sheet(tiles, _SHEET_COLUMNS))
        with replacing(self._folder / SUMMARY_NAME) as scratch:
            scratch.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")


def write_png(path: Path, pixels: np.ndarray) -> None:
    """(H, W) uint8 or (H, W, 3) uint8 RGB to a png, atomically.

    Raises:
        OSError: it cannot be written.
    """
    ordered = pixels if pixels.ndim == 2 else pixels[..., ::-1]
    _, data = cv2.imencode(".png", np.ascontiguousarray(ordered), [cv2.IMWRITE_PNG_COMPRESSION, 1])
    with replacing(path) as scratch:
        scratch.write_bytes(data.tobytes())


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A scratch path beside `path` that takes its place when the block ends well, and goes away when it does not."""
    scratch = path.with_name(f".{path.stem}.partial{path.suffix}")
    try:
        yield scratch
        os.replace(scratch, path)
    finally:
        scratch.unlink(missing_ok=True)


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
        self._scratch = path.with_name(f".{path.stem}.partial{path.suffix}")
        self._fps = fps
        self._early: list[tuple[int, np.ndarray]] = []
        self._writer: Any = None
        self._size = (0, 0)

    def add(self, picture: np.ndarray, stamp_ns: int) -> None:
        if self._writer is not None:
            self._write(picture)
            return
        self._early.append((stamp_ns, picture))
        if self._fps or len(self._early) == _FPS_SAMPLE:
            self._open()

    def close(self) -> None:
        if self._writer is None and self._early:
            self._open()
        if self._writer is not None:
            self._writer.release()
            os.replace(self._scratch, self._path)

    def _open(self) -> None:
        height, width = self._early[0][1].shape[:2]
        self._size = (width + width % 2, height + height % 2)  # the codec halves the chroma
        fps = self._fps or self._estimated_fps()
        self._writer = cv2.VideoWriter(str(self._scratch), cv2.VideoWriter.fourcc(*_CODEC), fps, self._size)
        if not self._writer.isOpened():
            raise InputError(
                f"{self._path}: expected OpenCV to write {_CODEC} video, got a build that cannot; set video:=false or "
                "install opencv-python-headless"
            )
        for _, picture in self._early:
            self._write(picture)
        self._early.clear()

    def _write(self, picture: np.ndarray) -> None:
        width, height = self._size
        if picture.shape[:2] != (height, width):
            fitted = fit_picture(picture, width, height)
            picture = np.zeros((height, width, 3), np.uint8)
            picture[: fitted.shape[0], : fitted.shape[1]] = fitted
        self._writer.write(np.ascontiguousarray(picture[..., ::-1]))

    def _estimated_fps(self) -> float:
        steps = np.diff([stamp for stamp, _ in self._early])
        steps = steps[steps > 0]
        return float(np.clip(1e9 / np.median(steps), *_FPS_RANGE)) if steps.size else _DEFAULT_FPS
