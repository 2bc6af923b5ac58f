# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""A colour camera: exposure, white balance, vignetting, motion blur, noise and JPEG."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from m4sam_training.synth.geometry import Wobble
from m4sam_training.synth.texture import FloatImage


@dataclass(frozen=True)
class Lens:
    """One camera's character and the clip's exposure curve.

    Attributes:
        white (3,): gain per colour.
        gamma: tone curve.
        exposure: drift of log2 exposure over time.
        vignette: darkening of the corners, 0..1.
        blur_px: defocus, standard deviation. Pixels.
        shake_px: motion blur per frame. Pixels.
        noise: standard deviation in grey levels.
        jpeg_quality: 0 for none, otherwise 30..95.
    """

    white: npt.NDArray[np.float64]
    gamma: float
    exposure: Wobble
    vignette: float
    blur_px: float
    shake_px: float
    noise: float
    jpeg_quality: int


def random_lens(rng: np.random.Generator, width: int, severity: float) -> Lens:
    """Draw a camera; `severity` 0 is a good one in good light, 1 covers cheap ones in bad light."""
    scale = width / 640
    return Lens(
        white=rng.normal(1, 0.02 + 0.08 * severity, 3).clip(0.7, 1.3),
        gamma=float(np.exp(rng.normal(0, 0.08 + 0.25 * severity))),
        exposure=Wobble.draw(rng, [0.1 + 0.6 * severity * rng.random()], 0.5),
        vignette=rng.uniform(0, 0.15 + 0.35 * severity),
        blur_px=rng.uniform(0.2, 0.6 + 1.6 * severity) * scale,
        shake_px=rng.uniform(0, 8 * severity) * scale * (rng.random() < 0.4),
        noise=rng.uniform(0.5, 2 + 9 * severity * rng.random()),
        jpeg_quality=int(rng.integers(30, 95)) if rng.random() < severity else 0,
    )


def expose(rgb: FloatImage, lens: Lens, time_s: float, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Photograph an ideal image.

    Args:
        rgb (H, W, 3): float32, 0..255.
        lens: the camera.
        time_s: time in the clip.
        rng: source of this frame's noise.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    height, width = rgb.shape[:2]
    seen = cv2.GaussianBlur(rgb, (0, 0), lens.blur_px) if lens.blur_px > 0.25 else rgb
    if lens.shake_px >= 2:
        taps = int(lens.shake_px) | 1
        kernel = np.zeros((taps, taps), np.float32)
        end = rng.integers(0, taps, 2)
        cv2.line(kernel, (int(end[0]), 0), (taps - 1 - int(end[0]), taps - 1), 1.0)
        kernel = kernel if end[1] % 2 else np.ascontiguousarray(kernel.T)
        seen = cv2.filter2D(seen, -1, kernel / kernel.sum())
    down = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    across = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    falloff = 1 - np.float32(lens.vignette) * 0.5 * (down * down + across * across)
    gain = np.float32(2 ** float(lens.exposure.at(time_s)[0])) * falloff
    seen = (seen / 255).clip(0, 1) ** np.float32(lens.gamma) * 255 * gain[..., None] * lens.white.astype(np.float32)
    seen = seen + rng.standard_normal(seen.shape, dtype=np.float32) * np.float32(lens.noise)
    picture = np.clip(np.round(seen), 0, 255).astype(np.uint8)
    if lens.jpeg_quality:
        _, code = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, lens.jpeg_quality])
        picture = np.ascontiguousarray(np.asarray(cv2.imdecode(code, cv2.IMREAD_COLOR))[..., ::-1])
    return picture
