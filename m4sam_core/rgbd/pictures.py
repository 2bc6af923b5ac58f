# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Pictures for people: a mask drawn over its image, and sheets of such pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from m4sam_core.errors import InputError
from m4sam_core.rgbd.depth_values import has_reading

Rgb = NDArray[np.uint8]

#: A colour rare in kitchens, offices and gardens alike, and told from them with any colour vision.
MASK_COLOR: tuple[int, int, int] = (0, 214, 255)
_SHEET_BACKGROUND = (24, 26, 31)
_FRAYED = 25  # borders longer than that many sides of the picture are no outline of things
_REFERENCE_HEIGHT_PX = 480
_SALIENT_ABOVE = 127
_FONT = cv2.FONT_HERSHEY_SIMPLEX


def draw_overlay(
    rgb: Rgb,
    mask: NDArray[np.uint8],
    alpha: float = 0.5,
    color: tuple[int, int, int] = MASK_COLOR,
    caption: str | None = None,
    left_out: NDArray[np.bool_] | None = None,
) -> Rgb:
    """Tint the salient region, draw its contour, darken what was not looked at, write one line at the lower left.

    Line and text sizes follow the image height, so a 240-line and a 1080-line picture look alike.

    Args:
        rgb: (H, W, 3) uint8, RGB. Not changed.
        mask: (H, W) uint8, salient where > 127.
        alpha: opacity of the tint in [0, 1]; 0 leaves the contour only.
        color: (r, g, b), each in [0, 255].
        caption: text; characters outside ASCII become ``?``.
        left_out: (H, W) bool, True where the picture does not count (a region of interest, the robot's own body).

    Returns:
        (H, W, 3) uint8, RGB, a new array.

    Raises:
        InputError: the arrays have another type or shape, or alpha is out of range.
    """
    _check_picture("overlay rgb", rgb)
    if mask.ndim != 2 or mask.dtype != np.uint8 or mask.shape != rgb.shape[:2]:
        raise InputError(
            f"overlay mask: expected uint8 of shape {rgb.shape[:2]}, got {mask.dtype} of shape {mask.shape}; "
            "resize the mask to the image first"
        )
    if not 0.0 <= alpha <= 1.0:
        raise InputError(f"overlay alpha: expected a number in [0, 1], got {alpha}")
    picture = rgb.copy()
    if left_out is not None:
        picture[left_out] //= 3
    salient = np.where(mask > _SALIENT_ABOVE, np.uint8(255), np.uint8(0))
    x, y, width, height = cv2.boundingRect(salient)
    if width and height:
        window = (slice(y, y + height), slice(x, x + width))
        _tint(picture[window], salient[window], alpha, color)
        _outline(picture, salient, color)
    if caption:
        _write_caption(picture, caption)
    return picture


def contact_sheet(tiles: Sequence[Rgb], columns: int, gap_px: int = 6) -> Rgb:
    """Lay pictures out in rows of `columns`, each centred in a cell of the first one's size.

    Args:
        tiles: (h, w, 3) uint8 pictures, RGB; sizes may differ, the aspect ratio is kept.
        columns: pictures in a row, >= 1.
        gap_px: space around the cells, pixels.

    Returns:
        (H, W, 3) uint8, RGB.

    Raises:
        InputError: no tile, a tile that is no picture, or columns < 1.
    """
    if not tiles:
        raise InputError("contact sheet: expected at least one tile, got none")
    if columns < 1:
        raise InputError(f"contact sheet columns: expected at least 1, got {columns}")
    for index, tile in enumerate(tiles):
        _check_picture(f"contact sheet tile {index}", tile)
    cell_h, cell_w = tiles[0].shape[:2]
    columns = min(columns, len(tiles))
    rows = math.ceil(len(tiles) / columns)
    shape = (rows * (cell_h + gap_px) + gap_px, columns * (cell_w + gap_px) + gap_px, 3)
    sheet = np.full(shape, _SHEET_BACKGROUND, np.uint8)
    for index, tile in enumerate(tiles):
        row, column = divmod(index, columns)
        fitted = fit_picture(tile, cell_w, cell_h)
        top = gap_px + row * (cell_h + gap_px) + (cell_h - fitted.shape[0]) // 2
        left = gap_px + column * (cell_w + gap_px) + (cell_w - fitted.shape[1]) // 2
        sheet[top : top + fitted.shape[0], left : left + fitted.shape[1]] = fitted
    return sheet


def fit_picture(rgb: Rgb, width_px: int, height_px: int) -> Rgb:
    """Scale a picture (H, W, 3) to the largest size within width x height, keeping its aspect ratio."""
    scale = min(width_px / rgb.shape[1], height_px / rgb.shape[0])
    size = (max(1, round(rgb.shape[1] * scale)), max(1, round(rgb.shape[0] * scale)))
    if size == (rgb.shape[1], rgb.shape[0]):
        return rgb
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(rgb, size, interpolation=interpolation), dtype=np.uint8)


def color_depth(depth: NDArray[np.uint16] | NDArray[np.float32] | NDArray[np.uint8]) -> Rgb:
    """A depth map as a picture: near is warm, far is cold, no reading is black.

    Args:
        depth: (H, W), any unit; what `has_reading` denies is black. Stretched between the frame's
            2nd and 98th percentile, so only the order within one picture means something.

    Returns:
        (H, W, 3) uint8, RGB.
    """
    values = depth.astype(np.float32)
    valid = has_reading(depth)
    if not valid.any():
        return np.zeros((*depth.shape, 3), np.uint8)
    near, far = np.percentile(values[valid][:: max(1, valid.sum() // 20000)], (2, 98))
    scaled = np.clip((far - np.where(valid, values, far)) / max(far - near, 1e-6), 0, 1)
    bgr = cv2.applyColorMap((scaled * 255).astype(np.uint8), cv2.COLORMAP_TURBO)
    picture: Rgb = np.ascontiguousarray(bgr[..., ::-1])
    picture[~valid] = 0
    return picture


def _check_picture(what: str, rgb: Rgb) -> None:
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8 or 0 in rgb.shape:
        raise InputError(f"{what}: expected uint8 of shape (H, W, 3), got {rgb.dtype} of shape {rgb.shape}")


def _tint(rgb: Rgb, salient: NDArray[np.uint8], alpha: float, color: tuple[int, int, int]) -> None:
    """Blend `color` into `rgb` where `salient`, in place. Half of the tint follows the luminance: texture stays."""
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    shade = cv2.addWeighted(grey, 0.6, np.full_like(grey, 255), 0.4, 0.0)
    flat = cv2.merge([cv2.convertScaleAbs(shade, alpha=channel / 255.0) for channel in color])
    cv2.copyTo(cv2.addWeighted(flat, alpha, rgb, 1.0 - alpha, 0.0), salient, rgb)


def _outline(rgb: Rgb, salient: NDArray[np.uint8], color: tuple[int, int, int]) -> None:
    """A bright line inside a dark one: visible on any ground. A frayed mask gets a plain one: seconds saved."""
    line = max(1, round(2 * rgb.shape[0] / _REFERENCE_HEIGHT_PX))
    strokes = ((line + 2 * max(1, line // 2), (12, 14, 18)), (line, color))
    edges = np.count_nonzero(np.diff(salient, axis=0)) + np.count_nonzero(np.diff(salient, axis=1))
    if edges > _FRAYED * sum(salient.shape):
        rim = cv2.morphologyEx(salient, cv2.MORPH_GRADIENT, np.ones((2, 2), np.uint8))
        for width, shade in strokes:
            rgb[cv2.dilate(rim, np.ones((width, width), np.uint8)) > 0] = shade
        return
    contours, _ = cv2.findContours(salient, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    for width, shade in strokes:
        cv2.drawContours(rgb, contours, -1, shade, width, cv2.LINE_AA)


def _write_caption(rgb: Rgb, caption: str) -> None:
    """Light text on a darkened strip along the lower edge, shrunk when it would not fit."""
    text = caption.encode("ascii", "replace").decode()
    height, width = rgb.shape[:2]
    scale = max(0.35, 0.55 * height / _REFERENCE_HEIGHT_PX)
    (text_w, text_h), baseline = cv2.getTextSize(text, _FONT, scale, 1)
    margin = max(3, round(text_h * 0.6))
    if text_w + 2 * margin > width:
        scale *= max(1, width - 2 * margin) / text_w
        (text_w, text_h), baseline = cv2.getTextSize(text, _FONT, scale, 1)
    top = max(0, height - text_h - baseline - 2 * margin)
    rgb[top:] = (rgb[top:] * np.float32(0.35)).astype(np.uint8)
    origin = (margin, height - margin - baseline // 2)
    cv2.putText(rgb, text, origin, _FONT, scale, (240, 242, 245), max(1, round(scale * 1.6)), cv2.LINE_AA)
