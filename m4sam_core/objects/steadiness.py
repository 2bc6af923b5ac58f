# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Whether depth can be believed from frame to frame: a map whose whole scale jumps gives no positions."""

from __future__ import annotations

from collections import deque

import numpy as np

from m4sam_core.objects.depth import FloatArray

_FRAMES = 8
_UNSTEADY = 0.04  # median surprise of the scene's scale between frames, relative
_ACCELERATION_M_S2 = 2.0  # of a robot's camera: what it may change in the scale between frames is no surprise
_GRID = 24
_LEAST_SHARED = 20


class DepthSteadiness:
    """Watches the scene's scale: the median ratio of a frame's readings to those of the frame before.

    A camera that moves changes it little and smoothly; a sensor that loses its calibration or flickers makes it jump
    to and fro, for the whole scene at once.
    """

    NOTE = "depth: expected a steady scale, got one that jumps from frame to frame; objects have no position"

    def __init__(self) -> None:
        self._last: FloatArray | None = None
        self._last_change: float | None = None
        self._last_s = self._last_step_s = 0.0
        self._surprises: deque[float] = deque(maxlen=_FRAMES)

    def update(self, depth_m: FloatArray, stamp_s: float) -> bool:
        """Take the next frame; returns whether its depth can be believed.

        Args:
            depth_m (h, w): metres, 0 where there is no reading.
            stamp_s: its time. Seconds.
        """
        rows, columns = (np.linspace(0, side - 1, min(_GRID, side)).astype(int) for side in depth_m.shape)
        sample = depth_m[np.ix_(rows, columns)]
        last, self._last = self._last, sample
        step_s, self._last_s = stamp_s - self._last_s, stamp_s
        longest_s, self._last_step_s = max(step_s, self._last_step_s), step_s
        if last is None or last.shape != sample.shape:
            self._last_change = None
            return self._steady
        shared = (last > 0) & (sample > 0)
        if np.count_nonzero(shared) < _LEAST_SHARED:
            self._last_change = None
            return self._steady
        change = float(np.log(np.median(sample[shared] / last[shared])))
        if self._last_change is not None:
            moved = _ACCELERATION_M_S2 * longest_s**2 / float(np.median(sample[shared]))
            self._surprises.append(abs(change - self._last_change) - moved)
        self._last_change = change
        return self._steady

    @property
    def _steady(self) -> bool:
        return not self._surprises or float(np.median(self._surprises)) < _UNSTEADY
