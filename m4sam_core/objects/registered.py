# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Depth registered to colour, looked up at colour pixels, whatever resolution or lens each of the two has."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from m4sam_core.objects.camera import CameraModel, FloatArray, project
from m4sam_core.objects.depth import is_metric, metres, only_where

Window = tuple[slice, slice]


@dataclass(frozen=True)
class RegisteredDepth:
    """A depth map and how a colour pixel finds its reading.

    Attributes:
        depth (h, w): uint16 counts or float metres.
        unit_m: of a count. Metres.
        shape: rows and columns of the colour image.
        camera: of the colour image at that size; None when the sizes tell everything.
        depth_camera: of `depth`, likewise.
    """

    depth: NDArray[Any]
    unit_m: float
    shape: tuple[int, int]
    camera: CameraModel | None = None
    depth_camera: CameraModel | None = None

    @classmethod
    def of(
        cls,
        depth: NDArray[Any] | None,
        unit_m: float,
        shape: tuple[int, int],
        camera: CameraModel | None,
        depth_camera: CameraModel | None,
    ) -> tuple[RegisteredDepth | None, str | None]:
        """The map, or None and why it cannot be used."""
        if depth is None:
            return None, "no depth: objects have no position"
        if depth.ndim != 2 or 0 in depth.shape or not is_metric(depth):
            return None, f"depth: expected uint16 counts or float metres (h, w), got {depth.dtype} {depth.shape}"
        height, width = shape
        if depth_camera is not None and camera is not None:
            own, colour = depth_camera.resized(depth.shape[1], depth.shape[0]), camera.resized(width, height)
            if not own.resized(width, height).same_view(colour):
                return cls(depth, unit_m, shape, colour, own), None
        elif abs(depth.shape[1] * height / width - depth.shape[0]) > 1.0:
            return None, (
                f"depth: expected the shape of the colour image ({width}x{height}) or intrinsics of its own, got "
                f"{depth.shape[1]}x{depth.shape[0]} without; publish depth/camera_info"
            )
        return cls(depth, unit_m, shape), None

    def sample(self, window: Window, step: int) -> FloatArray:
        """Metres at every `step`-th pixel of a window of the colour image, 0 where there is no reading."""
        if self.camera is not None and self.depth_camera is not None:
            rows, columns = (
                place[window[0].start : window[0].stop : step, window[1].start : window[1].stop : step]
                for place in _pixel_map(self.camera, self.depth_camera)
            )
            readings = metres(self.depth[rows, columns], self.unit_m)
            readings[rows < 0] = 0
            return readings
        if self.depth.shape == self.shape:
            return metres(
                self.depth[window[0].start : window[0].stop : step, window[1].start : window[1].stop : step],
                self.unit_m,
            )
        rows, columns = (
            (np.arange(part.start, part.stop, step) * own // full)
            for part, own, full in zip(window, self.depth.shape, self.shape, strict=True)
        )
        return metres(self.depth[rows[:, None], columns[None]], self.unit_m)


@lru_cache(maxsize=32)  # two ways for each camera of a process
def _pixel_map(camera: CameraModel, depth_camera: CameraModel) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Row and column of the depth map that each colour pixel looks at, (height, width) each; -1 outside."""
    rays = camera.rays((slice(0, camera.height), slice(0, camera.width))).reshape(-1, 2)
    known = np.isfinite(rays).all(axis=1)
    found = np.full(rays.shape, -1.0)
    if known.any():
        found[known] = np.rint(project(depth_camera, rays[known].astype(np.float64)))
    columns, rows = found[:, 0], found[:, 1]
    outside = ~((columns >= 0) & (columns < depth_camera.width) & (rows >= 0) & (rows < depth_camera.height))
    found[outside] = -1
    places = found.astype(np.int32).reshape(camera.height, camera.width, 2)
    return np.ascontiguousarray(places[..., 1]), np.ascontiguousarray(places[..., 0])


def grown(mask: NDArray[np.uint8], margin_px: int) -> NDArray[np.uint8]:
    """A mask (H, W) of 0 and 255 with `margin_px` pixels around it, in the shape of a square."""
    if not margin_px:
        return mask
    # Two one-dimensional passes of a square, which costs a tenth of a disc.
    side = 2 * margin_px + 1
    wide = cv2.dilate(cv2.dilate(mask, np.ones((1, side), np.uint8)), np.ones((side, 1), np.uint8))
    return np.asarray(wide, np.uint8)


def depth_background(
    depth: NDArray[Any],
    area: NDArray[np.uint8],
    camera: CameraModel | None,
    depth_camera: CameraModel | None,
) -> NDArray[Any] | None:
    """Depth without readings in an area; holes stay holes.

    For maps and odometry that must not see what moves.

    Args:
        depth: (h, w) uint16 or float32.
        area: (H, W) uint8, not 0 where depth goes: a mask, `grown`.
        camera: of the area's image, where calibrated.
        depth_camera: of `depth`, when it has intrinsics of its own.

    Returns:
        (h, w) of depth's type: no reading is 0, or NaN for metres (REP 118). None when nothing tells which pixel of
        one image belongs to which of the other.
    """
    seen = seen_by_depth(area, (depth.shape[0], depth.shape[1]), camera, depth_camera)
    if seen is None:
        return None
    return only_where(seen == 0, depth, np.nan if depth.dtype == np.float32 else 0)


def seen_by_depth(
    area: NDArray[np.uint8], shape: tuple[int, int], camera: CameraModel | None, depth_camera: CameraModel | None
) -> NDArray[Any] | None:
    """An area of the colour image at the pixels of the depth image, as depth is looked up at colour's elsewhere.

    Args:
        area: (H, W) uint8, not 0 inside.
        shape: rows and columns of the depth image.
        camera: of the area's image, where calibrated.
        depth_camera: of the depth image, when it has intrinsics of its own.

    Returns:
        of `shape`, 0 outside; None when nothing tells which pixel of one image belongs to which of the other.
    """
    if area.shape == shape and (camera is None or depth_camera is None):
        return area
    turned, _ = RegisteredDepth.of(area.astype(np.float32), 1.0, shape, depth_camera, camera)
    return None if turned is None else turned.sample((slice(0, shape[0]), slice(0, shape[1])), 1)


def seen_by_colour(
    depth: NDArray[Any], shape: tuple[int, int], camera: CameraModel | None, depth_camera: CameraModel | None
) -> NDArray[Any]:
    """Depth of intrinsics of its own at the pixels of the colour image; any other as it is.

    Args:
        depth (h, w): uint16 counts or float metres.
        shape: rows and columns of the colour image.
        camera: of the colour image, where calibrated.
        depth_camera: of `depth`, when it has intrinsics of its own.

    Returns:
        of depth's type, no reading (0) where the depth camera does not look.
    """
    found, _ = RegisteredDepth.of(depth, 1.0, shape, camera, depth_camera)
    if found is None or found.camera is None or found.depth_camera is None:
        return depth
    rows, columns = _pixel_map(found.camera, found.depth_camera)
    seen = depth[rows, columns]
    seen[rows < 0] = 0
    return seen
