# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""One trip from a camera's images to everything a frame needs; where the order matters, it says so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from m4sam_core.config import PipelineConfig
from m4sam_core.vision.alignment import DepthAlignment
from m4sam_core.vision.cues import FrameCues, describe_frame
from m4sam_core.vision.depth import plain_map, prepare_depth
from m4sam_core.vision.images import GLANCE_SIDE_PX, check_rgb, glance, resize_rgb, to_unit
from m4sam_core.vision.region import Region, region_of

_LEAST_SPREAD = 4.5 / 255.0  # of a thumbnail's colours, from 0 to 1; below, a network marks anything
_DARK, _BRIGHT = 0.1, 0.9  # mean luminance


@dataclass(frozen=True, eq=False)
class PreparedFrame:
    """A camera's frame as the stream takes it.

    Attributes:
        rgb (1, 3, S, S): colour in [0, 1], on the model's device.
        depth (1, 1, S, S): depth in [0, 1], larger = farther, holes 0; all zero when it is not used.
        cues: the frame at a glance, for scene changes and the write gate.
        depth_note: why depth is not used, None when it is.
        depth_doubt: why its readings are not to be believed, None when they may be.
        rgb_note: why neither colour nor depth shows anything, None when something can be seen.
        region: what of the camera's picture these are.
    """

    rgb: Tensor
    depth: Tensor
    cues: FrameCues
    depth_note: str | None
    depth_doubt: str | None
    rgb_note: str | None
    region: Region


def _nothing_to_see(cues: FrameCues) -> str | None:
    """Why a picture tells nothing; None when it does."""
    if cues.spread >= _LEAST_SPREAD:
        return None
    if cues.brightness < _DARK:
        cause = "black; is the lens covered, is there light?"
    elif cues.brightness > _BRIGHT:
        cause = "white; is it overexposed?"
    else:
        cause = "of one colour; is something before the lens, or has the driver no picture?"
    return f"rgb: nothing can be seen, the picture is {cause}"


class FramePreparation:
    """Prepares the frames of one camera, one after the other."""

    def __init__(self, size_px: int, device: torch.device) -> None:
        """Remember where frames go.

        Args:
            size_px: side S of the model's square.
            device: where the model is.
        """
        self._size_px = size_px
        self._device = device
        self._alignment = DepthAlignment()

    def prepare(
        self,
        rgb: NDArray[np.uint8],
        depth: NDArray[Any] | None,
        cfg: PipelineConfig,
        ignored: Sequence[NDArray[Any] | None] = (),
    ) -> PreparedFrame:
        """Everything that is computed from the images alone.

        Args:
            rgb (H, W, 3): uint8 in R, G, B order.
            depth (H, W): see `depth.prepare_depth`; whatever is wrong with it only leaves it out.
            cfg: what of the picture counts, depth's unit and range, and whether outlines are compared.
            ignored: masks (h, w), None for none, not 0 for pixels that do not count.

        Raises:
            InputError: unusable rgb, or nothing of it counts. Nothing has been remembered of the frame by then, so
                the next one is as if it had never come.
        """
        rgb = check_rgb(rgb)
        # Before all else: the robot's gripper must neither stretch the depth range nor look like another scene.
        region = region_of(rgb.shape[0], rgb.shape[1], cfg.roi, ignored)
        rgb, depth = region.take_rgb(rgb), region.take_depth(plain_map(depth))
        prepared = prepare_depth(depth, rgb.shape[0], rgb.shape[1], cfg.depth)
        square = resize_rgb(rgb, self._size_px)
        # Who judges the picture does with what the model sees, where that is large enough.
        seen = glance(square[0].permute(1, 2, 0).numpy() if self._size_px >= GLANCE_SIDE_PX else rgb)
        # Before the alignment check may leave depth out: a map that is late or badly registered still tells a new room
        # from a light switched on, which is all the cues ask of it, and it must not vanish from them in mid-scene.
        cues = describe_frame(seen, prepared)
        # Of readings in metres, where jumps mean something; hence before they are mixed by resizing.
        if cfg.depth.check_alignment:
            prepared = self._alignment.update(seen, prepared)
        # Colour travels to the device as 8 bits, a quarter of the bytes, and becomes float there.
        return PreparedFrame(
            rgb=to_unit(square, self._device),
            depth=torch.from_numpy(prepared.reduced(self._size_px))[None, None].to(self._device, non_blocking=True),
            cues=cues,
            depth_note=prepared.note,
            depth_doubt=prepared.doubt,
            rgb_note=_nothing_to_see(cues) if prepared.rgb_only else None,
            region=region,
        )
