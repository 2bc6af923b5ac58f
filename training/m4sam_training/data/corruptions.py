# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""What goes wrong with depth cameras and colour cameras, as seeded functions at five (three) severities.

Depth corruptions are pure functions `(depth_m, rng, severity) -> depth_m` on maps in metres with 0 = hole; sizes in
pixels are meant for 640 px wide maps and scale with the width. `CorruptedStream` applies one to a video: faults that
belong to the mounting or the calibration stay the same for all its frames, and `depth_lag` delays them.
Noise models: Nguyen et al. 2012 (axial noise grows with z squared), Barron & Malik 2013 (disparity quantisation),
Handa et al. 2014 (edge jitter).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from io import BytesIO

import cv2
import numpy as np
from PIL import Image

from m4sam_core.errors import ConfigError

DepthCorruption = Callable[[np.ndarray, np.random.Generator, int], np.ndarray]
RgbCorruption = Callable[[np.ndarray, np.random.Generator, int], np.ndarray]

DEPTH_SEVERITIES = (1, 2, 3, 4, 5)
RGB_SEVERITIES = (1, 2, 3)
_BASELINE_FOCAL = 35.0  # baseline 0.075 m times focal length 467 px at 640 px: disparity = this / z, in pixels


def _px(depth_m: np.ndarray, size_at_640: float) -> float:
    return size_at_640 * depth_m.shape[1] / 640


def _keep_holes(noisy: np.ndarray, depth_m: np.ndarray) -> np.ndarray:
    return np.where(depth_m > 0, np.maximum(noisy, 0.01), 0).astype(np.float32)


def axial_noise(depth_m: np.ndarray, rng: np.random.Generator, severity: int) -> np.ndarray:
    """Gaussian noise along the ray, sigma = 1.2 mm + c * (z - 0.4 m)^2, c = 1.9 mm/m^2 times 2..32."""
    sigma = 0.0012 + 0.0019 * 2**severity * (depth_m - 0.4) ** 2
    return _keep_holes(depth_m + rng.standard_normal(depth_m.shape, dtype=np.float32) * sigma, depth_m)


def disparity_noise(depth_m: np.ndarray, rng: np.random.Generator, severity: int) -> np.ndarray:
    """Smooth noise and rounding of the disparity, as stereo matching makes: sigma 0.1..1.6 px, steps of 1/8 px."""
    disparity = _BASELINE_FOCAL / np.maximum(depth_m, 0.05)
    noise = _smooth_noise(rng, depth_m.shape, _px(depth_m, 4)) * (0.05 * 2**severity)
    noisy = np.maximum(np.rint((disparity + noise) * 8) / 8, 0.125)
    return _keep_holes(_BASELINE_FOCAL / noisy, depth_m)


def edge_jitter(depth_m: np.ndarray, rng: np.random.Generator, severity: int) -> np.ndarray:
    """Each pixel reads a neighbour up to 1..10 px away: outlines fray."""
    reach = _px(depth_m, (1, 2, 4, 6, 10)[severity - 1])
    height, width = depth_m.shape
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    rows += rng.standard_normal(depth_m.shape, dtype=np.float32) * np.float32(reach / 2)
    columns += rng.standard_normal(depth_m.shape, dtype=np.float32) * np.float32(reach / 2)
    return cv2.remap(depth_m.astype(np.float32), columns, rows, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)


def dropout(depth_m: np.ndarray, rng: np.random.Generator, severity: int) -> np.ndarray:
    """Single pixels without a reading: 5, 15, 30, 50, 75 %."""
    share = (0.05, 0.15, 0.3, 0.5, 0.75)[severity - 1]
    return np.where(rng.random(depth_m.shape, dtype=np.float32) < share, 0, depth_m).astype(np.float32)


def holes(depth_m: np.ndarray, rng: np.random.Generator, severity: int) -> np.ndarray:
    """Blobs without a reading (glass, black cloth, glare) on 5, 10, 20, 35, 50 % of the map."""
    share = (0.05, 0.1, 0.2, 0.35, 0.5)[severity - 1]
    field = _smooth_noise(rng, depth_m.shape, _px(depth_m, 24))
    return np.where(field > np.quantile(field, 1 - share), 0, depth_m).astype(np.float32)


def occlusion_shadow(depth_m: np.ndarray, rng: np.random.Generator, severity: int) -> np.ndarray:
    """Holes beside near objects where the second camera or the projector cannot see: up to 4..48 px at 1 m."""
    widest = max(2, round(_px(depth_m, (4, 8, 16, 32, 48)[severity - 1])))
    scale = widest / _BASELINE_FOCAL
    disparity = np.where(depth_m > 0, _BASELINE_FOCAL / np.maximum(depth_m, 0.05), 0) * scale
    left = bool(rng.integers(2))
    ordered = disparity if left else disparity[:, ::-1]
    shadow = np.zeros(depth_m.shape, bool)
    for offset in range(1, widest + 1):
        shadow[:, offset:] |= ordered[:, :-offset] - ordered[:, offset:] >= offset
    return np.where(shadow if left else shadow[:, ::-1], 0, depth_m).astype(np.float32)


def range_clip(depth_m: np.ndarray, rng: np.random.Generator, severity: int) -> np.ndarray:
    """Readings outside the sensor's range are lost; the range shrinks to 90, 75, 60, 45, 30 % of what the map spans."""
    valid = depth_m[depth_m > 0]
    if valid.size == 0:
        return depth_m.astype(np.float32)
    share = (0.9, 0.75, 0.6, 0.45, 0.3)[severity - 1]
    low = rng.uniform(0, 1 - share)
    near, far = np.quantile(valid, (low, low + share))
    return np.where((depth_m >= near) & (depth_m <= far), depth_m, 0).astype(np.float32)


def quantisation(depth_m: np.ndarray, rng: np.random.Generator, severity: int) -> np.ndarray:
    """Steps of 1, 2, 5, 10, 20 cm at 1 m that grow with z squared, as disparities do; random phase."""
    step = (0.01, 0.02, 0.05, 0.1, 0.2)[severity - 1]
    inverse = 1 / np.maximum(depth_m, 0.05)
    rounded = (np.floor(inverse / step + rng.random()) + 0.5) * step
    return _keep_holes(1 / np.maximum(rounded, step / 2), depth_m)


def misalignment(depth_m: np.ndarray, rng: np.random.Generator, severity: int) -> np.ndarray:
    """Depth shifted against rgb by 2, 5, 10, 20, 40 px in a random direction and turned by up to 2 degrees."""
    reach = _px(depth_m, (2, 5, 10, 20, 40)[severity - 1])
    angle = rng.uniform(0, 2 * np.pi)
    height, width = depth_m.shape
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), rng.uniform(-0.4, 0.4) * severity, 1.0)
    turn[:, 2] += (reach * np.cos(angle), reach * np.sin(angle))
    return cv2.warpAffine(depth_m.astype(np.float32), turn, (width, height), flags=cv2.INTER_NEAREST)


def depth_lag(depth_m: np.ndarray, rng: np.random.Generator, severity: int) -> np.ndarray:  # noqa: ARG001 (one signature)
    """Depth older than rgb. A single map has no past and comes back as it is; `CorruptedStream` delays a video."""
    return depth_m.astype(np.float32)


def frame_loss(depth_m: np.ndarray, rng: np.random.Generator, severity: int) -> np.ndarray:
    """The whole map is missing (all holes) with a chance of 10, 25, 50, 75, 100 %."""
    lost = rng.random() < (0.1, 0.25, 0.5, 0.75, 1.0)[severity - 1]
    return np.zeros_like(depth_m, dtype=np.float32) if lost else depth_m.astype(np.float32)


def scale_flicker(depth_m: np.ndarray, rng: np.random.Generator, severity: int) -> np.ndarray:
    """Scale and offset change from frame to frame: sigma 2, 5, 10, 20, 40 % and as many centimetres."""
    sigma = (0.02, 0.05, 0.1, 0.2, 0.4)[severity - 1]
    scale, offset = np.exp(rng.normal(0, sigma)), rng.normal(0, sigma)
    return _keep_holes(depth_m * scale + offset, depth_m)


def low_resolution(depth_m: np.ndarray, rng: np.random.Generator, severity: int) -> np.ndarray:
    """Measured on a grid 4, 6, 8, 12, 16 times as coarse at 640 px, at a random phase."""
    factor = max(2, round(_px(depth_m, (4, 6, 8, 12, 16)[severity - 1])))
    height, width = depth_m.shape
    row, column = rng.integers(0, factor, size=2)
    rows = np.minimum(np.arange(height) // factor * factor + min(row, height - 1), height - 1)
    columns = np.minimum(np.arange(width) // factor * factor + min(column, width - 1), width - 1)
    return depth_m[np.ix_(rows, columns)].astype(np.float32)


DEPTH_CORRUPTIONS: dict[str, DepthCorruption] = {
    function.__name__: function
    for function in (
        axial_noise, disparity_noise, edge_jitter, dropout, holes, occlusion_shadow, range_clip,
        quantisation, misalignment, depth_lag, frame_loss, scale_flicker, low_resolution,
    )
}  # fmt: skip
LAG_FRAMES = (1, 2, 4, 8, 15)
_SAME_FOR_VIDEO = frozenset({"misalignment", "occlusion_shadow", "range_clip", "quantisation", "low_resolution"})


def blur(rgb: np.ndarray, rng: np.random.Generator, severity: int) -> np.ndarray:
    """Motion blur along a random direction, 7, 15, 31 px long at 640 px."""
    length = max(3, round(_px(rgb, (7, 15, 31)[severity - 1])) | 1)
    kernel = np.zeros((length, length), np.float32)
    kernel[length // 2] = 1
    turn = cv2.getRotationMatrix2D((length / 2 - 0.5, length / 2 - 0.5), rng.uniform(0, 180), 1.0)
    kernel = cv2.warpAffine(kernel, turn, (length, length))
    return cv2.filter2D(rgb, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REPLICATE)


def exposure(rgb: np.ndarray, rng: np.random.Generator, severity: int) -> np.ndarray:
    """Over- or underexposed by 1, 1.8, 2.5 stops, clipped."""
    stops = (1.0, 1.8, 2.5)[severity - 1] * (1 if rng.random() < 0.5 else -1)
    return np.clip(rgb.astype(np.float32) * 2**stops, 0, 255).astype(np.uint8)


def low_light(rgb: np.ndarray, rng: np.random.Generator, severity: int) -> np.ndarray:
    """A dark scene: 400, 100, 30 photons for white, read noise, and 60, 45, 30 % of the brightness."""
    photons = (400.0, 100.0, 30.0)[severity - 1]
    dark = (rgb.astype(np.float32) / 255) ** 1.5 * (0.6, 0.45, 0.3)[severity - 1]
    noisy = rng.poisson(dark * photons) / photons + rng.standard_normal(rgb.shape) * 1.5 / photons
    return (np.clip(noisy, 0, 1) * 255).astype(np.uint8)


def jpeg(rgb: np.ndarray, rng: np.random.Generator, severity: int) -> np.ndarray:  # noqa: ARG001 (one signature)
    """JPEG at quality 25, 10, 4."""
    buffer = BytesIO()
    Image.fromarray(rgb).save(buffer, "JPEG", quality=(25, 10, 4)[severity - 1])
    return np.asarray(Image.open(buffer).convert("RGB"))


RGB_CORRUPTIONS: dict[str, RgbCorruption] = {f.__name__: f for f in (blur, exposure, low_light, jpeg)}


class CorruptedStream:
    """One depth corruption applied to the frames of one video, in order."""

    def __init__(self, name: str, severity: int, seed: int) -> None:
        """Choose the fault.

        Args:
            name: a key of `DEPTH_CORRUPTIONS`.
            severity: 1 (mild) to 5.
            seed: same seed and frames, same result.

        Raises:
            ConfigError: unknown name or severity.
        """
        _check(name, severity, DEPTH_CORRUPTIONS, DEPTH_SEVERITIES)
        self._name, self._severity, self._seed = name, severity, seed
        self._rng = np.random.default_rng(seed)
        self._past: deque[np.ndarray] = deque(maxlen=LAG_FRAMES[severity - 1] + 1)

    def __call__(self, depth_m: np.ndarray) -> np.ndarray:
        """Next frame's depth (H, W) float32 in metres, corrupted; the argument is left alone."""
        if self._name == "depth_lag":
            self._past.append(depth_m.astype(np.float32))
            return self._past[0].copy()
        rng = np.random.default_rng(self._seed) if self._name in _SAME_FOR_VIDEO else self._rng
        return DEPTH_CORRUPTIONS[self._name](depth_m, rng, self._severity)


def corrupt_clip(depth_m: Sequence[np.ndarray], name: str, severity: int, seed: int) -> list[np.ndarray]:
    """One corruption on all frames of a clip, in order.

    Raises:
        ConfigError: unknown name or severity.
    """
    stream = CorruptedStream(name, severity, seed)
    return [stream(frame) for frame in depth_m]


def corrupt_rgb(rgb: np.ndarray, name: str, severity: int, seed: int) -> np.ndarray:
    """An image (H, W, 3) uint8 with one of `RGB_CORRUPTIONS` at severity 1..3.

    Raises:
        ConfigError: unknown name or severity.
    """
    _check(name, severity, RGB_CORRUPTIONS, RGB_SEVERITIES)
    return RGB_CORRUPTIONS[name](rgb, np.random.default_rng(seed), severity)


def _check(name: str, severity: int, known: dict[str, Callable[..., np.ndarray]], severities: tuple[int, ...]) -> None:
    if name not in known:
        raise ConfigError(f"corruption: expected one of {', '.join(known)}, got {name!r}")
    if severity not in severities:
        raise ConfigError(f"severity of {name}: expected {severities[0]} to {severities[-1]}, got {severity!r}")


def _smooth_noise(rng: np.random.Generator, shape: tuple[int, int], scale_px: float) -> np.ndarray:
    """Gaussian field of unit deviation whose features are about `scale_px` wide."""
    height, width = shape
    coarse = rng.standard_normal((int(height / scale_px) + 3, int(width / scale_px) + 3), dtype=np.float32)
    field = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return field / max(float(field.std()), 1e-6)
