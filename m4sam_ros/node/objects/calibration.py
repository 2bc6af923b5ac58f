# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""The cameras' calibrations as they arrive: what describes the images, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from m4sam_core.errors import InputError
from m4sam_core.objects import CameraModel
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
        return self._image_topic().rsplit("/", 1)[-1].startswith("image_rect")


def no_frame(frame_id: str) -> str | None:
    """Why nobody can place positions of this frame; None where tf can know it."""
    if frame_id and not frame_id.startswith("/"):
        return None
    got = f"{frame_id!r}, which tf refuses" if frame_id else "none"
    return f"frame_id of the colour image: expected one for positions, got {got}; set it in the camera's driver"
