# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Bodies that situations need: fences to look through, things in one paint."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from m4sam_training.synth.bodies import pale
from m4sam_training.synth.scene import Body
from m4sam_training.synth.solids import Solid
from m4sam_training.synth.sprites import SPRITE_PX, Sprite
from m4sam_training.synth.texture import random_colour


def fence(rng: np.random.Generator) -> Sprite:
    """Bars or a mesh with rails, in one colour; what is behind shows through."""
    alpha, step = np.zeros((SPRITE_PX, SPRITE_PX), np.float32), int(rng.integers(5, 24))
    thick, top = int(rng.integers(1, 4)), int(SPRITE_PX * rng.uniform(0.3, 0.8))
    slant = 0 if rng.random() < 0.6 else SPRITE_PX
    for column in range(-slant, SPRITE_PX + slant, step):
        for lean in {slant, -slant}:
            cv2.line(alpha, (column, SPRITE_PX), (column + lean, 0), 1.0, thick, cv2.LINE_AA)
    alpha[:top] = 0
    for row in np.linspace(top, 0.94 * SPRITE_PX, int(rng.integers(2, 5))):
        cv2.line(alpha, (0, int(row)), (SPRITE_PX, int(row)), 1.0, thick + 1)
    colour = random_colour(rng, float(rng.choice([0.0, 0.1, 0.7]))).astype(np.float32)
    return Sprite(np.tile(colour, (SPRITE_PX, SPRITE_PX, 1)), alpha, np.zeros_like(alpha))


def painted(body: Body, rng: np.random.Generator) -> Body:
    """The same thing in one paint: white, dark or its own mean colour."""
    if rng.random() < 0.35:
        return pale(body, rng.uniform(0.1, 0.4))
    dark = np.float32(rng.uniform(0.08, 0.45) if rng.random() < 0.55 else 1.0)
    keep = np.float32(rng.uniform(0.05, 0.3))
    if isinstance(body, Solid):
        mean = body.texture.mean(axis=(0, 1))
        texture = ((mean + (body.texture - mean) * keep) * dark).astype(np.float32)
        return replace(body, texture=texture, mesh=replace(body.mesh, tints=1 - (1 - body.mesh.tints) * keep))
    mean = body.rgb[body.alpha > 0.5].mean(axis=0) if (body.alpha > 0.5).any() else body.rgb.mean(axis=(0, 1))
    return replace(body, rgb=((mean + (body.rgb - mean) * keep) * dark).astype(np.float32))
