# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""The points of a frame's objects, with colour and id."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from m4sam_core.objects.camera import FloatArray
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
    depth_m, rays = view.depth.sample(window, 1), view.camera.rays(window)
    near, far = item.depth_range_m
    inside = (labels[window] == item.id) & (depth_m >= near) & (depth_m <= far) & np.isfinite(rays[..., 0])
    z = depth_m[inside]
    points = np.empty((len(z), _WORDS), np.float32)
    points[:, :2], points[:, 2] = rays[inside] * z[:, None], z
    numbers = points.view(np.uint32)
    numbers[:, 3], numbers[:, 4] = 0, item.id
    if view.rgb is not None:
        red, green, blue = view.rgb[window][inside].astype(np.uint32).T
        numbers[:, 3] = red << 16 | green << 8 | blue
    return window, inside, points
