# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""What scenes are dressed with: textures, cut-outs, solids, arms."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from m4sam_training.synth.geometry import Vector, Wobble
from m4sam_training.synth.models.shapes import random_mesh
from m4sam_training.synth.scene import Body, ByteImage, SceneStyle
from m4sam_training.synth.solids import Solid
from m4sam_training.synth.sprites import SPRITE_PX, Sprite, random_sprite, shade
from m4sam_training.synth.texture import FloatImage, procedural_texture


def photo_texture(rng: np.random.Generator, photo: ByteImage, size_px: int, share: float) -> FloatImage:
    """A random square crop of at least `share` of the photograph's short side."""
    short = min(photo.shape[:2])
    side = int(short * rng.uniform(share, 1))
    top, left = int(rng.integers(0, photo.shape[0] - side + 1)), int(rng.integers(0, photo.shape[1] - side + 1))
    crop = photo[top : top + side, left : left + side]
    return cv2.resize(crop, (size_px, size_px), interpolation=cv2.INTER_AREA).astype(np.float32)


def pale(body: Body, keep: float) -> Body:
    """The same object in white paint that lets `keep` of its own shading and pattern through."""
    if isinstance(body, Solid):
        texture, mesh = body.texture, body.mesh
        white = np.float32(245) + (texture - texture.max()) * np.float32(keep)
        return replace(body, texture=white, mesh=replace(mesh, tints=1 - (1 - mesh.tints) * np.float32(keep)))
    return replace(body, rgb=np.float32(245) + (body.rgb - body.rgb.max()) * np.float32(keep))


class Bodies:
    """Draws textures and objects of one style under one light."""

    def __init__(self, style: SceneStyle, rng: np.random.Generator, light: Vector) -> None:
        """`light` is the direction towards it in image axes: right, down, towards the camera."""
        self.style, self.rng, self.light = style, rng, light

    def texture(self, vivid: float, contrast: float, size_px: int = 512) -> FloatImage:
        """A photograph or a pattern (S, S, 3), 0..255; see `procedural_texture`."""
        if self.style.photos and self.rng.random() < self.style.photo_share:
            photo = self.style.photos[int(self.rng.integers(len(self.style.photos)))]
            return photo_texture(self.rng, photo, size_px, 0.15)
        return procedural_texture(self.rng, size_px, vivid, contrast)

    def body(self, salient: bool) -> Body:
        """An object; what is not salient is duller."""
        rng = self.rng
        if self.style.solid_share and rng.random() < self.style.solid_share:
            return self._solid(salient)
        if self.style.cutouts and rng.random() < self.style.cutout_share:
            return self._cutout(salient)
        vivid = float(np.clip(rng.normal(0.85 if salient else 0.25, 0.25), 0, 1))
        return random_sprite(rng, self.light, vivid, rng.uniform(0.3, 1) if salient else rng.uniform(0, 0.5))

    def _solid(self, salient: bool) -> Solid:
        rng, meshes = self.rng, self.style.meshes
        mesh = meshes[int(rng.integers(len(meshes)))] if meshes else random_mesh(rng)
        vivid = float(np.clip(rng.normal(0.8 if salient else 0.25, 0.3), 0, 1))
        texture = mesh.texture
        if texture is None:
            texture = self.texture(vivid, rng.uniform(0.1, 1) if salient else rng.uniform(0, 0.5), SPRITE_PX)
            if rng.random() < 0.5:  # most things are one paint with little on it
                texture = texture.mean(axis=(0, 1)) + (texture - texture.mean(axis=(0, 1))) * np.float32(0.3)
            if not salient:
                texture = texture.mean(axis=2, keepdims=True) * 0.5 + texture * 0.5
        lively = rng.random() < 0.5
        upright = rng.random() < 0.75
        tilt = rng.normal(0, 0.08, 2) if upright else rng.uniform(-1.6, 1.6, 2)
        return Solid(
            mesh,
            np.ascontiguousarray(texture, np.float32),
            "uv" if mesh.texture is not None else ("box", "cylinder")[int(rng.integers(2))],
            float(rng.choice([0.5, 1.0, 2.0])),
            np.array([rng.uniform(-np.pi, np.pi), *tilt]),
            Wobble.draw(rng, rng.uniform(0, 0.4, 3) * lively, 0.6),
            float(rng.normal(0, 0.7)) * (rng.random() < 0.35),
            self.light,
            rng.uniform(0.35, 0.7),
            rng.uniform(0, 0.7) * (rng.random() < 0.4),
        )

    def _cutout(self, salient: bool) -> Sprite:
        rng = self.rng
        rgba = self.style.cutouts[int(rng.integers(len(self.style.cutouts)))]
        if rng.random() < 0.5:
            rgba = rgba[:, ::-1]
        rgba = cv2.resize(rgba, (SPRITE_PX, SPRITE_PX), interpolation=cv2.INTER_AREA).astype(np.float32)
        alpha = rgba[..., 3] / 255
        inner = cv2.distanceTransform((alpha > 0.5).astype(np.uint8), cv2.DIST_L2, 5) / SPRITE_PX
        relief = np.sqrt(np.minimum(inner, 0.2)) * np.float32(rng.uniform(0.1, 0.7))
        rgb = rgba[..., :3]
        if rng.random() < 0.35:
            pattern = self.texture(0.7, 0.8, SPRITE_PX)
            rgb = rgb + (pattern - rgb) * np.float32(rng.uniform(0.2, 0.8))
        if not salient:
            grey = rgb.mean(axis=2, keepdims=True)
            rgb = grey + (rgb - grey) * np.float32(rng.uniform(0, 0.6))
        rgb = shade(rgb.astype(np.float32), relief, self.light, rng.uniform(0.4, 0.9))
        return Sprite(rgb, alpha.astype(np.float32), relief.astype(np.float32))

    def arm(self) -> tuple[Sprite, float]:
        """A sleeve and a hand, and the side the sleeve leaves to: 1 right, -1 left."""
        rng = self.rng
        canvas = np.zeros((SPRITE_PX, SPRITE_PX), np.uint8)
        cv2.line(
            canvas, (SPRITE_PX - 1, int(rng.uniform(20, 130))), (75, 128), 255, int(rng.uniform(34, 60)), cv2.LINE_AA
        )
        hand = np.zeros_like(canvas)
        cv2.ellipse(hand, (62, 128), (24, 20), 0, 0, 360, 255, -1, cv2.LINE_AA)
        for finger in range(4):
            cv2.line(hand, (56, 118 + 7 * finger), (26, 100 + 18 * finger), 255, 8, cv2.LINE_AA)
        skin = np.array([rng.uniform(150, 235), rng.uniform(105, 180), rng.uniform(80, 150)], np.float32)
        sleeve = procedural_texture(rng, SPRITE_PX, rng.uniform(0, 0.7), rng.uniform(0, 0.4))
        rgb = np.where(hand[..., None] > 0, skin, sleeve).astype(np.float32)
        cover = np.maximum(canvas, hand)
        relief = np.sqrt(cv2.distanceTransform((cover > 127).astype(np.uint8), cv2.DIST_L2, 5) / SPRITE_PX) * 0.2
        rgb, alpha = shade(rgb, relief, self.light, 0.5), cover.astype(np.float32) / 255
        if rng.random() < 0.5:
            rgb, alpha, relief = rgb[:, ::-1], alpha[:, ::-1], relief[:, ::-1]
            direction = -1.0
        else:
            direction = 1.0
        sprite = Sprite(np.ascontiguousarray(rgb), np.ascontiguousarray(alpha), np.ascontiguousarray(relief))
        return sprite, direction
