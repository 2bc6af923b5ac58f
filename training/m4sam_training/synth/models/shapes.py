# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Made-up solids: vessels, boxes, lumps, toys, animals, vehicles, furniture. Every one from the given generator."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from m4sam_training.synth.solids import Mesh, import_trimesh, mesh_from_trimesh

if TYPE_CHECKING:
    import trimesh

    Part = tuple[trimesh.Trimesh, int]

# A part is a shape and the number of its colour; y points down, sizes are relative.
Recipe = Callable[[np.random.Generator], "list[Part]"]


def _sharp(shape: trimesh.Trimesh) -> trimesh.Trimesh:
    """Faces that do not share their normals."""
    shape.unmerge_vertices()
    return shape


def _box(extents: tuple[float, float, float], centre: tuple[float, float, float], colour: int) -> Part:
    shape = import_trimesh().creation.box(extents)
    shape.apply_translation(centre)
    return _sharp(shape), colour


def _ball(radii: tuple[float, float, float], centre: tuple[float, float, float], colour: int) -> Part:
    shape = import_trimesh().creation.icosphere(subdivisions=3)
    shape.apply_scale(radii)
    shape.apply_translation(centre)
    return shape, colour


def _rod(start: tuple[float, float, float], end: tuple[float, float, float], radius: float, colour: int) -> Part:
    return import_trimesh().creation.cylinder(radius, segment=[start, end], sections=20), colour


def _turned(profile: np.ndarray, colour: int) -> Part:
    """A surface of revolution around y from (radius, height) rows, upwards."""
    trimesh = import_trimesh()
    shape = trimesh.creation.revolve(profile, sections=40)
    shape.apply_transform(trimesh.transformations.rotation_matrix(np.pi / 2, [1, 0, 0]))
    return shape, colour


def _vessel(rng: np.random.Generator) -> list[Part]:
    """Bottle, cup, can, vase or bowl; some with a handle or a lid."""
    height = rng.uniform(0.5, 2.6)
    knots = rng.uniform(0.3, 0.62, int(rng.integers(2, 6)))
    if rng.random() < 0.35:
        knots[-1] = rng.uniform(0.08, 0.2)
    rows = np.linspace(0, 1, 24)
    profile = np.interp(rows, np.linspace(0, 1, len(knots)), knots)
    radius = np.convolve(np.pad(profile, 3, mode="edge"), np.ones(7) / 7, mode="valid")
    wall = np.stack([radius, rows * height], axis=1)
    parts = [_turned(np.vstack([[0, 0], wall, [0, height * 0.999]]), 0)]
    if rng.random() < 0.4:
        torus = import_trimesh().creation.torus(height * rng.uniform(0.15, 0.3), 0.06)
        torus.apply_translation([float(radius[12]), -height * 0.5, 0])
        parts.append((torus, int(rng.integers(2))))
    if rng.random() < 0.3:
        parts.append(_rod((0, -height, 0), (0, -height * 1.1, 0), float(radius[-1]) * 1.08, 1))
    return parts


def _carton(rng: np.random.Generator) -> list[Part]:
    """Box, book, phone, brick."""
    width, height, deep = np.sort(rng.uniform(0.12, 1.0, 3))[rng.permutation(3)]
    return [_box((width, height, deep), (0, 0, 0), 0)]


def _lump(rng: np.random.Generator) -> list[Part]:
    """Stone, fruit, bag."""
    shape = import_trimesh().creation.icosphere(subdivisions=4)
    direction = shape.vertices
    swell = np.ones(len(direction))
    for _ in range(int(rng.integers(2, 9))):
        axis = rng.normal(size=3)
        swell += rng.normal(0, 0.12) * np.sin(rng.uniform(1, 4) * direction @ axis + rng.uniform(0, 6))
    shape.vertices = direction * np.maximum(swell, 0.3)[:, None] * rng.uniform(0.5, 1, 3)
    return [(shape, 0)]


def _toy(rng: np.random.Generator) -> list[Part]:
    """Body, head, ears and limbs of a plush figure."""
    width, tall, head = rng.uniform(0.3, 0.45), rng.uniform(0.4, 0.6), rng.uniform(0.24, 0.38)
    top = -tall - head * 0.7
    parts = [_ball((width, tall, width * 0.85), (0, 0, 0), 0), _ball((head, head, head * 0.95), (0, top, -0.05), 0)]
    parts.append(_ball((head * 0.45, head * 0.35, head * 0.4), (0, top + head * 0.25, -head * 0.9), 1))
    ear = rng.uniform(0.06, 0.16)
    for side in (-1.0, 1.0):
        parts.append(_ball((ear, ear * rng.uniform(1, 3), ear * 0.6), (side * head * 0.75, top - head * 0.8, 0), 1))
        parts.append(_ball((0.13, 0.28, 0.13), (side * width, -tall * 0.2, -0.15), 0))
        parts.append(_ball((0.17, 0.17, 0.32), (side * width * 0.6, tall * 0.85, -0.25), int(rng.integers(2))))
        parts.append(_ball((0.04, 0.04, 0.04), (side * head * 0.35, top - head * 0.2, -head * 0.88), 2))
    return parts


def _animal(rng: np.random.Generator) -> list[Part]:
    """A quadruped."""
    long, fat, leg = rng.uniform(0.5, 0.9), rng.uniform(0.18, 0.36), rng.uniform(0.3, 0.8)
    neck = rng.uniform(0.1, 0.7)
    nose = (long + 0.25 * neck + 0.1, -neck - fat * 0.6, 0.0)
    parts = [_ball((long, fat, fat * 0.85), (0, 0, 0), 0), _ball((fat * 0.9, fat * 0.7, fat * 0.6), nose, 0)]
    parts.append(_rod((long * 0.75, 0, 0), nose, fat * 0.45, 0))
    parts.append(_rod((-long * 0.9, 0, 0), (-long * 1.3, rng.uniform(-0.4, 0.4), 0), fat * 0.15, 1))
    for side in (-1.0, 1.0):
        for end in (-0.65, 0.65):
            hip = (end * long, fat * 0.4, side * fat * 0.5)
            parts.append(_rod(hip, (hip[0] + rng.normal(0, 0.1), fat * 0.4 + leg, hip[2]), fat * 0.25, 0))
        parts.append(_ball((0.04, fat * 0.4, 0.07), (nose[0] - fat * 0.3, nose[1] - fat * 0.8, side * fat * 0.4), 1))
    return parts


def _vehicle(rng: np.random.Generator) -> list[Part]:
    """Car, van or bus: two boxes, windows and wheels."""
    long, high, cabin = rng.uniform(0.8, 1.4), rng.uniform(0.2, 0.35), rng.uniform(0.35, 0.9)
    roof = rng.uniform(0.15, 0.4)
    parts = [_box((long, high, 0.5), (0, 0, 0), 0)]
    parts.append(_box((long * cabin, roof, 0.46), (rng.uniform(-0.1, 0.1), -(high + roof) / 2, 0), 0))
    parts.append(_box((long * cabin * 0.9, roof * 0.6, 0.48), (0, -(high + roof) / 2, 0), 2))
    wheels = [
        _rod((end * long, high * 0.5, -0.27), (end * long, high * 0.5, 0.27), high * 0.4, 2) for end in (-0.33, 0.33)
    ]
    return parts + wheels


def _furniture(rng: np.random.Generator) -> list[Part]:
    """Chair, stool or table."""
    side, seat = rng.uniform(0.35, 0.9), rng.uniform(0.04, 0.12)
    tall, back = rng.uniform(0.35, 0.9), rng.uniform(0, 0.9)
    feet = [(x * side, tall / 2, z * side) for x in (-0.42, 0.42) for z in (-0.42, 0.42)]
    parts = [_box((side, seat, side), (0, 0, 0), 0), *(_box((0.06, tall, 0.06), foot, 1) for foot in feet)]
    if back > 0.3:
        parts.append(_box((side, back, 0.06), (0, -back / 2, 0.45 * side), 0))
    return parts


def _stack(rng: np.random.Generator) -> list[Part]:
    """Bricks, balls and rods put together at random."""
    parts: list[Part] = []
    for _ in range(int(rng.integers(2, 7))):
        size, place = rng.uniform(0.15, 0.5, 3), rng.uniform(-0.35, 0.35, 3)
        make = _box if rng.random() < 0.5 else _ball
        parts.append(make((size[0], size[1], size[2]), (place[0], place[1], place[2]), int(rng.integers(3))))
    return parts


SOLIDS: dict[str, Recipe] = {
    "vessel": _vessel, "carton": _carton, "lump": _lump, "toy": _toy, "animal": _animal, "vehicle": _vehicle,
    "furniture": _furniture, "stack": _stack,
}  # fmt: skip


def random_mesh(rng: np.random.Generator) -> Mesh:
    """A made-up shape in two or three colours."""
    parts = SOLIDS[str(rng.choice(list(SOLIDS)))](rng)
    palette = np.vstack([np.ones(3), rng.uniform(0.2, 1.3, 3), np.full(3, rng.uniform(0.05, 0.4))])
    tints = np.concatenate([np.tile(palette[colour], (len(shape.faces), 1)) for shape, colour in parts])
    return mesh_from_trimesh(import_trimesh().util.concatenate([shape for shape, _ in parts]), tints)
