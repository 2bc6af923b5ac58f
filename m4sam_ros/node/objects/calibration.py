# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""The cameras' calibrations as they arrive: what describes the images, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from m4sam_core.errors import InputError
from m4sam_core.objects import CameraModel
from m4sam_core.objects.registered import seen_by_colour, seen_by_depth
from m4sam_core.rgbd.camera_info import is_rectified
from m4sam_ros.messages.camera_info import camera_model


class Calibration:
    """The last CameraInfo of one image, as a model.

    Args:
        image_topic: the resolved name of the image's topic; a rectified image is recognised by it (image_rect*).
        rectified: what the user says about that; may be replaced.
    """

    def __init__(self, image_topic: Callable[[], str], rectified: Literal["auto", "yes", "no"]) -> None:
        self._image_topic = image_topic
        self.rectified = rectified
        self._info: Any = None

    @property
    def distortion_model(self) -> str:
        """What the last CameraInfo calls its lens."""
        return "plumb_bob" if self._info is None else str(self._info.distortion_model)

    def take(self, info: Any) -> None:
        """A message has come."""
        self._info = info

    def of(self, shape: tuple[int, int]) -> tuple[CameraModel | None, str | None]:
        """The model of an image of that size (rows, columns), or None; and what is wrong with the CameraInfo."""
        info = self._info
        if info is None:
            return None, None
        try:
            return camera_model(info, rectified=self._is_rectified(), shape=shape), None
        except InputError as error:
            return None, str(error)

    def _is_rectified(self) -> bool:
        if self.rectified != "auto":
            return self.rectified == "yes"
        return is_rectified(self._image_topic())


def depth_at_colour(
    depth: np.ndarray | None, shape: tuple[int, int], colour: Calibration, own: Calibration
) -> np.ndarray | None:
    """Depth (h, w) of calibration `own` at the pixels of a colour image of `shape`, where the two differ."""
    if depth is None:
        return None
    return seen_by_colour(depth, shape, colour.of(shape)[0], own.of(depth.shape[:2])[0])


def mask_at_depth(mask: np.ndarray, shape: tuple[int, int], colour: Calibration, own: Calibration) -> np.ndarray | None:
    """A mask (H, W) of colour at the pixels of a depth image of `shape`; None when nothing tells where they are."""
    return seen_by_depth(mask, shape, colour.of(mask.shape)[0], own.of(shape)[0])


def no_frame(frame_id: str) -> str | None:
    """Why nobody can place positions of this frame; None where tf can know it."""
    if frame_id and not frame_id.startswith("/"):
        return None
    got = f"{frame_id!r}, which tf refuses" if frame_id else "none"
    return f"frame_id of the colour image: expected one for positions, got {got}; set it in the camera's driver"
