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
    if not organised:
        return _as_points(np.concatenate([np.empty((0, _WORDS), np.float32), *(points for _, _, points in cuts)]))
    cloud = np.full((*view.shape, _WORDS), np.nan, np.float32)
    cloud.view(np.uint32)[..., 3:] = 0
    for window, inside, points in cuts:
        cloud[window][inside] = points
    return _as_points(cloud)


def _as_points(words: FloatArray) -> NDArray[np.void]:
    """Rows of `_WORDS` as points; numpy copies plain numbers ten times as fast as records."""
    points: NDArray[np.void] = words.view(POINT)[..., 0]
    return points


def _points_of(
    item: SceneObject, labels: NDArray[np.uint16], view: FrameView
) -> tuple[tuple[slice, slice], NDArray[np.bool_], FloatArray] | None:
    if item.depth_range_m is None or view.depth is None or view.camera is None:
        return None
    left, top, width, height = item.box_px
    window = (slice(top, top + height), slice(left, left + width))
    z = view.depth.sample(window, 1)
    x, y = _slopes(view.camera, window)
    near, far = item.depth_range_m
    inside = (labels[window] == item.id) & (z >= near) & (z <= far) & np.isfinite(x)
    # Whole images are multiplied, and then picked from by one list of places: indexing each by `inside` takes longer.
    places = np.flatnonzero(inside)
    points = np.empty((len(places), _WORDS), np.float32)
    points[:, 0], points[:, 1], points[:, 2] = (np.take(plane, places) for plane in (x * z, y * z, z))
    numbers = points.view(np.uint32)
    numbers[:, 3], numbers[:, 4] = 0, item.id
    if view.rgb is not None:
        bgra = cv2.cvtColor(np.ascontiguousarray(view.rgb[window]), cv2.COLOR_RGB2BGRA)
        numbers[:, 3] = np.take(bgra.view("<u4"), places) & 0x00FFFFFF
    return window, inside, points


def _slopes(camera: CameraModel, window: tuple[slice, slice]) -> tuple[FloatArray, FloatArray]:
    """x/z and y/z of a window's rays, (h, w) each; of a pinhole (1, w) and (h, 1), for they depend on one axis each."""
    rows, columns = window
    if camera.distortion:
        rays = camera.rays(window)
        return rays[..., 0], rays[..., 1]
    x = camera.rays((slice(rows.start, rows.start + 1), columns))[..., 0]
    return x, camera.rays((rows, slice(columns.start, columns.start + 1)))[..., 1]
