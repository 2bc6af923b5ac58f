# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""From a depth camera's map to what the model sees: [0, 1], larger = farther, holes 0 (docs/stream.md#depth).

A missing or useless map never stops the stream: the frame is processed from rgb alone, its depth all zero, and the
reason is reported.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from m4sam_core.config import DepthConfig
from m4sam_core.rgbd.depth_values import fit_depth, has_reading, same_shape

_LOW_PERCENTILE, _HIGH_PERCENTILE = 2.0, 98.0
_PERCENTILE_SAMPLES = 20_000  # enough for a quantile to within a fraction of a percent, and 10 times cheaper
_LEAST_SPAN_M = 1e-3  # a flat map must not be stretched into noise
_CONSTANT = "depth: every reading is the same number, which tells nothing; is the driver running, or a test pattern on?"


@dataclass(frozen=True)
class PreparedDepth:
    """One frame's depth, ready for the model.

    Attributes:
        unit (H, W): float32 in [0, 1], larger = farther, holes 0; all zero when the frame is processed from rgb alone.
        valid_ratio: share of pixels with a usable reading, [0, 1].
        note: why the depth was not used, None when it was.
        near_m: what 0 stands for, in metres; NaN when the map is relative or absent.
        far_m: what 1 stands for, in metres; NaN when the map is relative or absent.
    """

    unit: NDArray[np.float32]
    valid_ratio: float
    note: str | None
    near_m: float = float("nan")
    far_m: float = float("nan")

    @property
    def rgb_only(self) -> bool:
        """Whether the frame goes on without depth."""
        return self.note is not None

    def distances(self, unit: NDArray[np.float32]) -> NDArray[np.float32]:
        """Distances of values from `unit`: metres; for relative depth the far end counts as five times the near one.

        Args:
            unit: any part of the map; holes are as near as the near end.
        """
        if np.isnan(self.near_m):
            return unit + np.float32(0.25)
        return unit * np.float32(self.far_m - self.near_m) + np.float32(max(self.near_m, 1e-3))


def prepare_depth(depth: NDArray[Any] | None, height: int, width: int, cfg: DepthConfig) -> PreparedDepth:
    """Scale a sensor's depth map to [0, 1]; degrade to an all-zero map with a reason when it is useless.

    Units follow the type: uint16 counts `cfg.unit_m` metres, floating maps are metres, uint8 maps are already
    relative depth (0 = hole, 255 = farthest) and are only divided by 255. Invalid everywhere: 0, negative, NaN, +-Inf,
    nearer than `cfg.min_m`; also 65535 in a uint16 map.

    Args:
        depth (H, W) or (H, W, 1): the map, or None.
        height: rows of the rgb image. Pixels.
        width: columns of the rgb image. Pixels.
        cfg: units and range.
    """
    problem = _unusable(depth, height, width)
    if problem is not None or depth is None:
        return without_depth(height, width, 0.0, problem or "no depth")
    depth = fit_depth(depth.reshape(depth.shape[:2]), height, width)
    near_m = far_m = float("nan")
    if depth.dtype == np.uint8:
        valid = depth > 0
        valid_ratio = np.count_nonzero(valid) / valid.size
        unit = depth.astype(np.float32)
        unit *= np.float32(1.0 / 255.0)
    else:
        metres, valid = _metres(depth, cfg)
        valid_ratio = np.count_nonzero(valid) / valid.size
        if valid_ratio > 0:
            near_m, far_m = _range(metres, valid, cfg)
            unit = np.clip((metres - near_m) * np.float32(1.0 / (far_m - near_m)), 0.0, 1.0)
            unit[~valid] = 0.0
    if valid_ratio == 0 or valid_ratio < cfg.min_valid_ratio:
        return without_depth(height, width, valid_ratio, _too_few(valid_ratio, cfg))
    if near_m >= cfg.max_m:
        return without_depth(height, width, valid_ratio, _out_of_range(depth, cfg))
    if _is_constant(depth, valid):
        return without_depth(height, width, valid_ratio, _CONSTANT)
    return PreparedDepth(unit, valid_ratio, None, near_m, far_m)


def _unusable(depth: NDArray[Any] | None, height: int, width: int) -> str | None:
    if depth is None:
        return "no depth"
    shape = depth.shape[:2] if depth.ndim == 3 and depth.shape[2] == 1 else depth.shape
    if len(shape) != 2:
        return f"depth: expected one channel (H, W), got shape {tuple(depth.shape)}"
    if not same_shape((shape[0], shape[1]), (height, width)):
        return (
            f"depth: expected {width}x{height} as the rgb image, got {shape[1]}x{shape[0]}; "
            "turn on the driver's alignment of depth to colour"
        )
    if depth.dtype not in (np.uint8, np.uint16) and not np.issubdtype(depth.dtype, np.floating):
        return f"depth: expected uint16 counts, float metres or uint8 relative depth, got {depth.dtype}"
    return None


def _metres(depth: NDArray[Any], cfg: DepthConfig) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    if depth.dtype == np.uint16:
        metres = depth.astype(np.float32)
        metres *= np.float32(cfg.unit_m)
        return metres, has_reading(depth) & (metres >= cfg.min_m)
    with np.errstate(over="ignore"):  # a double beyond float32 becomes Inf, which is invalid
        metres = depth.astype(np.float32)
    with np.errstate(invalid="ignore"):
        valid = has_reading(metres) & (metres >= cfg.min_m)
    if not valid.all():
        metres[~valid] = 0.0
    return metres, valid


def _range(metres: NDArray[np.float32], valid: NDArray[np.bool_], cfg: DepthConfig) -> tuple[float, float]:
    """The distances in metres that become 0 and 1."""
    if cfg.range == "fixed":
        return cfg.min_m, cfg.max_m
    step = max(1, int((metres.size / _PERCENTILE_SAMPLES) ** 0.5))
    sample = metres[::step, ::step][valid[::step, ::step]]
    if sample.size == 0:
        sample = metres[valid]
    near, far = (min(float(end), cfg.max_m) for end in np.percentile(sample, (_LOW_PERCENTILE, _HIGH_PERCENTILE)))
    return near, max(far, near + _LEAST_SPAN_M)


def _is_constant(depth: NDArray[Any], valid: NDArray[np.bool_]) -> bool:
    """Every reading is the same number. A few of them tell that most maps are not."""
    for step in (16, 1):
        readings = depth[::step, ::step][valid[::step, ::step]]
        if readings.size and (readings != readings[0]).any():
            return False
    return True


def _out_of_range(depth: NDArray[Any], cfg: DepthConfig) -> str:
    unit = "depth.unit_m" if depth.dtype == np.uint16 else "a float map has to be in metres"
    return f"depth: expected readings nearer than max_m = {cfg.max_m:g} m, got none; check the unit ({unit})"


def _too_few(valid_ratio: float, cfg: DepthConfig) -> str:
    return (
        f"depth: expected at least {cfg.min_valid_ratio:.0%} valid pixels, got {valid_ratio:.1%}; "
        "check the sensor's range, the unit and the alignment"
    )


def without_depth(height: int, width: int, valid_ratio: float, note: str) -> PreparedDepth:
    """What a frame gets that goes on from rgb alone, and why."""
    return PreparedDepth(np.zeros((height, width), np.float32), valid_ratio, note)
