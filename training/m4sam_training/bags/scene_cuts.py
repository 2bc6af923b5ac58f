# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Where a recording is cut into videos, with the robot's own scene detector."""

from __future__ import annotations

from typing import Literal

from m4sam_core.config import DepthConfig, SceneConfig
from m4sam_core.rgbd.bags.frames import BagFrame
from m4sam_core.rgbd.depth_values import DEFAULT_UNIT_M
from m4sam_core.stream.scene import HardEvents, SceneDetector
from m4sam_core.vision.cues import describe_frame
from m4sam_core.vision.depth import prepare_depth


class SceneCutter:
    """Decides frame by frame whether a new video begins."""

    def __init__(
        self,
        cut: Literal["scene", "time", "none"],
        segment_s: float,
        max_gap_s: float,
        unit_m: float = DEFAULT_UNIT_M,
    ) -> None:
        """Choose when to cut; gaps, time jumps and size changes always cut.

        Args:
            cut: at scene changes, every `segment_s` seconds, or neither.
            segment_s: length of a video with cut "time".
            max_gap_s: a longer pause always cuts.
            unit_m: length of one count of 16-bit depth. Metres.
        """
        self._cut, self._segment_s = cut, segment_s
        self._depth_cfg = DepthConfig(unit_m=unit_m)
        self._hard = HardEvents(max_gap_s)
        self._detector = SceneDetector(SceneConfig())
        self._began_s: float | None = None

    def cut_before(self, frame: BagFrame) -> str | None:
        """Why a new video begins with this frame; None when it does not."""
        stamp_s = frame.stamp_ns * 1e-9
        reason = self._hard.update(stamp_s, (frame.rgb.shape, frame.frame_id))
        if reason is None and self._began_s is not None and self._cut == "time":
            reason = "segment full" if stamp_s - self._began_s >= self._segment_s else None
        if self._cut == "scene":
            if reason is not None:
                self._detector.clear()
            height, width = frame.rgb.shape[:2]
            depth = prepare_depth(frame.depth, height, width, self._depth_cfg)
            if self._detector.update(describe_frame(frame.rgb, depth), stamp_s).changed:
                reason = reason or "scene change"
        if reason is not None or self._began_s is None:
            self._began_s = stamp_s
        return reason
