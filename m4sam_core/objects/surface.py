# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Where a thing is: the centroid and the oriented box of its visible surface, in metres.

What does not belong to it (flying pixels at its outline, background where mask or depth is off, wrong readings) is left
out by distance from the median; where it has no reading, its surface is continued by a plane through those it has, so
that a hole on one side does not pull the centroid to the other.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from m4sam_core.objects.depth import FloatArray
from m4sam_core.objects.types import OrientedBox, Vector3

_LEAST_READINGS = 3
_LEAST_SHARE = 0.05  # of its pixels; a thing with fewer readings has no position
_TAIL = 0.02  # share of the points at either end that is left out of an extent: single points beyond are noise
_DEVIATIONS = 3.0
_LEAST_SPREAD_M = 0.03
_EXTENT_SHARE = 0.75  # how much farther than its median a thing may reach, in units of its width


@dataclass(frozen=True)
class Surface:
    """Position of a thing.

    Attributes:
        centroid: of the visible surface. Metres, optical frame.
        box: around it.
        share: readings that belong to it, as a share of its pixels.
        depth_range: nearest and farthest of them. Metres.
    """

    centroid: Vector3
    box: OrientedBox
    share: float
    depth_range: tuple[float, float]


def locate(inside: NDArray[np.bool_], depth_m: FloatArray, rays: FloatArray) -> Surface | None:
    """Position of one thing, None when its depth cannot tell.

    Args:
        inside (h, w): its pixels.
        depth_m (h, w): metres, 0 where there is no reading.
        rays (h, w, 2): x/z and y/z, NaN where unknown.
    """
    inside = inside & np.isfinite(rays).all(axis=2)
    pixels = int(np.count_nonzero(inside))
    without_rim = _core(inside)
    core = without_rim & (depth_m > 0)
    known = core if np.count_nonzero(core) >= _LEAST_READINGS else inside & (depth_m > 0)
    if np.count_nonzero(known) < max(1, min(_LEAST_READINGS, pixels)):
        return None
    slopes, z = rays[known].astype(np.float64), depth_m[known].astype(np.float64)
    belongs = _belonging(slopes, z)
    # Of its rim nothing was asked, so its share is that of the pixels that were.
    asked = int(np.count_nonzero(without_rim)) if known is core else pixels
    share = float(np.count_nonzero(belongs)) / max(asked, 1)
    if share < _LEAST_SHARE:
        return None
    slopes, z = slopes[belongs], z[belongs]
    points = np.concatenate([slopes * z[:, None], z[:, None]], axis=1)
    centroid = _centroid(rays[inside].astype(np.float64), slopes, z)
    if not np.isfinite(points).all() or not np.isfinite(centroid).all():
        return None
    return Surface(_vector(centroid), oriented_box(points), min(share, 1.0), (float(z.min()), float(z.max())))


def _core(inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Without the rim, where readings fly between a thing and what is behind it."""
    eroded = cv2.erode(inside.view(np.uint8), np.ones((3, 3), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=1)
    return np.asarray(eroded, np.bool_)


def _belonging(slopes: NDArray[np.float64], z: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which readings are the thing's own: near the median, as far as it is wide or its readings spread."""
    middle = float(np.median(z))
    spread = 1.4826 * float(np.median(np.abs(z - middle)))
    low, high = _extent(slopes)
    width = float((high - low).max()) * middle
    reach = max(_LEAST_SPREAD_M, min(_DEVIATIONS * spread, max(_EXTENT_SHARE * width, spread)))
    return np.abs(z - middle) <= reach


def _centroid(
    all_slopes: NDArray[np.float64], slopes: NDArray[np.float64], z: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Mean of the surface over all pixels of the thing, its depth 1/z linear in the image (a plane) where unread."""
    low, high = _extent(1 / z)
    design = np.concatenate([slopes, np.ones((len(slopes), 1))], axis=1)
    plane, *_ = np.linalg.lstsq(design, 1 / z, rcond=1e-6)
    everywhere = np.concatenate([all_slopes, np.ones((len(all_slopes), 1))], axis=1)
    depth = 1 / np.clip(everywhere @ plane, low, high)
    return np.array([*(all_slopes * depth[:, None]).mean(axis=0), float(depth.mean())])


def oriented_box(points: NDArray[np.float64]) -> OrientedBox:
    """Box along the principal axes of points (N, 3), N >= 1; metres."""
    middle = points.mean(axis=0)
    values, axes = np.linalg.eigh((points - middle).T @ (points - middle) / len(points))
    axes = axes[:, np.argsort(-values)]
    # Signs that do not flutter: the first axis to the right, the second down, right-handed.
    axes[:, 0] *= 1 if axes[np.argmax(np.abs(axes[:2, 0])), 0] >= 0 else -1
    axes[:, 1] *= 1 if axes[np.argmax(np.abs(axes[:2, 1])), 1] >= 0 else -1
    axes[:, 2] = np.cross(axes[:, 0], axes[:, 1])
    along = (points - middle) @ axes
    low, high = _extent(along)
    return OrientedBox(_vector(middle + axes @ ((low + high) / 2)), _vector(high - low), quaternion(axes))


def quaternion(rotation: NDArray[np.float64]) -> tuple[float, float, float, float]:
    """x, y, z, w of a rotation matrix (3, 3), w >= 0."""
    trace = np.array([
        rotation[0, 0] - rotation[1, 1] - rotation[2, 2],
        rotation[1, 1] - rotation[0, 0] - rotation[2, 2],
        rotation[2, 2] - rotation[0, 0] - rotation[1, 1],
        np.trace(rotation),
    ])  # fmt: skip
    largest = int(np.argmax(trace))
    if largest == 3:
        x, y, z = (
            rotation[2, 1] - rotation[1, 2], rotation[0, 2] - rotation[2, 0], rotation[1, 0] - rotation[0, 1],
        )  # fmt: skip
        parts = np.array([x, y, z, 1 + trace[3]])
    else:
        i, j, k = largest, (largest + 1) % 3, (largest + 2) % 3
        parts = np.empty(4)
        parts[i] = 1 + trace[i]
        parts[j] = rotation[i, j] + rotation[j, i]
        parts[k] = rotation[i, k] + rotation[k, i]
        parts[3] = rotation[k, j] - rotation[j, k]
    parts = parts / np.linalg.norm(parts) * (1 if parts[3] >= 0 else -1)
    return float(parts[0]), float(parts[1]), float(parts[2]), float(parts[3])


def _extent(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Low and high end of values (N,) or of each column of (N, C), without the tails."""
    skipped = round(_TAIL * (len(values) - 1))
    ends = skipped, len(values) - 1 - skipped
    ordered = np.partition(values, ends, axis=0)
    return ordered[ends[0]], ordered[ends[1]]


def _vector(values: NDArray[np.float64]) -> Vector3:
    return float(values[0]), float(values[1]), float(values[2])
