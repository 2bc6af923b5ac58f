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


def object_points(found: SceneObjects, view: FrameView, *, organised: bool) -> NDArray[np.void]:
    """The points of all objects that have a position; readings that do not belong to them are left out.

    Args:
        found: the frame's objects.
        view: the frame.
        organised: keep the image's shape, NaN where there is no point; else only the points, object by object.

    Returns:
        (H, W) or (N,) of `POINT`, in metres.
    """
    cloud = np.zeros(view.shape if organised else 0, POINT)
    for axis in "xyz":
        cloud[axis] = np.nan
    parts = []
    for item in found.objects:
        cut = _points_of(item, found.labels, view)
        if cut is None:
            continue
        window, inside, points = cut
        if organised:
            cloud[window][inside] = points
        else:
            parts.append(points)
    return cloud if organised else np.concatenate([cloud, *parts])


def _points_of(
    item: SceneObject, labels: NDArray[np.uint16], view: FrameView
) -> tuple[tuple[slice, slice], NDArray[np.bool_], NDArray[np.void]] | None:
    if item.depth_range_m is None or view.depth is None or view.camera is None:
        return None
    left, top, width, height = item.box_px
    window = (slice(top, top + height), slice(left, left + width))
    depth_m, rays = view.depth.sample(window, 1), view.camera.rays(window)
    near, far = item.depth_range_m
    inside = (labels[window] == item.id) & (depth_m >= near) & (depth_m <= far) & np.isfinite(rays[..., 0])
    points = np.zeros(np.count_nonzero(inside), POINT)
    z: FloatArray = depth_m[inside]
    points["x"], points["y"], points["z"] = rays[..., 0][inside] * z, rays[..., 1][inside] * z, z
    if view.rgb is not None:
        red, green, blue = view.rgb[window][inside].astype(np.uint32).T
        points["rgb"] = red << 16 | green << 8 | blue
    points["id"] = item.id
    return window, inside, points
