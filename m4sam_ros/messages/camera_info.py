# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""sensor_msgs/CameraInfo and the camera model of m4sam_core.objects, both ways."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sensor_msgs.msg import CameraInfo

from m4sam_core.objects import CameraModel
from m4sam_core.rgbd.camera_info import shown_region


def camera_model(info: Any, *, rectified: bool, shape: tuple[int, int] | None = None) -> CameraModel:
    """The model of the image that a CameraInfo belongs to.

    Args:
        info: the message; its region of interest is what the image shows, its binning a matter of the image's size.
        rectified: the image is rectified, so P describes it.
        shape: rows and columns of the image, where known: one of the sensor's size is no region of interest.

    Raises:
        InputError: not calibrated, or with a lens that is not known.
    """
    model = CameraModel.from_info(
        info.width, info.height, info.k, info.d, info.distortion_model, info.p if rectified else None
    )
    roi = shown_region(info, shape)
    if roi is None:
        return model
    return replace(model, width=roi.width, height=roi.height, cx=model.cx - roi.x_offset, cy=model.cy - roi.y_offset)


def camera_info(camera: CameraModel, distortion_model: str, header: Any) -> CameraInfo:
    """A CameraInfo of exactly this image: no binning, no region of interest, P the same camera as K."""
    k, zero = camera.matrix, 0.0
    return CameraInfo(
        header=header,
        width=camera.width,
        height=camera.height,
        distortion_model=distortion_model or "plumb_bob",
        d=list(camera.distortion) or [zero] * 5,
        k=[float(value) for value in k.ravel()],
        r=[1.0, zero, zero, zero, 1.0, zero, zero, zero, 1.0],
        p=[camera.fx, zero, camera.cx, zero, zero, camera.fy, camera.cy, zero, zero, zero, 1.0, zero],
    )
