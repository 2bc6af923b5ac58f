# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Is the camera still alive? A sensor has noise: what does not change by a single bit is an image sent again."""

from __future__ import annotations

from typing import Any

import numpy as np

STILL_S = 5.0  # a line that counts the seconds would be a new one every second
_ROWS = 32  # noise is everywhere, so a few rows tell


class Repeats:
    """Watches the images of one camera for one that is sent again and again under new stamps."""

    def __init__(self) -> None:
        self._seen: tuple[np.dtype[Any], tuple[int, ...], bytes] | None = None
        self._since_s = 0.0

    def still_s(self, image: np.ndarray | None, now_s: float) -> float:
        """For how long the image has been the same. Seconds; 0 for the first of its kind, and without one.

        Args:
            image (H, W) or (H, W, 3): any dtype; None when there is none.
            now_s: when it came, rising. Seconds.
        """
        seen = None
        if image is not None:
            seen = image.dtype, image.shape, image[:: max(1, image.shape[0] // _ROWS)].tobytes()
        if seen is None or seen != self._seen:
            self._seen, self._since_s = seen, now_s
        return now_s - self._since_s


class Standstill:
    """Watches both cameras."""

    def __init__(self) -> None:
        self._rgb, self._depth = Repeats(), Repeats()

    def problem(self, rgb: np.ndarray, depth: np.ndarray | None, now_s: float, topics: tuple[str, str]) -> str | None:
        """One line when a camera repeats itself, None while both live.

        Args:
            rgb (H, W, 3): the image.
            depth (H, W): its depth, None without.
            now_s: when it came, rising. Seconds.
            topics: names of both inputs.
        """
        rgb_s, depth_s = self._rgb.still_s(rgb, now_s), self._depth.still_s(depth, now_s)
        if rgb_s >= STILL_S:
            return (
                f"{topics[0]}: the same image for {STILL_S:.0f} s or more, to the last bit, under new stamps; does the "
                "camera or its driver hang? Masks are of that image"
            )
        if depth_s >= STILL_S and depth is not None and depth.any():
            return (
                f"{topics[1]}: the same depth for {STILL_S:.0f} s or more, to the last bit, under new stamps, while "
                f"{topics[0]} changes; does the depth camera hang?"
            )
        return None
