# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Random changes to a training clip, the same for all its frames (docs/model.md#recipe)."""

from __future__ import annotations

import cv2
import numpy as np
from PIL import Image, ImageEnhance

from m4sam_core.errors import ConfigError
from m4sam_core.rgbd.depth_values import from_metres, to_metres
from m4sam_training.data.corruptions import DEPTH_CORRUPTIONS, corrupt_clip
from m4sam_training.data.frames import Clip, with_depth
from m4sam_training.train.config import AugmentConfig

# Ranges of the enhancement factors, 1 = unchanged.
_COLOUR_RANGES = (
    (ImageEnhance.Brightness, 0.5, 1.5),
    (ImageEnhance.Contrast, 0.5, 1.5),
    (ImageEnhance.Color, 0.0, 2.0),
    (ImageEnhance.Sharpness, 0.0, 3.0),
)


class ClipAugmentation:
    """Flip, centre crop, rotation, rgb colour, and optional depth faults, drawn once per clip."""

    def __init__(self, cfg: AugmentConfig) -> None:
        """Check the settings.

        Raises:
            ConfigError: a depth corruption that does not exist.
        """
        unknown = sorted(set(cfg.corruptions) - set(DEPTH_CORRUPTIONS))
        if unknown:
            known = ", ".join(DEPTH_CORRUPTIONS)
            raise ConfigError(f"augment.corruptions: expected some of {known}, got {', '.join(unknown)}")
        self._cfg = cfg
        self._corruptions = cfg.corruptions or tuple(DEPTH_CORRUPTIONS)

    def __call__(self, clip: Clip, rng: np.random.Generator) -> Clip:
        """The changed clip; sizes may differ from the given one's, frames of the clip stay alike."""
        if not self._cfg.enabled:
            return clip
        clip = self._depth_faults(clip, rng)
        clip = self._geometry(clip, rng)
        return self._colour(clip, rng) if self._cfg.colour else clip

    def _geometry(self, clip: Clip, rng: np.random.Generator) -> Clip:
        height, width = clip.rgb[0].shape[:2]
        flip = rng.random() < self._cfg.flip_probability
        largest = min(self._cfg.crop_px, height // 4, width // 4)
        cut_rows, cut_columns = (int(cut) for cut in rng.integers(0, largest + 1, size=2))
        turn = rng.random() < self._cfg.rotate_probability
        angle = float(rng.uniform(-self._cfg.rotate_deg, self._cfg.rotate_deg))

        def change(image: np.ndarray) -> np.ndarray:
            if flip:
                image = image[:, ::-1]
            top, left = cut_rows // 2, cut_columns // 2
            image = image[top : top + height - cut_rows, left : left + width - cut_columns]
            return _rotated(image, angle) if turn else np.ascontiguousarray(image)

        rgb, depth, mask = (tuple(change(image) for image in part) for part in (clip.rgb, clip.depth, clip.mask))
        return Clip(rgb, depth, mask, clip.depth_unit_m)

    def _colour(self, clip: Clip, rng: np.random.Generator) -> Clip:
        factors = [float(rng.uniform(low, high)) for _, low, high in _COLOUR_RANGES]
        changed = []
        for rgb in clip.rgb:
            image = Image.fromarray(rgb)
            for (enhance, _, _), factor in zip(_COLOUR_RANGES, factors, strict=True):
                image = enhance(image).enhance(factor)
            changed.append(np.asarray(image))
        return Clip(tuple(changed), clip.depth, clip.mask, clip.depth_unit_m)

    def _depth_faults(self, clip: Clip, rng: np.random.Generator) -> Clip:
        if rng.random() < self._cfg.depth_dropout_probability:
            return with_depth(clip, [np.zeros_like(depth) for depth in clip.depth])
        if rng.random() >= self._cfg.corruption_probability:
            return clip
        name = self._corruptions[int(rng.integers(len(self._corruptions)))]
        severity = int(rng.integers(1, self._cfg.max_severity + 1))
        metres = [to_metres(depth, clip.depth_unit_m) for depth in clip.depth]
        faulty = corrupt_clip(metres, name, severity, int(rng.integers(2**31)))
        return with_depth(
            clip, [from_metres(m, depth, clip.depth_unit_m) for m, depth in zip(faulty, clip.depth, strict=True)]
        )


def _rotated(image: np.ndarray, angle_deg: float) -> np.ndarray:
    """The image turned about its centre, counter-clockwise, with zeros in the corners; contiguous.

    8-bit pictures, depth and masks are resampled bicubically by PIL, as in the release: masks become soft. Metric depth
    keeps its values: an average of two distances, or of distance and hole, is no measurement.
    """
    image = np.ascontiguousarray(image)
    if image.dtype == np.uint8:
        return np.array(Image.fromarray(image).rotate(angle_deg, Image.Resampling.BICUBIC))
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle_deg, 1.0)
    return cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_NEAREST)
