# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""What the node says of the objects in a frame, from its topics `labels` and `markers`."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np

from m4sam_core.objects.drawing import Tag
from m4sam_ros.messages.convert import image_to_numpy
from m4sam_ros.messages.objects import tags_in

_FRAMES_KEPT = 128


class ObjectDetails:
    """Collects both topics by stamp; the writer's thread waits for a frame's."""

    def __init__(self) -> None:
        self._arrived = threading.Condition()
        self._frames: OrderedDict[int, dict[str, Any]] = OrderedDict()

    def take_labels(self, msg: Any) -> None:
        """A message of `labels`."""
        self._take(msg.header, "labels", msg)

    def take_markers(self, msg: Any) -> None:
        """A message of `markers`; its first one deletes those of before and carries the header."""
        if msg.markers:
            self._take(msg.markers[0].header, "markers", msg.markers)

    def of(self, stamp_ns: int, patience_s: float) -> tuple[list[Tag], dict[str, Any]] | None:
        """Tags and the record of a frame, None when its messages do not come in time."""
        with self._arrived:
            if not self._arrived.wait_for(lambda: len(self._frames.get(stamp_ns, {})) == 2, patience_s):
                return None
            frame = self._frames.pop(stamp_ns)
        return _understood(stamp_ns, frame["labels"], frame["markers"])

    def _take(self, header: Any, name: str, value: Any) -> None:
        stamp_ns = int(header.stamp.sec) * 10**9 + int(header.stamp.nanosec)
        with self._arrived:
            self._frames.setdefault(stamp_ns, {})[name] = value
            while len(self._frames) > _FRAMES_KEPT:
                self._frames.popitem(last=False)
            self._arrived.notify_all()


def _understood(stamp_ns: int, labels_msg: Any, markers: Sequence[Any]) -> tuple[list[Tag], dict[str, Any]]:
    labels = image_to_numpy(labels_msg, "labels")
    boxes = {marker.id: marker for marker in markers if marker.ns == "boxes"}
    tags = tags_in(labels, markers)
    records = [
        {
            "id": tag.id,
            "main": tag.is_main,
            "area_px": int(np.count_nonzero(labels == tag.id)),
            "centre_px": [round(value, 1) for value in tag.centre_px],
            "distance_m": tag.distance_m,
            "box": _box(boxes[tag.id]) if tag.id in boxes else None,
        }
        for tag in tags
    ]
    return tags, {"stamp_ns": stamp_ns, "frame_id": labels_msg.header.frame_id, "objects": records}


def _box(marker: Any) -> dict[str, list[float]]:
    pose, scale = marker.pose, marker.scale
    turned = pose.orientation
    return {
        "centre_m": [round(value, 4) for value in (pose.position.x, pose.position.y, pose.position.z)],
        "size_m": [round(value, 4) for value in (scale.x, scale.y, scale.z)],
        "orientation_xyzw": [round(value, 4) for value in (turned.x, turned.y, turned.z, turned.w)],
    }
