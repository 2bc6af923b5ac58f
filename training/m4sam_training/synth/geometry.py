# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""A pinhole camera on a smooth path, and textured rectangles seen through it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt

from m4sam_training.synth.texture import FloatImage

Vector = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Wobble:
    """A smooth random motion: two sines per axis."""

    amplitude: Vector
    rate_hz: Vector
    phase: Vector

    @classmethod
    def draw(cls, rng: np.random.Generator, amplitude: npt.ArrayLike, fastest_hz: float) -> Wobble:
        """Random rates up to `fastest_hz` for every component of `amplitude`."""
        scale = np.asarray(amplitude, float)
        return cls(scale, rng.uniform(0.1, 1, (2, scale.size)) * fastest_hz, rng.uniform(0, 2 * np.pi, (2, scale.size)))

    def at(self, time_s: float) -> Vector:
        """Offset at a time, one value per axis."""
        waves = np.sin(2 * np.pi * self.rate_hz * time_s + self.phase)
        offset: Vector = self.amplitude * waves.mean(axis=0)
        return offset


class Motion(Protocol):
    """An offset that changes over time."""

    def at(self, time_s: float) -> Vector:
        """Offset at a time, one value per axis."""
        ...


@dataclass(frozen=True)
class Route:
    """Straight motion between moments, on top of a smooth wobble.

    Attributes:
        times_s (K,): moments, rising.
        offsets (K, 3): where the thing is then, from its rest; held before the first and after the last. Metres.
        wobble: motion on top.
    """

    times_s: Vector
    offsets: Vector
    wobble: Wobble

    def at(self, time_s: float) -> Vector:
        """Offset (3,) at a time."""
        way = np.array([np.interp(time_s, self.times_s, axis) for axis in self.offsets.T])
        return way + self.wobble.at(time_s)


@dataclass(frozen=True)
class Pose:
    """A camera at one instant. Axes of the world: x right, y down, z forwards; metres.

    Attributes:
        centre (3,): position.
        rotation (3, 3): camera axes to world axes.
        focal_px: focal length.
        width, height: image size in pixels.
    """

    centre: Vector
    rotation: Vector
    focal_px: float
    width: int
    height: int

    @classmethod
    def look(cls, centre: Vector, angles: Vector, focal_px: float, width: int, height: int) -> Pose:
        """Pose from (pitch, yaw, roll) in radians; positive pitch looks down."""
        pitch, yaw, roll = (float(angle) for angle in angles)
        turn = cv2.Rodrigues(np.array([0.0, yaw, 0.0]))[0] @ cv2.Rodrigues(np.array([-pitch, 0.0, 0.0]))[0]
        return cls(centre, turn @ cv2.Rodrigues(np.array([0.0, 0.0, roll]))[0], focal_px, width, height)

    def project(self, point: Vector) -> tuple[float, float, float]:
        """World point to (column px, row px, depth m)."""
        x, y, z = self.rotation.T @ (point - self.centre)
        safe = max(float(z), 1e-3)
        return self.width / 2 + self.focal_px * x / safe, self.height / 2 + self.focal_px * y / safe, float(z)

    def point_at(self, column: float, row: float, depth_m: float) -> Vector:
        """World point seen at a pixel at a depth along the optical axis."""
        ray = np.array([(column - self.width / 2) / self.focal_px, (row - self.height / 2) / self.focal_px, 1.0])
        point: Vector = self.centre + self.rotation @ ray * depth_m
        return point


@dataclass(frozen=True)
class Surface:
    """A textured parallelogram.

    Attributes:
        corner (3,), across (3,), down (3,): one corner and the two edges leaving it. Metres.
        texture (S, S, 3): float32 RGB, 0..255; repeated `repeat` times along each edge.
        repeat: how often.
    """

    corner: Vector
    across: Vector
    down: Vector
    texture: FloatImage
    repeat: tuple[float, float] = (1.0, 1.0)


class Canvas:
    """Colour and depth of a frame in the making.

    Attributes:
        rgb (H, W, 3): float32, 0..255.
        depth (H, W): float32 metres along the optical axis.
        owner (H, W): uint8, 0 for surfaces, otherwise the number of the object that covers the pixel.
    """

    def __init__(self, pose: Pose) -> None:
        self.pose = pose
        shape = (pose.height, pose.width)
        self.rgb = np.full((*shape, 3), 20, np.float32)
        self.depth = np.full(shape, 30, np.float32)
        self.owner = np.zeros(shape, np.uint8)
        columns = (np.arange(pose.width, dtype=np.float32) - pose.width / 2) / pose.focal_px
        rows = (np.arange(pose.height, dtype=np.float32) - pose.height / 2) / pose.focal_px
        self._columns, self._rows = columns[None, :], rows[:, None]

    def _form(self, weights: Vector) -> FloatImage:
        line = weights.astype(np.float32)
        return self._columns * line[0] + (self._rows * line[1] + line[2])

    def draw_surface(self, surface: Surface) -> None:
        """Paint a surface where it is nearer than what is there."""
        normal = np.cross(surface.across, surface.down)
        rays = self.pose.rotation
        offset = surface.corner - self.pose.centre
        facing = self._form(normal @ rays)
        depth = np.float32(normal @ offset) / np.where(np.abs(facing) < 1e-6, np.float32(1e-6), facing)
        along = surface.across / (surface.across @ surface.across)
        below = surface.down / (surface.down @ surface.down)
        u = self._form(along @ rays) * depth - np.float32(along @ offset)
        v = self._form(below @ rays) * depth - np.float32(below @ offset)
        seen = (depth > 0.1) & (depth < self.depth) & (u >= 0) & (u <= 1) & (v >= 0) & (v <= 1)
        if not seen.any():
            return
        size_px = surface.texture.shape[0]
        map_x, map_y = u * np.float32(surface.repeat[0] * size_px), v * np.float32(surface.repeat[1] * size_px)
        flat = np.clip(np.stack([map_x, map_y]), 0, 16000)
        flat = np.abs((flat + size_px) % (2 * size_px) - size_px)
        paint = cv2.remap(surface.texture, flat[0], flat[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        self.rgb = np.where(seen[..., None], paint, self.rgb)
        self.depth = np.where(seen, depth, self.depth)

    def darken(self, points: list[tuple[Vector, float]], strength: float) -> None:
        """Soft contact shadows: (ground point, radius in metres) for every object."""
        shade = np.zeros((self.pose.height // 4, self.pose.width // 4), np.float32)
        for point, radius_m in points:
            column, row, depth = self.pose.project(point)
            if depth < 0.1:
                continue
            radius_px = self.pose.focal_px * radius_m / depth / 4
            axes = (max(1, round(radius_px)), max(1, round(radius_px * 0.4)))
            cv2.ellipse(shade, (round(column / 4), round(row / 4)), axes, 0, 0, 360, 1.0, -1)
        blur_px = max(1, self.pose.width // 4 // 32) * 2 + 1
        shade = cv2.GaussianBlur(shade, (blur_px, blur_px), 0)
        full = cv2.resize(shade, (self.pose.width, self.pose.height), interpolation=cv2.INTER_LINEAR)
        self.rgb *= (1 - strength * full)[..., None]
