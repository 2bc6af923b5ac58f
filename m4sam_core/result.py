# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""What the pipeline says of a frame."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from m4sam_core.stream.session import StreamFrame
from m4sam_core.vision.images import LARGE_PX, resize_mask, resize_prob, salient
from m4sam_core.vision.prepare import PreparedFrame
from m4sam_core.vision.region import Region


@dataclass
class SaliencyResult:
    """The saliency of one frame. The two images are computed when first asked for.

    Attributes:
        region: what of the camera's picture was looked at; both images are 0 elsewhere.
        threshold: probability above which a pixel is salient.
        stamp: time of the frame, as given. Seconds.
        scene_id: number of the scene, from 0.
        frame_index: number of the frame in its scene, from 0.
        reset_reason: why a new scene begins with this frame, None when it does not.
        rgb_only: the frame was processed without depth.
        depth_note: why, None when depth was used.
        depth_doubt: why depth's readings are not to be believed (late, not registered, all one number), so that nothing
            may get a position from them; None when they may be, also where they are too few for the model.
        rgb_note: why nothing was looked for (a black, white or plain picture without depth), so that the mask is empty
            and nothing is remembered; None otherwise.
        wrote_memory: the frame was remembered.
        write_note: why a frame that was due was not remembered, None otherwise.
        memory_entries: frames remembered now.
        scene_score: evidence that the picture no longer belongs to the scene, 0 to 1.
        timings_ms: milliseconds per stage (prepare, encode, memory) and their total.
    """

    region: Region
    threshold: float
    stamp: float
    scene_id: int
    frame_index: int
    reset_reason: str | None
    rgb_only: bool
    depth_note: str | None
    depth_doubt: str | None
    rgb_note: str | None
    wrote_memory: bool
    write_note: str | None
    memory_entries: int
    scene_score: float
    timings_ms: dict[str, float]
    _mask_prob: Tensor = field(repr=False)

    @cached_property
    def probability(self) -> NDArray[np.float32]:
        """(H, W) float32 in [0, 1] at the camera's size."""
        return self.region.restore(resize_prob(self._mask_prob, *self.region.shape))

    @cached_property
    def mask(self) -> NDArray[np.uint8]:
        """(H, W) uint8 at the camera's size: 255 where salient, else 0."""
        height, width = self.region.shape
        if height * width <= LARGE_PX or "probability" in vars(self):
            return salient(self.probability, self.threshold)
        return self.region.restore(resize_mask(self._mask_prob, height, width, self.threshold))


def result_of(
    frame: StreamFrame, prepared: PreparedFrame, threshold: float, stamp: float, timings_ms: dict[str, float]
) -> SaliencyResult:
    """What `SaliencyPipeline.process` answers, from what the stream and the preparation say of a frame."""
    return SaliencyResult(
        region=prepared.region,
        threshold=threshold,
        stamp=stamp,
        scene_id=frame.scene_id,
        frame_index=frame.frame_index,
        reset_reason=frame.reset_reason,
        rgb_only=prepared.depth_note is not None,
        depth_note=prepared.depth_note,
        depth_doubt=prepared.depth_doubt,
        rgb_note=prepared.rgb_note,
        wrote_memory=frame.wrote_memory,
        write_note=frame.refusal,
        memory_entries=frame.memory_entries,
        scene_score=frame.scene.score,
        timings_ms=timings_ms,
        _mask_prob=frame.mask_prob,
    )
