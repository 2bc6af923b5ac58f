# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""The points of a frame's objects, with colour and id."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from m4sam_core.objects.camera import CameraModel, FloatArray
from m4sam_core.objects.seen import FrameView
from m4sam_core.objects.types import SceneObject, SceneObjects

#: One point; `rgb` is 0x00RRGGBB, as PCL packs it.
POINT = np.dtype([("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("rgb", "<u4"), ("id", "<u4")])
_WORDS = POINT.itemsize // 4
_OPAQUE = np.dtype((np.void, POINT.itemsize))  # numpy picks such items several times as fast as rows of numbers
_NO_POINT = np.array([np.nan] * 3 + [0] * (_WORDS - 3), np.float32)


def object_points(found: SceneObjects, view: FrameView, *, organised: bool) -> NDArray[np.void]:
    """The points of all objects that have a position; readings that do not belong to them are left out.

    Args:
        found: the frame's objects.
        view: the frame.
        organised: keep the image's shape, NaN where there is no point; else only the points, object by object.

    Returns:
        (H, W) or (N,) of `POINT`, in metres.
    """
    cuts = [cut for cut in (_points_of(item, found.labels, view) for item in found.objects) if cut is not None]
    if organised:
        height, width = view.shape
        row = np.tile(_NO_POINT, width)
        cloud = np.broadcast_to(row, (height, len(row))).copy().view(_OPAQUE)
        for window, inside, points in cuts:
            cloud[window][inside] = points
    elif len(cuts) == 1:
        cloud = cuts[0][2]
    else:
        cloud = np.concatenate([np.empty(0, _OPAQUE), *(points for _, _, points in cuts)])
    return cloud.view(POINT)


def _points_of(
    item: SceneObject, labels: NDArray[np.uint16], view: FrameView
) -> tuple[tuple[slice, slice], NDArray[np.bool_], NDArray[np.void]] | None:
    """Where an object is, which pixels there have a point, and the points, opaque."""
    if item.depth_range_m is None or view.depth is None or view.camera is None:
        return None
    left, top, width, height = item.box_px
    window = (slice(top, top + height), slice(left, left + width))
    z = view.depth.sample(window, 1)
    x, y = _slopes(view.camera, window)
    near, far = item.depth_range_m
    inside = (labels[window] == item.id) & (z >= near) & (z <= far) & np.isfinite(x)
    # All of the window is made, and then picked from once: picking each of the five words takes longer.
    points = np.empty((height, width, _WORDS), np.float32)
    np.multiply(x, z, out=points[..., 0])
    np.multiply(y, z, out=points[..., 1])
    points[..., 2] = z
    numbers = points.view(np.uint32)
    numbers[..., 3], numbers[..., 4] = 0, item.id
    if view.rgb is not None:
        bgra = cv2.cvtColor(np.ascontiguousarray(view.rgb[window]), cv2.COLOR_RGB2BGRA)
        np.bitwise_and(bgra.view("<u4")[..., 0], 0x00FFFFFF, out=numbers[..., 3])
    return window, inside, points.view(_OPAQUE)[..., 0][inside]


def _slopes(camera: CameraModel, window: tuple[slice, slice]) -> tuple[FloatArray, FloatArray]:
    """x/z and y/z of a window's rays, (h, w) each; of a pinhole (1, w) and (h, 1), for they depend on one axis each."""
    rows, columns = window
    if camera.distortion:
        rays = camera.rays(window)
        return rays[..., 0], rays[..., 1]
    x = camera.rays((slice(rows.start, rows.start + 1), columns))[..., 0]
    return x, camera.rays((rows, slice(columns.start, columns.start + 1)))[..., 1]
