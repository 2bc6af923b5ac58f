# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""From a depth camera's map to what the model sees: [0, 1], larger = farther, holes 0 (docs/stream.md#depth).

A missing or useless map never stops the stream: the frame is processed from rgb alone, its depth all zero, and the
reason is reported.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from m4sam_core.config import DepthConfig
from m4sam_core.rgbd.depth_values import fit_depth, same_shape
from m4sam_core.vision.depth_scale import DepthScale, count_readings, in_metres, some_readings
from m4sam_core.vision.images import in_rows

_LOW_PERCENTILE, _HIGH_PERCENTILE = 2.0, 98.0
_PERCENTILE_SAMPLES = 20_000  # enough for a quantile to within a fraction of a percent, and 10 times cheaper
_LEAST_SPAN_M = 1e-3  # a flat map must not be stretched into noise
_CONSTANT = "depth: every reading is the same number, which tells nothing; is the driver running, or a test pattern on?"


@dataclass(frozen=True, eq=False)
class PreparedDepth:
    """One frame's depth, ready for the model.

    Attributes:
        shape: rows and columns of the rgb image.
        valid_ratio: share of pixels with a usable reading, [0, 1].
        note: why the depth was not used, None when it was.
        doubt: why not even single readings are to be believed, None when they may be; always beside a note.
        readings (H, W): the sensor's map at the size of the rgb image; None when the frame goes on from rgb alone.
        scale: what its numbers become.
    """

    shape: tuple[int, int]
    valid_ratio: float
    note: str | None
    readings: NDArray[Any] | None
    scale: DepthScale
    doubt: str | None = None

    @property
    def rgb_only(self) -> bool:
        """Whether the frame goes on without depth."""
        return self.readings is None

    def unit_at(self, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> NDArray[np.float32]:
        """(h, w) float32 in [0, 1], larger = farther, holes 0, at (h,) rows and (w,) columns; zero without depth."""
        if self.readings is None:
            return np.zeros((len(rows), len(columns)), np.float32)
        return self.scale.unit(self.readings[rows][:, columns])

    def reduced(self, size_px: int) -> NDArray[np.float32]:
        """(size_px, size_px) float32: the same as the model sees it, holes kept apart; see `DepthScale.reduced`."""
        if self.readings is None:
            return np.zeros((size_px, size_px), np.float32)
        return self.scale.reduced(self.readings, size_px)

    def distances(self, unit: NDArray[np.float32]) -> NDArray[np.float32]:
        """Distances of values in [0, 1]: metres; for relative depth the far end counts as five times the near one.

        Args:
            unit: from `unit_at` or `reduced`; holes are as near as the near end.
        """
        near_m, far_m = self.scale.near_m, self.scale.far_m
        if np.isnan(near_m):
            return unit + np.float32(0.25)
        return unit * np.float32(far_m - near_m) + np.float32(max(near_m, 1e-3))


def plain_map(depth: Any) -> Any:
    """A map as OpenCV takes it: native numbers, row by row, masked pixels without a reading; the rest as it is."""
    if isinstance(depth, np.ma.MaskedArray):
        depth = depth.filled(0)
    if not isinstance(depth, np.ndarray) or depth.ndim < 2 or depth.dtype.kind not in "uf":
        return depth
    return in_rows(depth.astype(depth.dtype.newbyteorder("="), copy=False))


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
    valid_ratio = count_readings(depth, cfg) / depth.size
    if valid_ratio == 0 or valid_ratio < cfg.min_valid_ratio:
        return without_depth(height, width, valid_ratio, _too_few(valid_ratio, cfg))
    scale = DepthScale(cfg) if depth.dtype == np.uint8 else DepthScale(cfg, *_range(depth, cfg))
    if scale.near_m >= cfg.max_m:
        return without_depth(height, width, valid_ratio, _out_of_range(depth, cfg))
    if _is_constant(depth, cfg):
        return disbelieved(height, width, valid_ratio, _CONSTANT)
    return PreparedDepth((height, width), valid_ratio, None, depth, scale)


def _unusable(depth: NDArray[Any] | None, height: int, width: int) -> str | None:
    if depth is None:
        return "no depth"
    if not isinstance(depth, np.ndarray):
        return f"depth: expected a numpy array (H, W), got {type(depth).__name__}"
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


def _range(depth: NDArray[Any], cfg: DepthConfig) -> tuple[float, float]:
    """The distances in metres that become 0 and 1; readings on a grid tell."""
    if cfg.range == "fixed":
        return cfg.min_m, cfg.max_m
    for step in (max(1, int((depth.size / _PERCENTILE_SAMPLES) ** 0.5)), 1):
        readings = some_readings(depth[::step, ::step], cfg)
        if readings.size:
            break
    near, far = (min(end, cfg.max_m) for end in _percentiles(readings, (_LOW_PERCENTILE, _HIGH_PERCENTILE), cfg))
    return near, max(far, near + _LEAST_SPAN_M)


def _percentiles(readings: NDArray[Any], shares: tuple[float, ...], cfg: DepthConfig) -> list[float]:
    """As `numpy.percentile` has them, in half the time, in metres. Leaves the readings in another order."""
    places = [(len(readings) - 1) * share / 100 for share in shares]
    lower = [int(place) for place in places]
    upper = [min(place + 1, len(readings) - 1) for place in lower]
    readings.partition(sorted({*lower, *upper}))
    ends = zip(*(in_metres(readings[at], cfg)[0].tolist() for at in (lower, upper)), places, lower, strict=True)
    return [low + (high - low) * (place - whole) for low, high, place, whole in ends]


def _is_constant(depth: NDArray[Any], cfg: DepthConfig) -> bool:
    """Every reading is the same number. A few of them tell that most maps are not."""
    for step in (16, 1):
        part = depth[::step, ::step]
        readings = part[part > 0 if part.dtype == np.uint8 else in_metres(part, cfg)[1]]
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
    return PreparedDepth((height, width), valid_ratio, note, None, DepthScale(DepthConfig()))


def disbelieved(height: int, width: int, valid_ratio: float, doubt: str) -> PreparedDepth:
    """The same where the readings themselves are in doubt, so that nothing else may measure with them either."""
    return replace(without_depth(height, width, valid_ratio, doubt), doubt=doubt)
