# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Why scenes begin anew: what is noise and what is another camera, counted by cause and said in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

SAME_CAMERA = 0.02
"""Intrinsics that differ by less are one camera with autofocus or stabilisation."""
_CENTRE_PX = 1.0
_REMAP = "remap the camera_info of this very image stream"

CAUSES = ("frame_id", "size", "calibration", "time", "gap", "picture", "model")
_CAUSE_OF_WORD = {
    "camera calibration changed": "calibration",
    "time went back": "time",
    "gap of": "gap",
    "the model failed": "model",
    "frame failed": "model",
}


@dataclass(frozen=True)
class NewScene:
    """A scene that began anew: one of `CAUSES`, and a sentence that names what it was."""

    cause: str
    text: str


class SceneLog:
    """Compares each frame with the one before, to tell what changed when a scene begins anew."""

    def __init__(self) -> None:
        self._before: tuple[tuple[int, int], str] | None = None
        self.calibration = CalibrationWatch()

    def new_scene(self, reset_reason: str | None, height: int, width: int, frame_id: str) -> NewScene | None:
        """Take note of a frame; the reason in words when a scene began anew with it, other than on request.

        Args:
            reset_reason: of the frame's result.
            height: of the image, pixels.
            width: of the image, pixels.
            frame_id: of its header.
        """
        before, self._before = self._before, ((height, width), frame_id)
        if reset_reason is None or reset_reason == "requested":
            return None
        cause = next((cause for word, cause in _CAUSE_OF_WORD.items() if reset_reason.startswith(word)), "picture")
        if cause == "calibration":
            return NewScene(cause, f"camera_info changes between {self.calibration.change}")
        if reset_reason != "camera changed" or before is None:
            return NewScene(cause, reset_reason)
        (old_height, old_width), old_frame_id = before
        if (old_height, old_width) != (height, width):
            text = f"the image size changes between {old_width}x{old_height} and {width}x{height}"
            return NewScene("size", text)
        return NewScene("frame_id", f"frame_id changes between {old_frame_id!r} and {frame_id!r}")


class CalibrationWatch:
    """Notices that the camera's calibration or size changed, and one that is not the image's.

    Attributes:
        change: the last change, "fx 300 and fx 600", "" before any.
    """

    def __init__(self) -> None:
        self._scene: tuple[int, int, np.ndarray] | None = None
        self._sizes: set[tuple[int, int]] = set()
        self._frame_id = ""
        self.change = ""

    def changed(self, msg: Any) -> bool:
        """Whether this CameraInfo is another camera's than the scene's; the first one is not.

        A driver with autofocus or stabilisation publishes slightly other intrinsics with every frame (`SAME_CAMERA`).
        """
        roi = msg.roi
        shapes = {(msg.height, msg.width), (roi.height, roi.width)} - {(0, 0)}
        binning = (max(1, msg.binning_y), max(1, msg.binning_x))
        self._sizes = {(height // binning[0], width // binning[1]) for height, width in shapes} | shapes
        self._frame_id = msg.header.frame_id
        now = (int(msg.height), int(msg.width), np.asarray(msg.k, np.float64))
        before = self._scene
        if before is None:
            self._scene = now
            return False
        if before[:2] == now[:2] and np.allclose(now[2], before[2], SAME_CAMERA, _CENTRE_PX, equal_nan=True):
            return False
        self._scene = now
        self.change = " and ".join(f"{w}x{h}, fx {k[0]:g}" for h, w, k in (before, now))
        return True

    def contradiction(self, height: int, width: int, frame_id: str) -> str | None:
        """What is wrong when the last CameraInfo is not for images of this size, or not of this frame."""
        if self._sizes and (height, width) not in self._sizes:
            told = " or ".join(f"{w}x{h}" for h, w in sorted(self._sizes))
            return f"expected {width}x{height} as the images, got {told}; {_REMAP}"
        if self._frame_id and frame_id and self._frame_id != frame_id:
            return f"expected frame_id {frame_id!r} as the images, got {self._frame_id!r}; {_REMAP}"
        return None
