# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""The one writer of video files: whole under its name, or not there."""

from __future__ import annotations

import contextlib
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np

from m4sam_core.errors import InputError
from m4sam_core.host.files import whole_file
from m4sam_core.host.outputs import cannot_write
from m4sam_core.rgbd.pictures import fit_picture

_CODECS = {".mp4": "mp4v", ".avi": "MJPG"}


class VideoFile:
    """An .mp4 or .avi of rgb pictures that appears when it is closed; a block left by an exception leaves no file.

    Args:
        path: the file, in a folder that exists; another suffix is taken for .mp4.
        fps: pictures per second.
        width: of the first picture, pixels; others are fitted into its size.
        height: of the first picture, pixels.

    Raises:
        InputError: this OpenCV writes no such video, or the folder takes no file.
    """

    def __init__(self, path: Path, fps: float, width: int, height: int) -> None:
        self.path = path
        self.frames = 0
        self._size = (width + width % 2, height + height % 2)  # the codecs halve the chroma
        self._whole = contextlib.ExitStack()
        try:
            self._draft = self._whole.enter_context(whole_file(path))
        except OSError as error:
            raise InputError(f"{path}: expected a folder that takes a video, got {error}") from None
        codec = _CODECS.get(path.suffix.lower(), "mp4v")
        self._writer = cv2.VideoWriter(str(self._draft), cv2.VideoWriter.fourcc(*codec), fps, self._size)
        if not self._writer.isOpened():
            problem = InputError(
                f"{path}: expected an .mp4 or .avi that OpenCV can write, got a build that cannot, or a full disk; "
                "choose another folder, or install opencv-python-headless"
            )
            self.__exit__(InputError, problem, None)
            raise problem

    def __enter__(self) -> VideoFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.release()
        if kind is None and _frames_in(self._draft) != self.frames:  # OpenCV does not say that the disk was full
            error = InputError(
                f"{self.path}: expected {self.frames} frames in the video, got a broken file; is the disk full?"
            )
            self._whole.__exit__(InputError, error, None)
            raise error
        try:
            self._whole.__exit__(kind, error, trace)
        except OSError as problem:
            raise InputError(cannot_write(self.path, problem)) from problem

    def add(self, picture: np.ndarray) -> None:
        """One more picture, (H, W, 3) uint8 rgb."""
        width, height = self._size
        if picture.shape[:2] != (height, width):
            fitted = fit_picture(picture, width, height)
            picture = np.zeros((height, width, 3), np.uint8)
            picture[: fitted.shape[0], : fitted.shape[1]] = fitted
        self._writer.write(np.ascontiguousarray(picture[..., ::-1]))
        self.frames += 1


def _frames_in(path: Path) -> int:
    """Frames of a video whose last one can be read, else 0."""
    video = cv2.VideoCapture(str(path))
    try:
        count = int(video.get(cv2.CAP_PROP_FRAME_COUNT))
        video.set(cv2.CAP_PROP_POS_FRAMES, count - 1)
        return count if count > 0 and video.read()[0] else 0
    finally:
        video.release()
