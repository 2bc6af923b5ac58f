# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Objects as messages. vision_msgs and tf2_msgs need not be installed: who has them hands their `msg` module in."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from geometry_msgs.msg import Point, Pose, PoseStamped, Quaternion, Transform, TransformStamped, Vector3
from numpy.typing import NDArray
from std_msgs.msg import ColorRGBA
from visualization_msgs.msg import Marker, MarkerArray

from m4sam_core.objects import OrientedBox, SceneObject
from m4sam_core.objects.drawing import Tag

SALIENT_CLASS = "salient"
BACKGROUND_CLASS = "background"
ID_COLOURS = ((0.0, 0.84, 1.0), (1.0, 0.6, 0.1), (0.5, 1.0, 0.3), (1.0, 0.35, 0.7), (0.65, 0.5, 1.0), (1.0, 0.95, 0.3))
"""By id, in turn: red, green and blue in [0, 1]."""
_TEXT_M = 0.06


def detections_2d(msg: Any, header: Any, objects: Iterable[SceneObject]) -> Any:
    """vision_msgs/Detection2DArray: every object, with or without a position.

    Args:
        msg: the module vision_msgs.msg.
        header: of the colour image.
        objects: of its frame.
    """
    array = msg.Detection2DArray(header=header)
    for item in objects:
        left, top, width, height = item.box_px
        box = msg.BoundingBox2D(size_x=float(width), size_y=float(height))
        # vision_msgs 4 nests the centre's position, vision_msgs 3 does not.
        centre = getattr(box.center, "position", box.center)
        centre.x, centre.y = left + width / 2, top + height / 2
        results = [_hypothesis(msg, item)]
        array.detections.append(msg.Detection2D(header=header, bbox=box, results=results, id=str(item.id)))
    return array


def detections_3d(msg: Any, header: Any, objects: Iterable[SceneObject]) -> Any:
    """vision_msgs/Detection3DArray: the objects that have a position. Arguments as above."""
    array = msg.Detection3DArray(header=header)
    for item in objects:
        if item.box is None:
            continue
        width, height, depth = item.box.size
        box = msg.BoundingBox3D(center=box_pose(item.box), size=Vector3(x=width, y=height, z=depth))
        results = [_hypothesis(msg, item)]
        array.detections.append(msg.Detection3D(header=header, bbox=box, results=results, id=str(item.id)))
    return array


def _hypothesis(msg: Any, item: SceneObject) -> Any:
    result = msg.ObjectHypothesisWithPose()
    result.hypothesis.class_id = SALIENT_CLASS
    result.hypothesis.score = item.score
    if item.box is not None and item.centroid_m is not None:
        x, y, z = item.centroid_m
        result.pose.pose = Pose(position=Point(x=x, y=y, z=z), orientation=_orientation(item.box))
    return result


def label_info(msg: Any, header: Any, threshold: float) -> Any:
    """vision_msgs/LabelInfo: what the values of `mask` mean. Arguments as above; the threshold is the mask's."""
    classes = ((0, BACKGROUND_CLASS), (255, SALIENT_CLASS))
    named = [msg.VisionClass(class_id=number, class_name=name) for number, name in classes]
    return msg.LabelInfo(header=header, class_map=named, threshold=threshold)


def box_pose(box: OrientedBox) -> Pose:
    """A box's centre and axes."""
    x, y, z = box.centre
    return Pose(position=Point(x=x, y=y, z=z), orientation=_orientation(box))


def _orientation(box: OrientedBox) -> Quaternion:
    x, y, z, w = box.orientation
    return Quaternion(x=x, y=y, z=z, w=w)


def markers(header: Any, objects: Iterable[SceneObject]) -> MarkerArray:
    """A box, and id and distance above it, for every object that has a position; those of before are deleted."""
    array = MarkerArray(markers=[Marker(header=header, action=Marker.DELETEALL)])
    for item in objects:
        if item.box is None or item.distance_m is None or item.centroid_m is None:
            continue
        red, green, blue = ID_COLOURS[item.id % len(ID_COLOURS)]
        width, height, depth = (max(side, 0.005) for side in item.box.size)
        array.markers.append(
            Marker(
                header=header,
                ns="boxes",
                id=item.id,
                type=Marker.CUBE,
                pose=box_pose(item.box),
                scale=Vector3(x=width, y=height, z=depth),
                color=ColorRGBA(r=red, g=green, b=blue, a=0.55 if item.is_main else 0.3),
            )
        )
        x, y, z = item.centroid_m
        above = Pose(position=Point(x=x, y=y - max(item.box.size) / 2 - _TEXT_M, z=z))
        array.markers.append(
            Marker(
                header=header,
                ns="labels",
                id=item.id,
                type=Marker.TEXT_VIEW_FACING,
                pose=above,
                scale=Vector3(z=_TEXT_M * max(1.0, z / 2)),
                color=ColorRGBA(r=1.0, g=1.0, b=1.0, a=1.0),
                text=_marker_text(item.id, item.distance_m, item.is_main),
            )
        )
    return array


def _marker_text(number: int, distance_m: float, is_main: bool) -> str:
    return f"{number}{'*' if is_main else ''}  {distance_m:.3f} m"


def read_marker_text(text: str) -> tuple[float | None, bool]:
    """Distance in metres, and whether it is the main object's, from a marker's text; None when it says neither."""
    name, _, rest = text.partition("  ")
    try:
        return float(rest.removesuffix(" m")), name.endswith("*")
    except ValueError:
        return None, False


def tags_in(labels: NDArray[np.uint16], markers: Iterable[Any]) -> list[Tag]:
    """What there is to write at each object of `labels` (H, W), with the distances of its frame's `markers`."""
    texts = {marker.id: read_marker_text(marker.text) for marker in markers if marker.text}
    tags = []
    for number in (int(value) for value in np.unique(labels) if value):
        rows, columns = np.nonzero(labels == number)
        tags.append(Tag((float(columns.mean()), float(rows.mean())), number, *texts.get(number, (None, False))))
    return tags


def target(header: Any, item: SceneObject) -> PoseStamped | None:
    """The pose of an object to go to: at its centroid, x away from the camera, z up in the image; None without."""
    if item.centroid_m is None:
        return None
    x, y, z = item.centroid_m
    return PoseStamped(header=header, pose=Pose(position=Point(x=x, y=y, z=z), orientation=_facing(x, y, z)))


def target_transform(msg: Any, pose: PoseStamped, frame: str) -> Any:
    """The same as a tf2_msgs/TFMessage from the camera's frame to `frame`; `msg` is the module tf2_msgs.msg."""
    place = pose.pose.position
    moved = Transform(translation=Vector3(x=place.x, y=place.y, z=place.z), rotation=pose.pose.orientation)
    return msg.TFMessage(transforms=[TransformStamped(header=pose.header, child_frame_id=frame, transform=moved)])


def _facing(x: float, y: float, z: float) -> Quaternion:
    """From a frame with x along the ray (x, y, z) and z up to the optical frame (x right, y down, z forwards)."""
    yaw, pitch = math.atan2(-x, z), math.atan2(y, math.hypot(x, z))
    cy, sy, cp, sp = math.cos(yaw / 2), math.sin(yaw / 2), math.cos(pitch / 2), math.sin(pitch / 2)
    # Body axes (x forwards, y left, z up) in the optical frame, after yaw and pitch in the body's own.
    bw, bx, by, bz = cy * cp, -sy * sp, cy * sp, sy * cp
    ow, ox, oy, oz = 0.5, 0.5, -0.5, 0.5
    return Quaternion(
        w=ow * bw - ox * bx - oy * by - oz * bz,
        x=ow * bx + ox * bw + oy * bz - oz * by,
        y=ow * by - ox * bz + oy * bw + oz * bx,
        z=ow * bz + ox * by - oy * bx + oz * bw,
    )
