# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""One frame's outputs as pictures for people: what a consumer gets, drawn from the messages themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from m4sam_core.objects.cloud import POINT
from m4sam_core.objects.drawing import draw_tags
from m4sam_core.rgbd.pictures import color_depth, contact_sheet, draw_overlay, fit_picture
from m4sam_ros import names
from m4sam_ros.messages.convert import image_to_depth, image_to_numpy, image_to_rgb
from m4sam_ros.messages.objects import ID_COLOURS, tags_in

Rgb = NDArray[np.uint8]

DRAWN = (
    names.RGB, names.DEPTH, names.MASK, names.LABELS, names.CONFIDENCE, names.MARKERS, names.TARGET, names.POINTS,
    names.DEPTH_BACKGROUND, *names.BUNDLE,
)  # fmt: skip
"""The topics of a frame that pictures are made of."""
_TILE_PX = (400, 300)
_AXIS_M = 0.15
_AXES = ((235, 70, 60), (70, 200, 80), (80, 130, 255))  # x, y, z as RViz has them
_ID_COLOURS = np.rint(255 * np.asarray(ID_COLOURS)).astype(np.uint8)
_TURN_RAD, _TILT_RAD = 0.7, 0.35  # a cloud is seen from the side and from above, or it would look like the image
_SPOT_PX = 2
_FILLED = 0.42  # of a picture's side lies between a cloud's middle and its end


def pictures_of(frame: Mapping[str, Any]) -> dict[str, Rgb]:
    """Pictures by consumer.

    Args:
        frame: a message for each of `DRAWN`, all of one stamp.

    Returns:
        (H, W, 3) uint8 RGB each, named as `for:=` names consumers; `bundle` for those that get the bundle.
    """
    labels = image_to_numpy(frame[names.LABELS])
    confidence = cv2.cvtColor(image_to_numpy(frame[names.CONFIDENCE]), cv2.COLOR_GRAY2RGB)
    by_id, by_colour = _cloud(frame[names.POINTS])
    bundle = [frame[name] for name in (names.BUNDLE_IMAGE, names.BUNDLE_DEPTH, names.BUNDLE_MASK)]
    mask = cv2.cvtColor(image_to_numpy(bundle[2]), cv2.COLOR_GRAY2RGB)
    return {
        "follow": fit_picture(_target(frame), 640, 480),
        "bundle": _row(image_to_rgb(bundle[0]), color_depth(image_to_depth(bundle[1])), mask),
        "grasp": _row(by_colour, by_id),
        "costmap": _row(_coloured(labels), confidence),
        "slam": _row(*(color_depth(image_to_depth(frame[name])) for name in (names.DEPTH, names.DEPTH_BACKGROUND))),
    }


def _row(*tiles: Rgb) -> Rgb:
    return contact_sheet([fit_picture(tile, *_TILE_PX) for tile in tiles], len(tiles))


def _coloured(labels: NDArray[np.uint16]) -> Rgb:
    picture = np.zeros((*labels.shape, 3), np.uint8)
    for number in np.unique(labels[labels > 0]):
        picture[labels == number] = _ID_COLOURS[number % len(_ID_COLOURS)]
    return picture


def _target(frame: Mapping[str, Any]) -> Rgb:
    """The overlay with ids and distances, and the axes of `target`: x away from the camera, z up."""
    picture = draw_overlay(image_to_rgb(frame[names.RGB]), image_to_numpy(frame[names.MASK]))
    labels = image_to_numpy(frame[names.LABELS])
    tags = tags_in(labels, frame[names.MARKERS].markers)
    pose = frame[names.TARGET].pose
    place = np.array([pose.position.x, pose.position.y, pose.position.z])
    turn = pose.orientation
    axes = Rotation.from_quat([turn.x, turn.y, turn.z, turn.w]).as_matrix()
    k = np.asarray(frame[names.BUNDLE_INFO].k).reshape(3, 3)
    for axis, colour in enumerate(_AXES):
        start, end = (_pixel(k, point) for point in (place, place + _AXIS_M * axes[:, axis]))
        cv2.arrowedLine(picture, start, end, colour, 3, cv2.LINE_AA, tipLength=0.25)
    # At the lower end of each object, beside the axes.
    lowest = {tag.id: float(np.nonzero(labels == tag.id)[0].max()) for tag in tags}
    draw_tags(picture, [replace(tag, centre_px=(tag.centre_px[0], lowest[tag.id])) for tag in tags])
    return picture


def _pixel(k: NDArray[np.float64], point: NDArray[np.float64]) -> tuple[int, int]:
    across, down = (k @ point)[:2] / point[2]
    return round(float(across)), round(float(down))


def _cloud(msg: Any) -> tuple[Rgb, Rgb]:
    """A dense cloud from the side and from above: by id, and in its own colours."""
    points = np.frombuffer(bytes(msg.data), POINT)
    places = np.stack([points[axis] for axis in "xyz"], axis=1).astype(np.float64)
    places -= np.median(places, axis=0)
    turn, tilt = (np.array([[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]]) for a in (_TURN_RAD, _TILT_RAD))
    places[:, [0, 2]] = places[:, [0, 2]] @ turn.T
    places[:, [1, 2]] = places[:, [1, 2]] @ tilt.T
    width, height = _TILE_PX
    reach = np.percentile(np.abs(places), 99, axis=0)
    scale = _FILLED * min(width / max(reach[0], 1e-6), height / max(reach[1], 1e-6))
    columns, rows = (np.rint(side / 2 + places[:, axis] * scale).astype(int) for axis, side in enumerate(_TILE_PX))
    far_first = np.argsort(-places[:, 2])
    own = points["rgb"][:, None] >> np.array([16, 8, 0], np.uint32) & 255
    numbers = _ID_COLOURS[points["id"] % len(_ID_COLOURS)]
    pictures = []
    for colours in (numbers, own.astype(np.uint8)):
        picture = np.full((height, width, 3), 24, np.uint8)
        for down in range(_SPOT_PX):
            for right in range(_SPOT_PX):
                row, column = rows[far_first] + down, columns[far_first] + right
                seen = (row >= 0) & (row < height) & (column >= 0) & (column < width)
                picture[row[seen], column[seen]] = colours[far_first][seen]
        pictures.append(picture)
    return pictures[0], pictures[1]
