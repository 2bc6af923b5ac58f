# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""What the numbers of a depth map mean: which are readings, how long a count is, and how a small map is enlarged."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

UINT16_NO_READING = 65535  # the "no reading" mark of several drivers, besides 0
DEFAULT_UNIT_M = 0.001
# 8-bit maps carry relative depth. Where a length is needed (to publish, to corrupt), 1..255 stand for this range.
RELATIVE_NEAR_M, RELATIVE_FAR_M = 0.5, 5.0
FARTHEST_PLAUSIBLE_M = 300.0
"""No depth camera sees as far; a float map with a larger median is not in metres."""
NEAREST_PLAUSIBLE_M = 0.01
"""Half of a depth camera's readings are never as near."""
_ASPECT_TOLERANCE = 0.02


def has_reading(depth: NDArray[Any]) -> NDArray[np.bool_]:
    """Where a map holds a distance: not 0, not negative, not NaN, not infinite, and in a uint16 map not 65535.

    Args:
        depth (H, W): uint8, uint16 or floating.
    """
    if depth.dtype == np.uint16:
        return (depth != 0) & (depth != UINT16_NO_READING)
    if not np.issubdtype(depth.dtype, np.floating):
        return depth > 0
    with np.errstate(invalid="ignore"):
        return np.isfinite(depth) & (depth > 0)


def tells_nothing(depth: NDArray[Any]) -> str | None:
    """Why a map (H, W) shows no shape at all: no reading, or one number throughout; None where it does."""
    for step in (16, 1):  # a few readings tell that most maps are sound
        part = depth[::step, ::step]
        readings = part[has_reading(part)]
        if readings.size and (readings != readings[0]).any():
            return None
    return "depth of one number, which tells nothing" if readings.size else "depth without any reading"


def to_metres(depth: NDArray[Any], unit_m: float | None = None) -> NDArray[np.float32]:
    """Depth (H, W) in metres, 0 where there is no reading.

    Args:
        depth (H, W): uint8 relative (spread over `RELATIVE_NEAR_M`..`RELATIVE_FAR_M`), uint16 counts, or float metres.
        unit_m: length of one count; None: a millimetre.
    """
    if depth.dtype == np.uint8:
        scale = (RELATIVE_FAR_M - RELATIVE_NEAR_M) / 254
        metres = np.float32(RELATIVE_NEAR_M) + (depth.astype(np.float32) - 1) * np.float32(scale)
    elif depth.dtype == np.uint16:
        metres = depth.astype(np.float32) * np.float32(unit_m or DEFAULT_UNIT_M)
    else:
        with np.errstate(over="ignore"):  # a double beyond float32 becomes infinite, which is no reading
            depth = metres = depth.astype(np.float32)
    return np.where(has_reading(depth), metres, np.float32(0)).astype(np.float32)


def from_metres(
    metres: NDArray[np.float32], like: NDArray[Any] | np.dtype[Any], unit_m: float | None = None
) -> NDArray[Any]:
    """The inverse of `to_metres`, in the type of `like`; what is beyond the type's range is clipped, holes stay 0."""
    valid = metres > 0
    kind = like if isinstance(like, np.dtype) else like.dtype
    if kind == np.uint8:
        counts = 1 + (metres - RELATIVE_NEAR_M) * (254 / (RELATIVE_FAR_M - RELATIVE_NEAR_M))
        return np.where(valid, np.clip(np.rint(counts), 1, 255), 0).astype(np.uint8)
    if kind == np.uint16:
        counts = np.rint(metres / (unit_m or DEFAULT_UNIT_M))
        return np.where(valid, np.clip(counts, 1, UINT16_NO_READING - 1), 0).astype(np.uint16)
    return np.where(valid, metres, 0).astype(np.float32)


def in_millimetres(depth: NDArray[Any], unit_m: float | None = None) -> NDArray[np.uint16]:
    """What a 16UC1 topic carries, whatever the unit of the map; a map of millimetres is returned as it is."""
    if depth.dtype == np.uint16 and (unit_m or DEFAULT_UNIT_M) == DEFAULT_UNIT_M:
        return depth
    return from_metres(to_metres(depth, unit_m), np.dtype(np.uint16))


def doubtful_unit(depth: NDArray[Any], unit_m: float | None = None) -> str | None:
    """Why a map's numbers can hardly be in its unit (float maps are metres); None where they can, or nobody knows.

    Args:
        depth (H, W): the map.
        unit_m: length of one count of a uint16 map; None: not known.
    """
    if np.issubdtype(depth.dtype, np.floating):
        # A float map may be relative, from 0 to 1, so none is too near.
        unit_m, nearest_m, reason = 1.0, 0.0, "float depth is not in metres: median {:.0f}"
    elif depth.dtype == np.uint16 and unit_m is not None:
        nearest_m = NEAREST_PLAUSIBLE_M
        reason = f"depth is hardly in its unit of {unit_m:g} m, see depth_unit_m: median {{:.3g}} m"
    else:
        return None
    valid = depth[has_reading(depth)]
    if valid.size == 0:
        return None
    median_m = float(np.median(valid)) * unit_m
    return None if nearest_m <= median_m <= FARTHEST_PLAUSIBLE_M else reason.format(median_m)


def same_shape(depth: tuple[int, int], rgb: tuple[int, int]) -> bool:
    """Whether two sizes (H, W) have the same proportions, so that one map can be registered to the other."""
    if min(*depth, *rgb) < 1:
        return False
    return abs(depth[1] * rgb[0] / (depth[0] * rgb[1]) - 1) <= _ASPECT_TOLERANCE


def is_registered(depth: NDArray[Any], depth_frame_id: str, rgb_size: tuple[int, int], rgb_frame_id: str) -> bool:
    """Whether a map shows what its rgb image shows, so that one of fewer pixels may be enlarged.

    Depth of another coordinate frame in another size is a camera beside this one, whatever its proportions.

    Args:
        depth (h, w): the map.
        depth_frame_id: of its header; "" where it does not say.
        rgb_size: (H, W) of the image.
        rgb_frame_id: of its header.
    """
    if depth.shape[:2] == rgb_size:
        return True
    return depth_frame_id in ("", rgb_frame_id) and same_shape((depth.shape[0], depth.shape[1]), rgb_size)


def fit_depth(depth: NDArray[Any], height: int, width: int) -> NDArray[Any]:
    """The map at the size of its rgb image by nearest neighbour, which invents no distances between two objects.

    Args:
        depth (h, w): of the same proportions, see `same_shape`.
        height: rows of the rgb image. Pixels.
        width: columns of the rgb image. Pixels.
    """
    if depth.shape == (height, width):
        return depth
    return np.asarray(cv2.resize(depth, (width, height), interpolation=cv2.INTER_NEAREST))
