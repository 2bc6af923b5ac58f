# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Procedural colour textures. All functions draw from the generator they are given, and from nothing else."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt

FloatImage = npt.NDArray[np.float32]


def value_noise(rng: np.random.Generator, size_px: int, cells: int, octaves: int = 4) -> FloatImage:
    """Smooth random field with fine detail on top of coarse shapes.

    Args:
        rng: source of randomness.
        size_px: side of the square field.
        cells: grid cells of the coarsest octave; each further octave doubles them and halves their weight.
        octaves: number of octaves.

    Returns:
        (size_px, size_px) float32, stretched to [0, 1].
    """
    field = np.zeros((size_px, size_px), np.float32)
    for octave in range(octaves):
        side = min(cells * 2**octave + 1, size_px)
        grid = rng.random((side, side), dtype=np.float32)
        field += cv2.resize(grid, (size_px, size_px), interpolation=cv2.INTER_CUBIC) * 0.5**octave
    low, high = float(field.min()), float(field.max())
    return (field - low) / max(high - low, 1e-6)


def random_colour(rng: np.random.Generator, vivid: float) -> FloatImage:
    """One colour, 0..255 RGB.

    Args:
        rng: source of randomness.
        vivid: 0 gives greys and browns as walls and tables have them, 1 gives toys.
    """
    hue = rng.uniform(0, 180) if vivid > 0.5 else rng.normal(17, 25) % 180
    saturation = np.clip(rng.normal(40 + 150 * vivid, 40), 0, 255)
    value = np.clip(rng.normal(150 + 30 * vivid, 50), 35, 250)
    pixel = np.array([[[hue, saturation, value]]], np.float32).clip(0, 255).astype(np.uint8)
    return cv2.cvtColor(pixel, cv2.COLOR_HSV2RGB)[0, 0].astype(np.float32)


def _mix(weight: FloatImage, first: FloatImage, second: FloatImage) -> FloatImage:
    mixed: FloatImage = first + (second - first) * weight[..., None]
    return mixed


def _waves(rng: np.random.Generator, size_px: int, count: float) -> FloatImage:
    axis = np.linspace(0, 1, size_px, dtype=np.float32)
    angle = rng.uniform(0, np.pi)
    along = np.cos(angle) * axis[None, :] + np.sin(angle) * axis[:, None]
    warp = value_noise(rng, size_px, 3, 2) * rng.uniform(0, 0.12)
    waves: FloatImage = (0.5 + 0.5 * np.sin(2 * np.pi * count * (along + warp))).astype(np.float32)
    return waves


def _stripes(rng: np.random.Generator, size_px: int) -> FloatImage:
    return np.clip((_waves(rng, size_px, rng.uniform(3, 14)) - 0.5) * rng.uniform(2, 9) + 0.5, 0, 1)


def _checks(rng: np.random.Generator, size_px: int) -> FloatImage:
    count = rng.uniform(2, 9)
    product = (_waves(rng, size_px, count) - 0.5) * (_waves(rng, size_px, count) - 0.5)
    return np.clip(product * 12 + 0.5, 0, 1)


def _dots(rng: np.random.Generator, size_px: int) -> FloatImage:
    canvas = np.zeros((size_px, size_px), np.uint8)
    radius_px = int(size_px * rng.uniform(0.015, 0.06)) + 1
    for _ in range(int(rng.integers(15, 70))):
        centre = tuple(int(v) for v in rng.integers(0, size_px, 2))
        cv2.circle(canvas, centre, int(radius_px * rng.uniform(0.6, 1.2)) + 1, 255, -1)
    return cv2.GaussianBlur(canvas, (3, 3), 0).astype(np.float32) / 255


def _cloud(rng: np.random.Generator, size_px: int) -> FloatImage:
    return value_noise(rng, size_px, int(rng.integers(2, 12)), 5)


def _print(rng: np.random.Generator, size_px: int) -> FloatImage:
    canvas = np.zeros((size_px, size_px), np.uint8)
    for _ in range(int(rng.integers(2, 5))):
        text = "".join(chr(int(code)) for code in rng.integers(65, 91, int(rng.integers(2, 7))))
        origin = tuple(int(v) for v in (rng.integers(0, size_px // 2), rng.integers(size_px // 5, size_px)))
        cv2.putText(canvas, text, origin, cv2.FONT_HERSHEY_DUPLEX, rng.uniform(0.8, 2.4), 255, int(rng.integers(2, 6)))
    return canvas.astype(np.float32) / np.float32(255)


def _planks(rng: np.random.Generator, size_px: int) -> FloatImage:
    grain = cv2.resize(value_noise(rng, size_px, 24, 3), (size_px, size_px * 6), interpolation=cv2.INTER_LINEAR)
    board_px = size_px // int(rng.integers(3, 8))
    columns = np.arange(size_px)
    offsets = rng.integers(0, 5 * size_px, size_px // board_px + 2)[columns // board_px]
    rows = (np.arange(size_px)[:, None] + offsets[None, :]) % (6 * size_px)
    field = grain[rows, columns[None, :]]
    tint = rng.random(size_px // board_px + 2).astype(np.float32)[columns // board_px] * 0.5
    joint = (columns % board_px) < max(1, size_px // 250)
    return np.where(joint[None, :], 1.0, field * 0.6 + tint[None, :]).astype(np.float32).clip(0, 1)


PATTERNS: dict[str, Callable[[np.random.Generator, int], FloatImage]] = {
    "cloud": _cloud,
    "stripes": _stripes,
    "checks": _checks,
    "dots": _dots,
    "print": _print,
    "planks": _planks,
}


def procedural_texture(rng: np.random.Generator, size_px: int, vivid: float, contrast: float) -> FloatImage:
    """A two-colour pattern under fine noise.

    Args:
        rng: source of randomness.
        size_px: side of the square texture.
        vivid: see `random_colour`.
        contrast: 0 gives a flat colour, 1 two unrelated colours.

    Returns:
        (size_px, size_px, 3) float32 RGB, 0..255.
    """
    pattern = PATTERNS[str(rng.choice(list(PATTERNS)))](rng, size_px)
    base = random_colour(rng, vivid)
    other = base + (random_colour(rng, vivid) - base) * contrast
    texture = _mix(pattern, base, other)
    grain = value_noise(rng, size_px, size_px // 8, 2)[..., None] - 0.5
    return np.clip(texture + grain * rng.uniform(4, 30), 0, 255).astype(np.float32)
