# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Objects as sprites: colour, coverage and relief (how far the surface comes towards the camera)."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from m4sam_training.synth.texture import FloatImage, procedural_texture

SPRITE_PX = 256


@dataclass(frozen=True)
class Sprite:
    """A picture of one object, cut out.

    Attributes:
        rgb (S, S, 3): float32 colour, 0..255, shaded.
        alpha (S, S): float32 coverage in [0, 1].
        relief (S, S): float32 height of the surface towards the camera, in sprite widths.
    """

    rgb: FloatImage
    alpha: FloatImage
    relief: FloatImage

    @property
    def foot(self) -> float:
        """How far below the centre it stands on the ground, in sprite widths."""
        return 0.46


def _grid() -> tuple[FloatImage, FloatImage]:
    axis = np.linspace(-1, 1, SPRITE_PX, dtype=np.float32)
    across, down = np.meshgrid(axis, axis)
    return across.astype(np.float32), down.astype(np.float32)


def _from_height(inside: npt.NDArray[np.bool_], height: npt.NDArray[np.floating]) -> tuple[FloatImage, FloatImage]:
    alpha = cv2.GaussianBlur(inside.astype(np.float32), (3, 3), 0)
    return alpha, np.where(inside, height, 0).astype(np.float32)


def _ellipsoid(
    across: FloatImage, down: FloatImage, centre: npt.NDArray[np.float64], radii: npt.NDArray[np.float64], power: float
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.floating]]:
    left = 1 - np.abs((across - centre[0]) / radii[0]) ** power - np.abs((down - centre[1]) / radii[1]) ** power
    return left > 0, np.maximum(left, 0) ** (1 / power) * radii[0] * 0.5


def _lump(rng: np.random.Generator) -> tuple[FloatImage, FloatImage]:
    across, down = _grid()
    radius, angle = np.hypot(across, down), np.arctan2(down, across)
    edge = np.full_like(radius, 0.72)
    for order in range(2, 7):
        edge += rng.normal(0, 0.11 / order) * np.cos(order * angle + rng.uniform(0, 2 * np.pi)).astype(np.float32)
    left = 1 - (radius / np.maximum(edge, 0.2)) ** 2
    return _from_height(left > 0, np.sqrt(np.maximum(left, 0)) * 0.35)


def _block(rng: np.random.Generator) -> tuple[FloatImage, FloatImage]:
    across, down = _grid()
    radii = rng.uniform(0.45, 0.9, 2)
    return _from_height(*_ellipsoid(across, down, np.zeros(2), radii, rng.uniform(4, 14)))


def _turned(rng: np.random.Generator) -> tuple[FloatImage, FloatImage]:
    """A surface of revolution: bottle, cup, vase."""
    across, down = _grid()
    knots = rng.uniform(0.18, 0.62, int(rng.integers(3, 7)))
    profile = np.interp(np.linspace(0, 1, SPRITE_PX), np.linspace(0, 1, len(knots)), knots).astype(np.float32)
    profile = cv2.GaussianBlur(profile[:, None], (1, 31), 0)
    left = profile**2 - across**2
    return _from_height((left > 0) & (np.abs(down) < 0.93), np.sqrt(np.maximum(left, 0)) * 0.5)


def _figure(rng: np.random.Generator) -> tuple[FloatImage, FloatImage]:
    """A toy with a body, a head and limbs."""
    across, down = _grid()
    body = rng.uniform(0.25, 0.42, 2) * (1, 1.2)
    parts = [
        (np.array([0.0, 0.2]), body),
        (np.array([rng.normal(0, 0.06), -0.3 - body[1] * 0.4]), rng.uniform(0.2, 0.34, 2)),
    ]
    for side in (-1, 1):
        parts.append((np.array([side * body[0], rng.uniform(0.0, 0.4)]), rng.uniform(0.1, 0.2, 2)))
        parts.append((np.array([side * rng.uniform(0.15, 0.3), 0.72]), rng.uniform(0.12, 0.22, 2)))
        parts.append((np.array([side * rng.uniform(0.15, 0.28), -0.66]), rng.uniform(0.06, 0.15, 2)))
    inside, height = np.zeros_like(across, dtype=bool), np.zeros_like(across)
    for centre, radii in parts:
        part, bulge = _ellipsoid(across, down, centre, radii, 2.0)
        inside |= part
        height = np.maximum(height, bulge.astype(np.float32))
    return _from_height(inside, height)


def _plant(rng: np.random.Generator) -> tuple[FloatImage, FloatImage]:
    """Thin leaves around a pot: fine structure that depth cameras lose."""
    canvas = np.zeros((SPRITE_PX, SPRITE_PX), np.uint8)
    foot = (SPRITE_PX // 2, int(SPRITE_PX * 0.8))
    for _ in range(int(rng.integers(6, 16))):
        angle = rng.uniform(-2.7, -0.45)
        length = rng.uniform(0.25, 0.7) * SPRITE_PX
        centre = (int(foot[0] + np.cos(angle) * length * 0.5), int(foot[1] + np.sin(angle) * length * 0.5))
        axes = (int(length * 0.5), int(rng.uniform(0.03, 0.1) * SPRITE_PX))
        cv2.ellipse(canvas, centre, axes, np.degrees(angle), 0, 360, 255, -1)
    cv2.rectangle(canvas, (foot[0] - 40, foot[1] - 12), (foot[0] + 40, SPRITE_PX - 8), 255, -1)
    height = cv2.distanceTransform(canvas, cv2.DIST_L2, 3) / SPRITE_PX
    return _from_height(canvas > 0, height)


SHAPES = {"lump": _lump, "block": _block, "turned": _turned, "figure": _figure, "plant": _plant}


def shade(rgb: FloatImage, relief: FloatImage, light: npt.NDArray[np.float64], ambient: float) -> FloatImage:
    """Lambert shading of a relief under one distant light.

    Args:
        rgb (S, S, 3): unlit colour, 0..255.
        relief (S, S): height towards the camera, in sprite widths.
        light: direction towards the light, in image axes (right, down, towards the camera).
        ambient: brightness of faces the light does not reach, in [0, 1].
    """
    smooth = cv2.GaussianBlur(relief, (9, 9), 0) * relief.shape[1]
    slope_x, slope_y = (
        cv2.Sobel(smooth, cv2.CV_32F, 1, 0, scale=1 / 8),
        cv2.Sobel(smooth, cv2.CV_32F, 0, 1, scale=1 / 8),
    )
    facing = (-slope_x * light[0] - slope_y * light[1] + light[2]) / np.sqrt(slope_x**2 + slope_y**2 + 1)
    lit = ambient + (1 - ambient) * np.clip(facing / np.linalg.norm(light), 0, 1)
    return np.clip(rgb * lit[..., None] * 1.15, 0, 255).astype(np.float32)


def random_sprite(rng: np.random.Generator, light: npt.NDArray[np.float64], vivid: float, contrast: float) -> Sprite:
    """A procedurally shaped and textured object.

    Args:
        rng: source of randomness.
        light: see `shade`.
        vivid: see `random_colour`.
        contrast: see `procedural_texture`.
    """
    alpha, relief = SHAPES[str(rng.choice(list(SHAPES)))](rng)
    rgb = procedural_texture(rng, SPRITE_PX, vivid, contrast)
    if rng.random() < 0.5:
        second = procedural_texture(rng, SPRITE_PX, vivid, contrast)
        split = int(SPRITE_PX * rng.uniform(0.3, 0.7))
        rgb[split:] = second[split:]
    return Sprite(shade(rgb, relief, light, rng.uniform(0.35, 0.7)), alpha, relief)
