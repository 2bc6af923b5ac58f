# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Masks drawn over their frames, as a video file."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from pathlib import Path

import numpy as np

from m4sam_core.errors import InputError
from m4sam_core.rgbd.image_files import read_grey, read_rgb
from m4sam_core.rgbd.pictures import draw_overlay
from m4sam_core.rgbd.video_file import VideoFile


def write_overlay_video(path: Path, frames: Iterable[tuple[Path, Path]], fps: float) -> int:
    """Write a video of overlays; frames of another size than the first are fitted into it. It appears when it is whole.

    Args:
        path: the video, .mp4 or .avi.
        frames: (rgb file, mask file), in order.
        fps: frames per second.

    Returns:
        Number of frames written.

    Raises:
        InputError: no frame, a file that cannot be read, or a video that cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    pictures = (_overlay(rgb, mask) for rgb, mask in frames)
    first = next(pictures, None)
    if first is None:
        raise InputError(f"{path}: expected frames for a video, got none")
    with VideoFile(path, fps, first.shape[1], first.shape[0]) as video:
        for picture in chain((first,), pictures):
            video.add(picture)
    return video.frames


def _overlay(rgb: Path, mask: Path) -> np.ndarray:
    return draw_overlay(read_rgb(rgb), np.where(read_grey(mask) > 127, np.uint8(255), np.uint8(0)))
