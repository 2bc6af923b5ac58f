# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Flaws that only show when a file is decoded; each function plants one into an extra frame of a video."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from m4sam_core.rgbd.depth_files import read_depth
from m4sam_core.rgbd.image_files import read_rgb, write_png
from m4sam_training.data.generate.planted import Planted, extra_frame
from m4sam_training.data.generate.videos import VideoFiles

_TURNED = 6
_ORIENTATION = 0x0112


def _damaged_jpeg(video: VideoFiles) -> Planted:
    path = _as_jpeg(video, "x_jpeg_9010")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] + b"\xff\xd9")
    return Planted(path, "jpeg is damaged inside, its decoder makes up the rest")


def _turned_jpeg(video: VideoFiles) -> Planted:
    exif = Image.Exif()
    exif[_ORIENTATION] = _TURNED
    path = _as_jpeg(video, "x_turned_9011", exif=exif)
    return Planted(path, "rgb has an EXIF orientation, which is not applied")


def _as_jpeg(video: VideoFiles, stem: str, **options: Any) -> Path:
    path = extra_frame(video, stem, "rgb depth mask")["rgb"]
    image = Image.fromarray(read_rgb(path))
    path.unlink()
    path = path.with_suffix(".jpg")
    image.save(path, "JPEG", quality=95, **options)
    return path


def _undecodable_rgb(video: VideoFiles) -> Planted:
    """Its header and its end are whole."""
    path = extra_frame(video, "x_inside_9012", "rgb depth mask")["rgb"]
    image = read_rgb(path)
    path.unlink()
    path = path.with_suffix(".png")
    write_png(path, image)
    data = bytearray(path.read_bytes())
    data[len(data) // 3 : len(data) // 3 + 64] = bytes(64)
    path.write_bytes(data)
    return Planted(path, "cannot be decoded")


def _depth_without_reading(video: VideoFiles) -> Planted:
    path = extra_frame(video, "x_dark_9013", "rgb depth mask")["depth"]
    write_png(path, np.zeros_like(read_depth(path)))
    return Planted(path, "depth without any reading")


def _depth_in_colours(video: VideoFiles) -> Planted:
    path = extra_frame(video, "x_colour_9014", "rgb depth mask")["depth"]
    relative = cv2.normalize(read_depth(path), None, 1, 255, cv2.NORM_MINMAX).astype(np.uint8)
    cv2.imwrite(str(path), cv2.applyColorMap(relative, cv2.COLORMAP_JET))
    return Planted(path, "depth is a colour picture, its luminance is used, see --depth-coding")


def _float_millimetres(video: VideoFiles) -> Planted:
    path = extra_frame(video, "x_float_9015", "rgb depth mask")["depth"]
    depth = read_depth(path)
    path.unlink()
    path = path.with_suffix(".tiff")
    cv2.imwrite(str(path), 1000 + depth.astype(np.float32))
    return Planted(path, "float depth is not in metres")


def _mask(name: str, reason: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[VideoFiles], Planted]:
    def make(video: VideoFiles) -> Planted:
        path = extra_frame(video, name, "rgb depth mask")["mask"]
        change_mask(path, change)
        return Planted(path, reason)

    return make


def change_mask(path: Path, change: Callable[[np.ndarray], np.ndarray]) -> None:
    """Rewrite a mask file of 0 and 255."""
    mask = np.asarray(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE))
    cv2.imwrite(str(path), change(mask))


def _soft(mask: np.ndarray) -> np.ndarray:
    """Every pixel neither black nor white."""
    return (50 + 0.6 * mask.astype(np.float32)).astype(np.uint8)


def _classes(mask: np.ndarray) -> np.ndarray:
    return np.where(mask > 0, 1, 2 * (np.arange(mask.shape[1]) % 2)).astype(np.uint8)


def _coloured(mask: np.ndarray) -> np.ndarray:
    return np.dstack([np.zeros_like(mask), np.zeros_like(mask), mask])


def _with_alpha(mask: np.ndarray) -> np.ndarray:
    return np.dstack([np.full((*mask.shape, 3), 255, np.uint8), mask])


INSIDE: tuple[Callable[[VideoFiles], Planted], ...] = (
    _damaged_jpeg,
    _turned_jpeg,
    _undecodable_rgb,
    _depth_without_reading,
    _depth_in_colours,
    _float_millimetres,
    _mask("x_one_9016", "mask of 0 and 1, read as background and salient", lambda mask: mask // 255),
    _mask("x_none_9017", "mask without a salient pixel", np.zeros_like),
    _mask("x_full_9018", "mask without a background pixel", lambda mask: np.full_like(mask, 255)),
    _mask("x_soft_9019", "mask is not black and white, cut at half of its range", _soft),
    _mask("x_red_9020", "coloured mask, read as one colour on black", _coloured),
    _mask("x_alpha_9021", "mask in the alpha channel, read as opaque", _with_alpha),
    _mask("x_ids_9022", "cannot be understood", _classes),
)
