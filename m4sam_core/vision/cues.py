# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""What a frame looks like at a glance, and how much two frames differ. Feeds scene.py and write_gate.py.

Everything is computed on a 64x64 thumbnail of what the model sees, at the same cost for every camera, and is
built to ignore what is not a change of scene: exposure (colour without brightness, structure without gain), camera
motion (the best common shift is taken out first) and moving objects (judged piece by piece).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from m4sam_core.vision.depth import PreparedDepth
from m4sam_core.vision.images import glance, resize_rgb

Array = NDArray[np.float32]

SIDE = 64
_SHARPNESS_SIDE = 2 * SIDE
_HISTOGRAM_BINS = 16
_BLACK, _DIM, _BURNT = 0.02, 0.06, 0.97  # nothing to be seen; no colour to be told; clipped
_WINDOW_RADIUS = 4  # local comparison: 9x9 windows
_NOISE_STD = 0.012  # texture below three 8-bit levels is noise
_LEAST_OVERLAP = 0.35  # share of the frame two views must have in common for a shift to count
_CHROMA_SCALE = 0.15  # difference on the colour disc at which two pixels count as different
_HANN = np.hanning(SIDE).astype(np.float32)
_TAPER = np.outer(_HANN, _HANN)  # of a spectrum, whose picture must not end abruptly
_DEPTH_SCALE = 0.35  # ln ratio of distances (a factor of 1.4) at which two pixels count as different


@dataclass(frozen=True, eq=False)
class FrameCues:
    """A frame at a glance.

    Attributes:
        luma (64, 64): luminance in [0, 1], slightly smoothed.
        chroma (2, 64, 64): hue and saturation as a point on the colour disc, each axis in [-1, 1].
        usable (64, 64): 1 where the colour can be told: neither dim nor burnt out, else 0.
        histogram (16, 16): share of the usable pixels per place on the colour disc; sums to 1, all zero when none is.
        log_depth (64, 64): ln of the distance in metres (relative maps: of 0.25 + depth), NaN in holes.
        sharpness: fine gradients relative to coarse contrast, >= 0; falls with blur, not with exposure.
        brightness: mean luminance, [0, 1].
        contrast: standard deviation of luminance, [0, 0.5].
        exposure: share of pixels that are neither black nor burnt out, [0, 1].
        thumbnail (64, 64, 3): the colours that all of these are told from, [0, 1].
    """

    luma: Array
    chroma: Array
    usable: Array
    histogram: Array
    log_depth: Array
    sharpness: float
    brightness: float
    contrast: float
    exposure: float
    thumbnail: Array

    @cached_property
    def spread(self) -> float:
        """How far red, green or blue reaches from its dark to its bright end, whichever reaches farthest, [0, 1].

        One pixel in a hundred is left out at each end; a quarter of the thumbnail tells as much as all of it.
        """
        channels = np.ascontiguousarray(self.thumbnail[::2, ::2].reshape(-1, 3).T)
        low, high = channels.shape[1] // 100, channels.shape[1] - 1 - channels.shape[1] // 100
        channels.partition((low, high))
        return float((channels[:, high] - channels[:, low]).max())

    @cached_property
    def spectrum(self) -> NDArray[np.complex64]:
        """Spectrum of the windowed luminance, for finding shifts."""
        return np.fft.rfft2((self.luma - self.luma.mean()) * _TAPER).astype(np.complex64)


@dataclass(frozen=True)
class FrameDifference:
    """How two frames differ; every share in [0, 1], 0 = the same.

    Attributes:
        colour: Hellinger distance of the colour histograms.
        structure: share of the common view that cannot be found again, by local structure and colour.
        depth: share of the common view at another distance; NaN when either frame has no depth.
        brightness: absolute change of mean luminance.
        shift_px: length of the common shift on the 64 px thumbnail.
    """

    colour: float
    structure: float
    depth: float
    brightness: float
    shift_px: float


def describe_frame(rgb: NDArray[np.uint8], depth: PreparedDepth) -> FrameCues:
    """Reduce a frame to its cues.

    Args:
        rgb (H, W, 3): uint8, of any size.
        depth: the frame's prepared depth, of any size; an rgb-only frame has no depth cue.
    """
    # Plane by plane, of which the means of 2x2 take a third of the time.
    planes = resize_rgb(glance(rgb), _SHARPNESS_SIDE)[0].contiguous()
    fine = planes.permute(1, 2, 0).numpy().astype(np.float32)
    fine *= np.float32(1.0 / 255.0)
    small: Array = (fine[::2, ::2] + fine[::2, 1::2] + fine[1::2, ::2] + fine[1::2, 1::2]) * np.float32(0.25)
    weights = np.array([0.299, 0.587, 0.114], np.float32)
    fine_luma, luma = fine @ weights, small @ weights
    deviation = luma.std()
    red, green, blue = cv2.split(small)
    largest, smallest = cv2.max(cv2.max(red, green), blue), cv2.min(cv2.min(red, green), blue)
    unclipped = smallest < _BURNT
    usable = ((luma > _DIM) & unclipped).astype(np.float32)
    # On the colour disc: saturation as radius (square root, to spread the greys), hue as angle.
    x, y = red - 0.5 * (green + blue), np.float32(0.8660254) * (green - blue)
    length = np.sqrt((largest - smallest) / np.maximum(largest, np.float32(0.02))) / np.maximum(_length(x, y), 1e-6)
    chroma = np.stack([x * length, y * length])
    return FrameCues(
        luma=_box_mean(luma, 1),
        chroma=chroma,
        usable=usable,
        histogram=_histogram(chroma, usable),
        log_depth=_log_depth(depth),
        sharpness=_sharpness(fine_luma, deviation),
        brightness=float(luma.mean()),
        contrast=float(deviation),
        exposure=float(((luma > _BLACK) & unclipped).mean()),
        thumbnail=small,
    )


def compare_frames(old: FrameCues, new: FrameCues) -> FrameDifference:
    """Measure how `new` differs from `old`, apart from a shift of the view and a change of exposure."""
    best_structure, best_depth, best_shift = 1.0, float("nan"), (0, 0)
    for shift in {(0, 0), _common_shift(old, new)}:
        structure, depth = _difference_at(old, new, shift)
        if structure < best_structure or (structure == best_structure and depth < best_depth):
            best_structure, best_depth, best_shift = structure, depth, shift
    return FrameDifference(
        colour=_hellinger(old.histogram, new.histogram),
        structure=best_structure,
        depth=best_depth,
        brightness=abs(new.brightness - old.brightness),
        shift_px=float(np.hypot(*best_shift)),
    )


def _length(x: Array, y: Array) -> Array:
    """Of vectors; numpy's hypot, which minds numbers beyond 1e19, takes ten times as long."""
    return np.sqrt(x * x + y * y)


def _histogram(chroma: Array, usable: Array) -> Array:
    """Soft histogram on the colour disc: each pixel is shared between its four nearest bins."""
    position = (chroma.reshape(2, -1) + 1) * np.float32((_HISTOGRAM_BINS - 1) / 2)
    low = np.clip(position.astype(np.int64), 0, _HISTOGRAM_BINS - 2)
    part = position - low
    rest, weight = 1 - part, usable.ravel()
    shares = [x * y * weight for x in (rest[0], part[0]) for y in (rest[1], part[1])]
    index = low[0] * _HISTOGRAM_BINS + low[1]
    corners = [index, index + 1, index + _HISTOGRAM_BINS, index + _HISTOGRAM_BINS + 1]
    counts = np.bincount(np.concatenate(corners), np.concatenate(shares), minlength=_HISTOGRAM_BINS**2)
    total = counts.sum()
    parts = counts / total if total > 0 else counts
    return _box_mean(parts.reshape(_HISTOGRAM_BINS, _HISTOGRAM_BINS).astype(np.float32), 1)


def _hellinger(p: Array, q: Array) -> float:
    p_sum, q_sum = float(p.sum()), float(q.sum())
    if p_sum == 0 or q_sum == 0:
        return 0.0 if p_sum == q_sum else 1.0
    overlap = float(np.sqrt(p * q).sum()) / (p_sum * q_sum) ** 0.5
    return float(max(0.0, 1.0 - overlap) ** 0.5)


def _log_depth(depth: PreparedDepth) -> Array:
    if depth.rgb_only:
        return np.full((SIDE, SIDE), np.nan, np.float32)
    rows, columns = ((np.arange(SIDE) * 2 + 1) * side // (2 * SIDE) for side in depth.shape)
    unit = depth.unit_at(rows, columns)
    return np.where(unit > 0, np.log(depth.distances(unit)), np.float32(np.nan))


def _sharpness(fine: Array, deviation: np.float32) -> float:
    gradient = np.abs(fine[1:] - fine[:-1]).mean() + np.abs(fine[:, 1:] - fine[:, :-1]).mean()
    return float(gradient / (deviation + _NOISE_STD))


def _common_shift(old: FrameCues, new: FrameCues) -> tuple[int, int]:
    """(rows, columns) by which `new` is displaced against `old`: the peak of the phase correlation."""
    cross = new.spectrum * np.conj(old.spectrum)
    surface = np.fft.irfft2(cross / (np.abs(cross) ** 0.75 + 1e-6), s=(SIDE, SIDE))
    row, column = np.unravel_index(int(surface.argmax()), surface.shape)
    half = SIDE // 2
    return (int(row) + half) % SIDE - half, (int(column) + half) % SIDE - half


def _difference_at(old: FrameCues, new: FrameCues, shift: tuple[int, int]) -> tuple[float, float]:
    """(structure, depth) with `new` moved back by `shift`, over the view they have in common."""
    ours, theirs = _overlap(shift[0]), _overlap(shift[1])
    if (ours[0].stop - ours[0].start) * (theirs[0].stop - theirs[0].start) < _LEAST_OVERLAP * SIDE**2:
        return 1.0, float("nan")
    was, now = (ours[0], theirs[0]), (ours[1], theirs[1])
    a, b = old.luma[was], new.luma[now]
    correlation, texture = _local_correlation(a, b)
    apart = _length(*(old.chroma[(slice(None), *was)] - new.chroma[(slice(None), *now)]))
    coloured = old.usable[was] * new.usable[now]
    same_colour = 1 - coloured * np.clip(_box_mean(apart, _WINDOW_RADIUS // 2) / _CHROMA_SCALE - 0.5, 0, 1)
    found = np.clip((correlation - 0.3) * 2.5, 0, 1) * same_colour
    structure = 1.0 - float((found * texture).sum() / max(float(texture.sum()), 1e-6))
    step = np.abs(old.log_depth[was] - new.log_depth[now])
    valid = np.isfinite(step)
    if valid.mean() < 0.1:
        return structure, float("nan")
    return structure, float(np.clip(step[valid] / _DEPTH_SCALE - 0.3, 0, 1).mean())


def _overlap(shift: int) -> tuple[slice, slice]:
    """Slices of the old and the new axis that show the same things when the new view is displaced by `shift`."""
    if shift >= 0:
        return slice(0, SIDE - shift), slice(shift, SIDE)
    return slice(-shift, SIDE), slice(0, SIDE + shift)


def _local_correlation(a: Array, b: Array) -> tuple[Array, Array]:
    """Correlation coefficient in 9x9 windows, and the windows' weight: their texture, bounded."""
    mean_a, mean_b = _box_mean(a, _WINDOW_RADIUS), _box_mean(b, _WINDOW_RADIUS)
    variance_a = np.maximum(_box_mean(a * a, _WINDOW_RADIUS) - mean_a**2, 0)
    variance_b = np.maximum(_box_mean(b * b, _WINDOW_RADIUS) - mean_b**2, 0)
    covariance = _box_mean(a * b, _WINDOW_RADIUS) - mean_a * mean_b
    correlation = covariance / np.sqrt((variance_a + _NOISE_STD**2) * (variance_b + _NOISE_STD**2))
    weight = np.clip(np.sqrt(np.maximum(variance_a, variance_b)) / (4 * _NOISE_STD), 0.05, 1.0)
    return correlation, weight


def _box_mean(image: Array, radius: int) -> Array:
    """Mean over the (2*radius+1)^2 window around each pixel, edges repeated."""
    size = 2 * radius + 1
    return np.asarray(cv2.blur(image, (size, size), borderType=cv2.BORDER_REPLICATE), np.float32)
