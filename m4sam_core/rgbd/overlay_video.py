"""Masks drawn over their frames, as a video file."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np

from m4sam_core.errors import InputError
from m4sam_core.host.files import whole_file
from m4sam_core.rgbd.image_files import read_grey, read_rgb
from m4sam_core.rgbd.pictures import draw_overlay


def write_overlay_video(path: Path, frames: Iterable[tuple[Path, Path]], fps: float) -> int:
    """Write a video of overlays; frames of another size than the first are scaled to it. It appears when it is whole.

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
    with whole_file(path) as draft:
        count = _write_frames(draft, frames, fps)
        if count == 0:
            raise InputError(f"{path}: expected frames for a video, got none")
    return count


def _write_frames(path: Path, frames: Iterable[tuple[Path, Path]], fps: float) -> int:
    writer, size, count = None, (0, 0), 0
    try:
        for rgb_path, mask_path in frames:
            rgb, grey = read_rgb(rgb_path), read_grey(mask_path)
            tinted = draw_overlay(rgb, np.where(grey > 127, np.uint8(255), np.uint8(0)))
            if writer is None:
                size = (rgb.shape[1] // 2 * 2, rgb.shape[0] // 2 * 2)  # codecs want even sides
                writer = _open(path, fps, size)
            if (tinted.shape[1], tinted.shape[0]) != size:
                tinted = cv2.resize(tinted, size, interpolation=cv2.INTER_AREA)
            writer.write(np.ascontiguousarray(tinted[..., ::-1]))
            count += 1
    finally:
        if writer is not None:
            writer.release()
    return count


def _open(path: Path, fps: float, size: tuple[int, int]) -> cv2.VideoWriter:
    codec = "MJPG" if path.suffix.lower() == ".avi" else "mp4v"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), fps, size)
    if not writer.isOpened():
        raise InputError(f"{path}: expected a video file that can be written (.mp4 or .avi); check folder and suffix")
    return writer
