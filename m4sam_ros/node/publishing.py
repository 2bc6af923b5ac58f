# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""The threads that publish what a frame says besides its mask, so that neither the next mask nor the camera waits."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from m4sam_core.errors import M4SamError
from m4sam_ros.node.metrics import Metrics
from m4sam_ros.node.objects.capture import Capture
from m4sam_ros.node.outputs import Outputs
from m4sam_ros.node.worker import Worker

_DEPTH_ROOM = 8  # pairs whose depth may wait to be cleared


@dataclass(frozen=True)
class Segmented:
    """A frame whose mask is out.

    Attributes:
        frame: `rgb_msg` and `depth_msg`.
        rgb: (H, W, 3) uint8.
        depth: at the size of rgb, uint16 or float32, None without.
        sensed: (h, w) the same as the sensor sent it.
        result: `SaliencyResult`.
        capture: who waits for it, None when nobody does.
        at: since when. Monotonic seconds.
    """

    frame: Any
    rgb: np.ndarray
    depth: np.ndarray | None
    sensed: np.ndarray | None
    result: Any
    capture: Capture | None
    at: float


class Publishing:
    """One thread for the outputs of segmented frames, one for `depth_background` at the camera's rate.

    Args:
        outputs: the publishers.
        metrics: counters.
        warn: tells a kind of problem and a text, counted and now and then logged.
        decode_depth: see `DepthBackground.clear`.
    """

    def __init__(
        self,
        outputs: Outputs,
        metrics: Metrics,
        warn: Callable[[str, str], None],
        decode_depth: Callable[[Any, tuple[int, int]], np.ndarray | None],
    ) -> None:
        self._outputs = outputs
        self._metrics = metrics
        self._warn = warn
        self._decode_depth = decode_depth
        self._closing = False
        self._frames = Worker(self._publish, self._on_error, "outputs", must_stay=lambda done: done.capture is not None)
        self._depths = Worker(self._clear, self._on_error, "depth", room=_DEPTH_ROOM)

    def hand_over(self, done: Segmented) -> None:
        """Everything else of a frame whose mask is out.

        Never waits: a frame that still does when the next one comes is passed over, all of its outputs together; but
        not one that somebody asked for.
        """
        if self._frames.post(done) is not None:
            self._metrics.count("outputs_behind")

    def clear_depth(self, frames: Sequence[Any]) -> None:
        """New pairs, `rgb_msg`, `depth_msg` and `stamp` each, whether they will be segmented or not."""
        if not frames or not self._outputs.objects.background.follows_camera:
            return
        for frame in frames:
            if frame.depth_msg is not None and self._depths.post(frame) is not None:
                self._warn("depth_background_busy", "depth_background: a pair was passed over, the node is too busy")

    def stop(self, timeout_s: float) -> bool:
        """End the threads; what segmented frames have to say is said first. Returns whether they ended in time."""
        self._closing = True
        until = time.monotonic() + timeout_s
        ended = self._frames.stop(timeout_s, drain=True)
        return self._depths.stop(max(0.0, until - time.monotonic())) and ended

    def _publish(self, done: Segmented) -> None:
        everything = done.capture is not None
        try:
            self._outputs.publish(
                done.frame, done.rgb, done.depth, done.result, sensed=done.sensed, everything=everything
            )
        except Exception:
            if done.capture is not None:
                done.capture.lost = True
            raise
        self._metrics.published((time.monotonic() - done.at) * 1000)
        if done.capture is not None:
            done.capture.answer(done.frame.rgb_msg.header.stamp, self._outputs.objects.found)

    def _clear(self, frame: Any) -> None:
        self._outputs.objects.background.clear(frame, self._decode_depth)

    def _on_error(self, error: Exception) -> None:
        if self._closing:
            # Publishers vanish under a frame that is still being published when the process is told to stop.
            return
        if isinstance(error, M4SamError):
            self._warn("output_errors", f"outputs of a frame lost: {error}")
        else:
            trace = "".join(traceback.format_exception(error))
            self._warn("output_errors", f"outputs of a frame lost: {type(error).__name__}: {error}\n{trace}")
