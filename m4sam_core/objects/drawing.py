# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Objects on a picture for people: a tag with id and distance at each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_REFERENCE_HEIGHT_PX = 480


@dataclass(frozen=True)
class Tag:
    """What is written at an object.

    Attributes:
        centre_px: column and row of its middle.
        id: its id.
        distance_m: None without a position.
        is_main: attention rests on it.
    """

    centre_px: tuple[float, float]
    id: int
    distance_m: float | None
    is_main: bool

    @property
    def text(self) -> str:
        """E.g. `3  1.52 m`."""
        return f"{self.id}" if self.distance_m is None else f"{self.id}  {self.distance_m:.2f} m"


def draw_tags(rgb: NDArray[np.uint8], tags: Sequence[Tag]) -> None:
    """Write tags on a picture (H, W, 3) uint8 RGB, in place: dark plates, the main object's a bright one."""
    scale = max(0.35, 0.5 * rgb.shape[0] / _REFERENCE_HEIGHT_PX)
    for tag in tags:
        (width, height), baseline = cv2.getTextSize(tag.text, _FONT, scale, 1)
        margin = max(2, height // 3)
        left = int(np.clip(tag.centre_px[0] - width / 2, margin, max(margin, rgb.shape[1] - width - margin)))
        bottom = int(
            np.clip(tag.centre_px[1] + height / 2, height + margin, max(height + margin, rgb.shape[0] - margin))
        )
        plate, ink = ((255, 214, 64), (20, 22, 26)) if tag.is_main else ((20, 22, 26), (240, 242, 245))
        corner = (left + width + margin, bottom + baseline // 2 + margin)
        cv2.rectangle(rgb, (left - margin, bottom - height - margin), corner, plate, -1)
        cv2.putText(rgb, tag.text, (left, bottom), _FONT, scale, ink, max(1, round(scale * 1.6)), cv2.LINE_AA)
