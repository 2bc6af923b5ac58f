# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""`depth_background`: depth without what is salient, for maps and odometry, at the camera's rate.

Odometry cannot wait for a model that is slower than the camera. So each pair's depth is cleared as soon as it comes, by
the newest mask there is, which was made for an earlier picture (docs/node.md#depth-without-the-objects).
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from m4sam_core.objects.registered import depth_background, grown
from m4sam_ros import names
from m4sam_ros.node.objects.calibration import Calibration
from m4sam_ros.settings import NodeConfig

_REMEMBERED = 64  # frames whose depth went out; a frame on demand is cleared by two threads
_OLDEST_DEPTH_S = 0.1  # what `hold` keeps is good enough for a mask, not for where things are


@dataclass(frozen=True, eq=False)
class Clearance:
    """What a mask takes out of depth.

    Attributes:
        mask (H, W): uint8 0/255.
        stamp_s: of its colour image. Seconds.
        margin_px: how far around it is cleared too. Pixels.
        depth_doubt: why depth does not belong to that image, None when it does.
    """

    mask: np.ndarray
    stamp_s: float
    margin_px: int
    depth_doubt: str | None = None

    @cached_property
    def area(self) -> np.ndarray:
        """(H, W) uint8, not 0 where depth goes; made once, however many depth maps it clears."""
        return grown(self.mask, self.margin_px)


class DepthBackground:
    """Clears depth maps and publishes them; one thread at the camera's rate, another for frames with their own mask.

    Args:
        cfg: settings, which may be replaced by assigning `cfg`.
        wanted: whether anybody subscribes.
        send: publishes pixels, encoding and header.
        colour: calibration of the colour image.
        depth: calibration of the depth image.

    Attributes:
        problem: why the last pair's depth was not published, None when it was.
    """

    def __init__(
        self,
        cfg: NodeConfig,
        wanted: Callable[[], bool],
        send: Callable[[np.ndarray, str, Any], object],
        colour: Calibration,
        depth: Calibration,
    ) -> None:
        self.cfg = cfg
        self._wanted = wanted
        self._send = send
        self._colour, self._depth = colour, depth
        self._newest: Clearance | None = None
        self._sent: deque[Any] = deque(maxlen=_REMEMBERED)
        self._claiming = threading.Lock()
        self.problem: str | None = None

    def take_mask(self, mask: np.ndarray, stamp_s: float, depth_doubt: str | None) -> None:
        """The newest mask, of the colour image of that time; with a doubt it can clear no depth."""
        self._newest = replace(self.by_own_mask(mask, stamp_s), depth_doubt=depth_doubt)

    def by_own_mask(self, mask: np.ndarray, stamp_s: float) -> Clearance:
        """What a mask takes out of its own frame's depth."""
        return Clearance(mask, stamp_s, self.cfg.outputs.background_margin_px)

    @property
    def follows_camera(self) -> bool:
        """Whether `clear` is to be called with every pair; else `publish` with every frame that has a mask."""
        return self.cfg.outputs.background_mask_age_s > 0 and self._wanted()

    def clear(self, frame: Any, decode: Callable[[Any, tuple[int, int]], np.ndarray | None]) -> None:
        """Publish a pair's depth, cleared by the newest mask, if there is one that is new enough.

        Args:
            frame: `rgb_msg`, `depth_msg` and `stamp`.
            decode: gives the pair's depth, registered to an image of that size; None when it is of no use.
        """
        newest = self._new_enough(frame)
        if newest is None:
            return
        height, width = newest.mask.shape
        depth, _ = fresh(frame, decode(frame, (height, width)), self.cfg.sync.depth_stamp_offset_s)
        if depth is not None:
            self.publish(frame.rgb_msg.header, depth, getattr(frame.depth_msg, "encoding", ""), newest)

    def publish(self, header: Any, depth: np.ndarray, encoding: str, clearance: Clearance) -> None:
        """Send out one frame's depth, once; nothing when it cannot be told which of its pixels to clear.

        Args:
            header: of its colour image; the same object for the same frame.
            depth: (h, w) uint16 or float32.
            encoding: of its message, "" for a compressed one.
            clearance: what to take out.
        """
        if not self._claim(header):
            return
        (camera, _), (depth_camera, _) = self._colour.of(clearance.area.shape), self._depth.of(depth.shape)
        cleared = depth_background(depth, clearance.area, camera, depth_camera)
        if cleared is None:
            return
        kind = "32FC1" if cleared.dtype == np.float32 else "mono16" if encoding == "mono16" else "16UC1"
        self._send(cleared, kind, header)

    def _claim(self, header: Any) -> bool:
        """Whether the caller is the first to publish this frame."""
        with self._claiming:
            if any(known is header for known in self._sent):  # by the frame, not by its stamp: bags loop
                return False
            self._sent.append(header)
            return True

    def _new_enough(self, frame: Any) -> Clearance | None:
        newest, oldest_s = self._newest, self.cfg.outputs.background_mask_age_s
        if newest is None:
            return None
        size = getattr(frame.rgb_msg, "height", None), getattr(frame.rgb_msg, "width", None)
        if None not in size and size != newest.mask.shape:  # the camera has changed; a compressed message does not say
            return None
        if newest.depth_doubt is not None:
            self.problem = f"{names.DEPTH_BACKGROUND}: {newest.depth_doubt}"
            return None
        age_s = frame.stamp - newest.stamp_s
        if abs(age_s) <= oldest_s:
            self.problem = None
            return newest
        self.problem = (
            f"{names.DEPTH_BACKGROUND}: expected a mask of the last {oldest_s:g} s, got one of {age_s:.2f} s before "
            "its depth; use a faster model, or raise outputs.background_mask_age_s"
        )
        return None


def fresh(frame: Any, depth: np.ndarray | None, depth_stamp_offset_s: float) -> tuple[np.ndarray | None, str | None]:
    """Depth near enough in time to say where things are in a frame's colour image, or None and why.

    Args:
        frame: `rgb_msg` and `depth_msg`.
        depth: of it, None without.
        depth_stamp_offset_s: see `SyncConfig`.
    """
    if depth is None:
        return None, None
    rgb, other = frame.rgb_msg.header.stamp, frame.depth_msg.header.stamp
    apart = (other.sec - rgb.sec) + (other.nanosec - rgb.nanosec) * 1e-9 + depth_stamp_offset_s
    if abs(apart) <= _OLDEST_DEPTH_S:
        return depth, None
    return None, f"depth: expected within {_OLDEST_DEPTH_S:g} s of colour for positions, got {apart:+.2f} s"
