# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Which part of a sensor_msgs/CameraInfo describes an image; the same on the robot and in recordings."""

from __future__ import annotations

from typing import Any


def is_rectified(image_topic: str) -> bool:
    """Whether a topic carries rectified images by its name (image_rect*), so that P describes them, not K and D.

    Args:
        image_topic: without a transport's suffix.
    """
    return image_topic.rsplit("/", 1)[-1].startswith("image_rect")


def shown_region(info: Any, shape: tuple[int, int] | None) -> Any | None:
    """The region of interest that an image shows; None when it shows the whole sensor.

    Args:
        info: the message.
        shape: rows and columns of the image, where known: one of the sensor's size is no region of interest.
    """
    roi = info.roi
    if not roi.width or not roi.height or (shape == _binned(info, info) != _binned(info, roi)):
        return None
    return roi


def _binned(info: Any, part: Any) -> tuple[int, int]:
    """Rows and columns of the image of a part of the sensor."""
    return part.height // max(1, info.binning_y), part.width // max(1, info.binning_x)
