# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Whether a frame is good enough to remember (docs/stream.md#memory).

A remembered mistake is read by every later frame, a frame left out costs nothing: when in doubt, read only. All
inputs have been computed already; "nothing salient" is a good answer, not a bad frame.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from m4sam_core.config import WriteGateConfig

_STRIDE = 2  # the shares below need no more than every second row and column
_REGION = 0.1  # probability from which a pixel belongs to the uncertain-or-salient area
_EMPTY_AREA = 0.002  # masks below this share of the image count as empty, and areas are compared from here on


@dataclass(frozen=True)
class MaskQuality:
    """What the masks of one frame say about themselves.

    Attributes:
        agreement: share of the final mask at 0.5 that the coarse one has too: a memory may choose among what a picture
            shows, but not add to it. 1 when both are empty, 0 when the final one alone is.
        confidence: mean |2p-1| over the pixels with p > 0.1; 1 when there are none.
        area: share of the image with p > 0.5.
    """

    agreement: float
    confidence: float
    area: float


@dataclass(frozen=True)
class ImageQuality:
    """What the picture says about itself.

    Attributes:
        relative_sharpness: sharpness over the scene's running mean.
        exposure: share of pixels neither black nor burnt out.
        suspect: the frame does not fit the scene (scene.py).
    """

    relative_sharpness: float = 1.0
    exposure: float = 1.0
    suspect: bool = False


def measure_masks(mask_prob: Tensor, coarse_prob: Tensor) -> MaskQuality:
    """Reduce two masks to three numbers, with a single transfer from the device.

    Args:
        mask_prob (1, 1, H, W): final probability.
        coarse_prob (1, 1, H, W): the decoder's coarse probability.
    """
    final, coarse = mask_prob[..., ::_STRIDE, ::_STRIDE].float(), coarse_prob[..., ::_STRIDE, ::_STRIDE]
    is_final, is_coarse, region = final > 0.5, coarse > 0.5, final > _REGION
    sums = torch.stack(
        [
            (is_final & is_coarse).sum(),
            is_coarse.sum(),
            is_final.sum(),
            region.sum(),
            ((2 * final - 1).abs() * region).sum(),
        ]
    )
    both, coarse_area, area, uncertain, certainty = (float(x) for x in sums.tolist())
    empty = max(coarse_area, area) < _EMPTY_AREA * final.numel()
    return MaskQuality(
        agreement=1.0 if empty else both / area if area else 0.0,
        confidence=certainty / uncertain if uncertain else 1.0,
        area=area / final.numel(),
    )


class WriteGate:
    """Judges frames one after the other; remembers the last area and since when it has been in doubt."""

    def __init__(self, cfg: WriteGateConfig) -> None:
        """See WriteGateConfig."""
        self.cfg = cfg
        self.clear()

    def clear(self) -> None:
        """Begin a scene."""
        self._area: float | None = None
        self._doubt_since_s: float | None = None

    def judge(self, masks: MaskQuality, image: ImageQuality, stamp_s: float) -> str | None:
        """Return why the frame must not be remembered, or None when it may.

        Doubts about the picture stand as long as they last. Doubts about the mask are overruled after
        `patience_s`, else a model that is never sure would freeze the memory.
        """
        area, self._area = self._area, masks.area
        if not self.cfg.enabled:
            return None
        reason = self._image_doubt(image)
        if reason is not None:
            return reason
        reason = self._mask_doubt(masks, area)
        if reason is None:
            self._doubt_since_s = None
            return None
        if self._doubt_since_s is None:
            self._doubt_since_s = stamp_s
        return reason if stamp_s - self._doubt_since_s < self.cfg.patience_s else None

    def _image_doubt(self, image: ImageQuality) -> str | None:
        if image.suspect:
            return "does not fit the scene"
        if image.exposure < self.cfg.min_exposure:
            return "exposure"
        return "blur" if image.relative_sharpness < self.cfg.min_sharpness else None

    def _mask_doubt(self, masks: MaskQuality, last_area: float | None) -> str | None:
        if masks.agreement < self.cfg.min_agreement:
            return "coarse and final mask disagree"
        if masks.confidence < self.cfg.min_confidence:
            return "unsure mask"
        if last_area is not None:
            small, large = sorted((max(last_area, _EMPTY_AREA), max(masks.area, _EMPTY_AREA)))
            if large / small > self.cfg.max_area_jump:
                return "area jump"
        return None
