# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""The objects' points as `sensor_msgs/PointCloud2`."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import numpy as np
from sensor_msgs.msg import PointCloud2, PointField

from m4sam_core.objects.cloud import POINT
from m4sam_ros.messages.cdr import CDR_HEAD, aligned, cdr_header, cdr_string
from m4sam_ros.messages.convert import to_ros_bytes

_KINDS = {
    "x": PointField.FLOAT32,
    "y": PointField.FLOAT32,
    "z": PointField.FLOAT32,
    "rgb": PointField.FLOAT32,
    "id": PointField.UINT32,
}
_OFFSETS = dict(zip(_KINDS, range(0, POINT.itemsize, 4), strict=True))


def point_cloud(header: Any, points: np.ndarray) -> PointCloud2:
    """A PointCloud2 of `POINT`s, (N,) or (H, W); organised ones have NaN where there is no point."""
    height, width = _shape(points)
    return PointCloud2(
        header=header,
        height=height,
        width=width,
        fields=[PointField(name=name, offset=_OFFSETS[name], datatype=kind, count=1) for name, kind in _KINDS.items()],
        is_bigendian=False,
        point_step=POINT.itemsize,
        row_step=POINT.itemsize * width,
        data=to_ros_bytes(points.view(np.uint8)),
        is_dense=points.ndim == 1,
    )


def point_cloud_to_cdr(header: Any, points: np.ndarray) -> bytes:
    """The same message as bytes on the wire; see `convert.numpy_to_cdr`."""
    height, width = _shape(points)
    head = aligned(cdr_header(header)) + struct.pack("=III", height, width, len(_KINDS))
    for name, kind in _KINDS.items():
        head = aligned(aligned(head) + cdr_string(name))
        head = aligned(head + struct.pack("=IB", _OFFSETS[name], kind)) + struct.pack("=I", 1)
    head = aligned(head + b"\0") + struct.pack("=III", POINT.itemsize, POINT.itemsize * width, points.nbytes)
    return b"".join((CDR_HEAD, head, np.ascontiguousarray(points).data.cast("B"), bytes((points.ndim == 1,))))


def cloud_writer() -> Callable[[Any, np.ndarray], Any]:
    """`point_cloud_to_cdr`, or `point_cloud` under an RMW that serialises otherwise."""
    from rclpy.serialization import deserialize_message
    from std_msgs.msg import Header

    header, sample = Header(frame_id="camera"), np.zeros((2, 3), POINT)
    sample["id"] = np.arange(6).reshape(2, 3)
    try:
        read = deserialize_message(point_cloud_to_cdr(header, sample), PointCloud2)
    except Exception:  # noqa: BLE001 - whatever an RMW says of bytes that it does not understand
        return point_cloud
    return point_cloud_to_cdr if read == point_cloud(header, sample) else point_cloud


def _shape(points: np.ndarray) -> tuple[int, int]:
    """Rows and columns of a cloud."""
    return points.shape if points.ndim == 2 else (1, points.size)
