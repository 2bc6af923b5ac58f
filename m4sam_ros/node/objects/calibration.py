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
        rectified: what the user says about that.
    """

    def __init__(self, image_topic: Callable[[], str], rectified: Literal["auto", "yes", "no"]) -> None:
        self._image_topic = image_topic
        self.rectified = rectified
        self.camera: CameraModel | None = None
        self.problem: str | None = None
        self.distortion_model = "plumb_bob"

    def take(self, info: Any) -> None:
        """A message has come."""
        try:
            self.camera, self.problem = camera_model(info, rectified=self._is_rectified()), None
        except InputError as error:
            self.camera, self.problem = None, str(error)
        self.distortion_model = info.distortion_model

    def _is_rectified(self) -> bool:
        if self.rectified != "auto":
            return self.rectified == "yes"
        return self._image_topic().rsplit("/", 1)[-1].startswith("image_rect")
