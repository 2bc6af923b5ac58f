# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""What may happen to a camera's view that is no change of scene; for the cut benchmark (scenes.py)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

View = tuple[np.ndarray, np.ndarray]
"""(rgb (H, W, 3) uint8, depth (H, W) uint16 millimetres)"""


def expose(rgb: np.ndarray, gain: float) -> np.ndarray:
    """More or less light, as a sensor sees it: linear light scaled, clipped, back to gamma."""
    levels = np.arange(256) / 255.0
    table = np.clip((levels**2.2 * gain) ** (1 / 2.2) * 255, 0, 255).astype(np.uint8)
    return cv2.LUT(rgb, table)


@dataclass(frozen=True)
class Effect:
    """A disturbance: its shortest and longest duration, and a maker of view changers over time in [0, 1]."""

    seconds: tuple[float, float]
    make: Callable[[np.random.Generator], Callable[[View, float], View]]


def _exposure_ramp(rng: np.random.Generator) -> Callable[[View, float], View]:
    extreme = float(rng.choice([0.15, 0.3, 2.5, 4.0]))
    return lambda view, at: (expose(view[0], extreme ** (1 - abs(2 * at - 1))), view[1])


def _exposure_step(rng: np.random.Generator) -> Callable[[View, float], View]:
    gain = float(rng.choice([0.25, 0.4, 2.2, 3.0]))
    return lambda view, _: (expose(view[0], gain), view[1])


def _flash(rng: np.random.Generator) -> Callable[[View, float], View]:
    gain = float(rng.uniform(6, 25))
    return lambda view, _: (expose(cv2.add(view[0], (25, 25, 25, 0)), gain), view[1])


def _blur(rng: np.random.Generator) -> Callable[[View, float], View]:
    share, angle = rng.uniform(0.04, 0.12), rng.uniform(0, np.pi)

    def apply(view: View, _: float) -> View:
        length = max(3, int(share * view[1].shape[1])) | 1
        kernel = np.zeros((length, length), np.float32)
        half = length // 2
        along = (round(half * np.cos(angle)), round(half * np.sin(angle)))
        cv2.line(kernel, (half - along[0], half - along[1]), (half + along[0], half + along[1]), 1.0, 1)
        return cv2.filter2D(view[0], -1, kernel / kernel.sum()), view[1]

    return apply


def _hand(rng: np.random.Generator) -> Callable[[View, float], View]:
    """A hand and forearm from an edge, covering up to three quarters of the view at 0.25 to 0.5 m."""
    skin = rng.choice([(224, 172, 145), (198, 134, 104), (141, 85, 60), (96, 62, 48)])
    distance_mm, side, reach = int(rng.uniform(250, 500)), int(rng.integers(4)), float(rng.uniform(0.4, 0.8))
    phase = rng.uniform(0, 2 * np.pi)

    def apply(view: View, at: float) -> View:
        height, width = view[1].shape
        inside = reach * min(1.0, 4 * at, 4 * (1 - at))  # comes in, stays, leaves
        if inside <= 0:
            return view
        starts = ((0, height // 2), (width // 2, 0), (width, height // 2), (width // 2, height))
        inwards = ((1, 0), (0, 1), (-1, 0), (0, -1))
        (x, y), (dx, dy) = starts[side], inwards[side]
        radius = int(0.42 * min(height, width))
        length = int(inside * (width if dx else height))
        elbow, palm = (x - dx * radius, y - dy * radius), (x + dx * length, y + dy * length)
        canvas = np.zeros((height, width), np.uint8)
        cv2.line(canvas, elbow, palm, 255, int(1.3 * radius))
        cv2.circle(canvas, palm, radius, 255, -1)
        rows, columns = np.mgrid[0:height, 0:width].astype(np.float32) / width
        shade = 0.75 + 0.25 * np.sin(7 * rows + 5 * columns + phase)
        covered = canvas > 0
        rgb, depth = view[0].copy(), view[1].copy()
        rgb[covered] = (shade[..., None] * np.asarray(skin, np.float32))[covered].astype(np.uint8)
        depth[covered] = distance_mm
        return rgb, depth

    return apply


def _lights_off(rng: np.random.Generator) -> Callable[[View, float], View]:
    gain = float(rng.choice([0.0, 0.0005, 0.004]))
    return lambda view, _: (expose(view[0], gain), view[1])


def _bad_frame(rng: np.random.Generator) -> Callable[[View, float], View]:
    """A frame lost in transport: grey, torn or noise."""
    kind = int(rng.integers(3))

    def apply(view: View, _: float) -> View:
        if kind == 0:
            return np.full_like(view[0], 128), np.zeros_like(view[1])
        if kind == 1:
            return np.roll(view[0], view[0].shape[0] // 2, axis=0)[:, ::-1].copy(), view[1]
        return rng.integers(0, 256, view[0].shape, dtype=np.uint8), view[1]

    return apply


def _unchanged(_: np.random.Generator) -> Callable[[View, float], View]:
    return lambda view, _: view


EFFECTS: dict[str, Effect] = {
    "plain": Effect((1.0, 2.0), _unchanged),
    "exposure ramp": Effect((0.6, 2.5), _exposure_ramp),
    "exposure step": Effect((0.3, 2.0), _exposure_step),
    "flash": Effect((0.0, 0.15), _flash),
    "blur": Effect((0.1, 0.6), _blur),
    "pan": Effect((0.2, 0.8), _unchanged),
    "hand": Effect((0.8, 2.5), _hand),
    "lights off": Effect((0.3, 2.5), _lights_off),
    "bad frame": Effect((0.0, 0.0), _bad_frame),
    "depth lost": Effect((0.2, 2.0), _unchanged),
}
