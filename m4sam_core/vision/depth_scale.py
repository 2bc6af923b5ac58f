# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""From a sensor's numbers to [0, 1], pixel by pixel or reduced to the model's square in one pass over the map."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from m4sam_core.config import DepthConfig
from m4sam_core.rgbd.depth_values import UINT16_NO_READING, has_reading
from m4sam_core.vision.resampling import antialiased, row_blocks

FloatArray = NDArray[np.float32]
# A reduced pixel is a hole when less than half of what it covers are readings. Exactly half is common where sizes have
# simple ratios, and must not be decided by rounding.
_HOLE_SHARE = np.float32(0.5 - 1e-5)
_LARGEST = float(np.finfo(np.float32).max)
_BLOCK_ROWS = 64


@dataclass(frozen=True)
class DepthScale:
    """What the numbers of one map become.

    Attributes:
        cfg: unit, and the nearest distance that is a reading.
        near_m: distance that becomes 0. Metres; of no account in 8-bit maps, which are relative already.
        far_m: distance that becomes 1. Metres.
    """

    cfg: DepthConfig
    near_m: float = float("nan")
    far_m: float = float("nan")

    def unit(self, values: NDArray[Any]) -> FloatArray:
        """Float32 in [0, 1] of any part of a map, larger = farther, holes 0."""
        if values.dtype == np.uint8:
            return values.astype(np.float32) * np.float32(1.0 / 255.0)
        metres, valid = in_metres(values, self.cfg)
        unit = np.clip((metres - self.near_m) * np.float32(1.0 / (self.far_m - self.near_m)), 0.0, 1.0)
        unit[~valid] = 0.0
        return unit

    def reduced(self, values: NDArray[Any], size_px: int) -> FloatArray:
        """The same of a whole map, reduced to a square so that holes do not bleed into their surroundings.

        Every pixel is the antialiased mean of the readings it covers (resampling.py), or 0 when most of it are holes.
        The mean of a linear function is the function of the mean, so the map is only clipped and counted at its own
        size; scaling is left for the square.

        Args:
            values (H, W): the map.
            size_px: side of the square.

        Returns:
            (size_px, size_px) float32 in [0, 1].
        """
        height, width = values.shape
        upright = np.empty((width, 2, size_px), np.float32)  # sums of numbers and of readings, columns as rows
        clip = self._clipper(values.dtype)
        for block in row_blocks(height, size_px, width):
            clipped, there = clip.block(values[block.rows])
            cv2.transpose(block.weights @ clipped, dst=upright[:, 0, block.out])
            cv2.transpose(block.weights @ there, dst=upright[:, 1, block.out])
        sums = antialiased(width, size_px) @ upright.reshape(width, 2 * size_px)
        total, share = cv2.transpose(sums).reshape(2, size_px, size_px)
        mean = (total + share * np.float32(clip.offset)) * np.float32(clip.gain)
        mean /= cv2.max(share, float(_HOLE_SHARE))
        np.clip(mean, 0.0, 1.0, out=mean)
        mean *= share >= _HOLE_SHARE
        return np.asarray(mean, np.float32)

    def _clipper(self, kind: np.dtype[Any]) -> _Clipper:
        if kind == np.uint8:
            return _Relative(0.0, 1.0 / 255.0)
        gain = 1.0 / (self.far_m - self.near_m)
        if kind != np.uint16:
            return _Metres(0.0, gain, np.float32(self.near_m), self.far_m - self.near_m)
        unit_m = np.float32(self.cfg.unit_m)
        below = int(np.clip(self.near_m / self.cfg.unit_m, 0, UINT16_NO_READING - 1))
        # The largest count that is not beyond `near_m`, as float32 has it: `unit` is above 0 from the next one on.
        while below < UINT16_NO_READING - 1 and not np.float32(below + 1) * unit_m > np.float32(self.near_m):
            below += 1
        while below > 0 and np.float32(below) * unit_m > np.float32(self.near_m):
            below -= 1
        near, far = self.near_m / self.cfg.unit_m, self.far_m / self.cfg.unit_m
        return _Counts(below - near, self.cfg.unit_m * gain, below, far - below)


@dataclass(frozen=True)
class _Clipper:
    """Makes of a block of a map float32 numbers that are 0 in holes, and where it has readings.

    A reading's place in [0, 1] is (number + offset) * gain.
    """

    offset: float
    gain: float

    def block(self, values: NDArray[Any]) -> tuple[FloatArray, FloatArray]:
        """(h, w) float32 numbers, and 1 where there is a reading, else 0."""
        raise NotImplementedError


@dataclass(frozen=True)
class _Relative(_Clipper):
    def block(self, values: NDArray[Any]) -> tuple[FloatArray, FloatArray]:
        numbers = values.astype(np.float32)
        return numbers, _above_zero(numbers)


@dataclass(frozen=True)
class _Counts(_Clipper):
    """16-bit counts above `below`, at most `reach` of them."""

    below: int
    reach: float

    def block(self, values: NDArray[Any]) -> tuple[FloatArray, FloatArray]:
        clipped = _counts_above(values, self.below).astype(np.float32)
        there = _above_zero(clipped)
        cv2.threshold(clipped, self.reach, 0, cv2.THRESH_TRUNC, dst=clipped)
        return clipped, there


@dataclass(frozen=True)
class _Metres(_Clipper):
    """Metres beyond `near_m`, at most `reach_m` of them."""

    near_m: np.float32
    reach_m: float

    def block(self, values: NDArray[Any]) -> tuple[FloatArray, FloatArray]:
        beyond = _in_float32(values) - self.near_m
        cv2.patchNaNs(beyond, 0.0)
        cv2.threshold(beyond, _LARGEST, 0, cv2.THRESH_TOZERO_INV, dst=beyond)
        cv2.threshold(beyond, 0, 0, cv2.THRESH_TOZERO, dst=beyond)
        there = _above_zero(beyond)
        cv2.threshold(beyond, self.reach_m, 0, cv2.THRESH_TRUNC, dst=beyond)
        return beyond, there


def in_metres(values: NDArray[Any], cfg: DepthConfig) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Distances, 0 where a float map has none, and where there are any.

    Args:
        values: uint16 counts of `cfg.unit_m`, or floating metres.
        cfg: unit, and the nearest distance that is a reading.
    """
    if values.dtype == np.uint16:
        metres = values.astype(np.float32)
        metres *= np.float32(cfg.unit_m)
        return metres, has_reading(values) & (metres >= cfg.min_m)
    metres = _in_float32(values)
    with np.errstate(invalid="ignore"):
        valid = has_reading(metres) & (metres >= cfg.min_m)
    return np.where(valid, metres, np.float32(0)), valid


def some_readings(values: NDArray[Any], cfg: DepthConfig) -> NDArray[Any]:
    """(N,) the readings of a uint16 or float map's part, in the numbers of the map."""
    if values.dtype == np.uint16:
        values = _plain(values)
        return values[_are_readings(values, _least_count(cfg))]
    metres, valid = in_metres(values, cfg)
    return metres[valid]


def count_readings(values: NDArray[Any], cfg: DepthConfig) -> int:
    """How many pixels of a map (H, W) have one: uint8 above 0, others as `in_metres` says."""
    if values.dtype == np.uint8:
        return int(np.count_nonzero(values))
    if values.dtype == np.uint16:
        least = _least_count(cfg)
        return sum(int(np.count_nonzero(_are_readings(block, least))) for block in _row_blocks(values))
    low = max(np.float32(cfg.min_m), np.nextafter(np.float32(0), np.float32(1)))
    total = 0
    with np.errstate(invalid="ignore"):
        for block in _row_blocks(values):
            metres = _in_float32(block)
            total += int(np.count_nonzero((metres >= low) & (metres < np.inf)))
    return total


def _least_count(cfg: DepthConfig) -> int:
    """The smallest number of a 16-bit map that is a reading, as float32 has it; at most the mark of none."""
    unit_m, least_m = np.float32(cfg.unit_m), np.float32(cfg.min_m)
    least = int(np.clip(cfg.min_m / cfg.unit_m - 1, 1, UINT16_NO_READING))
    while least < UINT16_NO_READING and np.float32(least) * unit_m < least_m:
        least += 1
    return least


def _are_readings(counts: NDArray[np.uint16], least: int) -> NDArray[np.bool_]:
    """Where a 16-bit map (h, w) has a reading. What is below `least` wraps around and is above the bound, too."""
    return np.asarray(np.subtract(counts, np.uint16(least)) <= UINT16_NO_READING - 1 - least)


def _row_blocks(values: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """A map (H, W) in pieces that stay in the processor's cache."""
    for begin in range(0, values.shape[0], _BLOCK_ROWS):
        yield values[begin : begin + _BLOCK_ROWS]


def _counts_above(values: NDArray[Any], below: int) -> NDArray[np.uint16]:
    """How far each reading of a 16-bit map (h, w) is above `below`; 0 where it is not, or is no reading."""
    above = np.subtract(values, np.uint16(below))
    # What is under `below` has wrapped around and is larger than any reading now, and so is the mark of none.
    cv2.threshold(above, UINT16_NO_READING - 1 - below, 0, cv2.THRESH_TOZERO_INV, dst=above)
    return above


def _above_zero(numbers: FloatArray) -> FloatArray:
    """1 where a number is above 0, else 0."""
    return np.asarray(cv2.threshold(numbers, 0, 1, cv2.THRESH_BINARY)[1], np.float32)


def _plain(values: NDArray[Any]) -> NDArray[Any]:
    """As OpenCV takes it: in this machine's byte order, rows of adjoining pixels. A view where it is so already."""
    return np.ascontiguousarray(values, values.dtype.newbyteorder("="))


def _in_float32(values: NDArray[Any]) -> FloatArray:
    with np.errstate(over="ignore"):  # a double beyond float32 becomes Inf, which is no distance
        return values.astype(np.float32, copy=False)
