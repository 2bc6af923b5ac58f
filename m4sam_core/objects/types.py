# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""What the search for objects gives: plain frozen values, in pixels of the colour image and metres of its camera."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Vector3 = tuple[float, float, float]


@dataclass(frozen=True)
class OrientedBox:
    """A box around what is seen of an object, in the camera's optical frame (x right, y down, z forwards).

    Attributes:
        centre: of the box. Metres.
        size: along its own axes, the widest spread of points first. Metres.
        orientation: quaternion x, y, z, w from the box's axes to the camera's.
    """

    centre: Vector3
    size: Vector3
    orientation: tuple[float, float, float, float]


@dataclass(frozen=True)
class SceneObject:
    """One object of one frame.

    Attributes:
        id: 1 to 65535; the same for the same object, never another's within the scene.
        score: mean probability over its pixels, [0, 1].
        area_px: its pixels in the colour image.
        box_px: left, top, width, height in the colour image. Pixels.
        centre_px: mean column and row of its pixels.
        truncated: it touches the image's border.
        age_s: since it was first seen. Seconds.
        age_frames: frames in which it was seen, this one included.
        visibility: how much of it is seen, against the most seen lately at this distance, [0, 1].
        is_main: attention rests on it.
        centroid_m: mean of its visible surface; None when depth cannot tell.
        distance_m: to the centroid, along the ray; None likewise.
        box: None likewise.
        depth_share: share of its pixels with a depth reading that belongs to it, [0, 1].
        depth_range_m: nearest and farthest of these readings; None without.
    """

    id: int
    score: float
    area_px: int
    box_px: tuple[int, int, int, int]
    centre_px: tuple[float, float]
    truncated: bool
    age_s: float
    age_frames: int
    visibility: float
    is_main: bool
    centroid_m: Vector3 | None
    distance_m: float | None
    box: OrientedBox | None
    depth_share: float
    depth_range_m: tuple[float, float] | None


@dataclass(frozen=True)
class SceneObjects:
    """The objects of one frame, the largest first.

    Attributes:
        objects: those in sight.
        labels (H, W): uint16, an object's id at each of its pixels, 0 elsewhere.
        scene_id: of the stream's scene.
        note: why objects have no position, None when the frame could give them one.
    """

    objects: tuple[SceneObject, ...]
    labels: NDArray[np.uint16]
    scene_id: int
    note: str | None

    @property
    def main(self) -> SceneObject | None:
        """The object attention rests on, None when it is out of sight."""
        return next((item for item in self.objects if item.is_main), None)


def as_record(stamp_ns: int, frame_id: str, found: SceneObjects) -> dict[str, Any]:
    """One line of objects.jsonl.

    Args:
        stamp_ns: of the colour image. Nanoseconds.
        frame_id: of the colour image; positions are in it.
        found: the frame's objects.
    """
    return {
        "stamp_ns": stamp_ns,
        "frame_id": frame_id,
        "scene": found.scene_id,
        "note": found.note,
        "objects": [_object_record(item) for item in found.objects],
    }


def _object_record(item: SceneObject) -> dict[str, Any]:
    return {
        "id": item.id,
        "main": item.is_main,
        "score": round(item.score, 4),
        "area_px": item.area_px,
        "box_px": list(item.box_px),
        "truncated": item.truncated,
        "age_s": round(item.age_s, 3),
        "visibility": round(item.visibility, 3),
        "depth_share": round(item.depth_share, 3),
        "centroid_m": _rounded(item.centroid_m),
        "distance_m": None if item.distance_m is None else round(item.distance_m, 4),
        "box": None if item.box is None else _box_record(item.box),
    }


def _box_record(box: OrientedBox) -> dict[str, Any]:
    return {
        "centre_m": _rounded(box.centre),
        "size_m": _rounded(box.size),
        "orientation_xyzw": _rounded(box.orientation),
    }


def _rounded(values: Sequence[float] | None) -> list[float] | None:
    return None if values is None else [round(float(value), 4) for value in values]
