# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Depth cameras: what a structured-light, stereo or time-of-flight sensor makes of the true depth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from m4sam_training.synth.texture import FloatImage, value_noise

SensorKind = Literal["structured_light", "stereo", "tof"]


@dataclass(frozen=True)
class SensorNoise:
    """One camera's character, drawn once per clip.

    Attributes:
        kind: measuring principle.
        disparity_step_px: quantisation of the disparity (structured light and stereo). Pixels.
        noise_px: standard deviation of the disparity. Pixels.
        axial_m: standard deviation of a time-of-flight reading at 1 m. Metres.
        shadow_px: widest occlusion shadow beside a foreground edge. Pixels.
        edge_jitter_px: how far readings wander near an edge. Pixels.
        dropout: share of patches without a reading.
        border_px: blank margins (left, right, top, bottom), as registered depth has them. Pixels.
        max_m: farthest reading. Metres.
        patches (S, S): fixed field in [0, 1] that decides which surfaces return nothing.
    """

    kind: SensorKind
    disparity_step_px: float
    noise_px: float
    axial_m: float
    shadow_px: float
    edge_jitter_px: float
    dropout: float
    border_px: tuple[int, int, int, int]
    max_m: float
    patches: FloatImage


def random_sensor(rng: np.random.Generator, width: int, kinds: tuple[SensorKind, ...]) -> SensorNoise:
    """Draw a camera. `width` is the image width in pixels; the character scales with it."""
    scale = width / 640
    border = tuple(int(v) for v in rng.integers(0, 20, 4) * scale * (rng.random() < 0.4))
    return SensorNoise(
        kind=kinds[int(rng.integers(len(kinds)))],
        disparity_step_px=float(rng.choice([0.0625, 0.125, 0.25])) * scale,
        noise_px=rng.uniform(0.02, 0.25) * scale,
        axial_m=rng.uniform(0.002, 0.012),
        shadow_px=rng.uniform(0, 18) * scale,
        edge_jitter_px=rng.uniform(0.3, 3.0) * scale,
        dropout=float(rng.choice([0.0, rng.uniform(0, 0.08), rng.uniform(0.05, 0.25)])),
        border_px=(border[0], border[1], border[2], border[3]),
        max_m=rng.uniform(4, 12),
        patches=value_noise(rng, 256, int(rng.integers(4, 14)), 4),
    )


def _jitter(depth_m: FloatImage, sensor: SensorNoise, rng: np.random.Generator) -> FloatImage:
    height, width = depth_m.shape
    coarse = rng.normal(0, sensor.edge_jitter_px, (2, height // 3 + 1, width // 3 + 1)).astype(np.float32)
    shift_x, shift_y = (cv2.resize(field, (width, height), interpolation=cv2.INTER_NEAREST) for field in coarse)
    columns, rows = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    return cv2.remap(depth_m, columns + shift_x, rows + shift_y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)


def _shadow(depth_m: FloatImage, reach_px: float, focal_px: float) -> npt.NDArray[np.bool_]:
    """Pixels that the second viewpoint (projector or right camera) cannot see."""
    reach = round(reach_px)
    if reach < 1:
        return np.zeros(depth_m.shape, bool)
    baseline = reach_px / focal_px
    disparity = (focal_px * baseline / np.maximum(depth_m, 0.15)).astype(np.float32)
    kernel = np.ones((1, reach + 1), np.uint8)
    nearer = cv2.dilate(disparity, kernel, anchor=(reach, 0))
    return nearer - disparity > 0.35 * reach_px


def sense(
    depth_m: FloatImage, sensor: SensorNoise, rng: np.random.Generator, focal_px: float
) -> npt.NDArray[np.uint16]:
    """One reading of the true depth.

    Args:
        depth_m (H, W): true depth along the optical axis. Metres.
        sensor: the camera.
        rng: source of this frame's noise.
        focal_px: focal length. Pixels.

    Returns:
        (H, W) uint16 millimetres, 0 where the sensor has no reading.
    """
    height, width = depth_m.shape
    seen = _jitter(depth_m, sensor, rng)
    noise = rng.standard_normal((height // 2 + 1, width // 2 + 1), dtype=np.float32)
    noise = cv2.resize(noise, (width, height), interpolation=cv2.INTER_LINEAR)
    if sensor.kind == "tof":
        reading = seen + noise * sensor.axial_m * (0.3 + seen * seen * 0.7)
        mixed = cv2.blur(seen, (3, 3))
        reading = np.where(np.abs(mixed - seen) > 0.05, mixed, reading)
        lost = np.abs(mixed - seen) > 0.25
    else:
        baseline_px_m = focal_px * 0.06
        disparity = baseline_px_m / np.maximum(seen, 0.1) + noise * sensor.noise_px
        disparity = np.round(disparity / sensor.disparity_step_px) * sensor.disparity_step_px
        reading = baseline_px_m / np.maximum(disparity, 0.05)
        lost = _shadow(depth_m, sensor.shadow_px, focal_px)
    drift = (noise * 0.03) if sensor.dropout > 0 else 0.0
    lost |= cv2.resize(sensor.patches, (width, height)) + drift < sensor.dropout
    lost |= (reading > sensor.max_m) | (reading < 0.15)
    left, right, top, bottom = sensor.border_px
    lost[:, :left] = lost[:top] = True
    lost[:, width - right :] = lost[height - bottom :] = True
    millimetres = np.where(lost, 0, np.round(reading * 1000)).clip(0, 65535)
    return millimetres.astype(np.uint16)
