# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Shapes with a colour each, joined into one mesh."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from m4sam_training.synth.geometry import Vector
from m4sam_training.synth.solids import Mesh, import_trimesh, mesh_from_trimesh
from m4sam_training.synth.texture import FloatImage

if TYPE_CHECKING:
    import trimesh

Place = tuple[float, float, float]


class Kit:
    """Collects shapes; y points down, sizes are relative. A tint (3,) is a colour factor, 0 to 1."""

    def __init__(self, *, sharp: bool = False) -> None:
        """`sharp`: round shapes show their faces, too."""
        self._sharp = sharp
        self._shapes: list[trimesh.Trimesh] = []
        self._tints: list[FloatImage] = []

    def add(self, shape: trimesh.Trimesh, tint: npt.ArrayLike) -> None:
        """Any shape, which is changed."""
        if self._sharp:
            shape.unmerge_vertices()
        self._shapes.append(shape)
        self._tints.append(np.tile(np.asarray(tint, np.float32), (len(shape.faces), 1)))

    def box(self, extents: Place, centre: Place, tint: npt.ArrayLike) -> None:
        """A box with its sides along the axes."""
        shape = import_trimesh().creation.box(extents)
        shape.apply_translation(centre)
        shape.unmerge_vertices()
        self.add(shape, tint)

    def ball(self, radii: Place, centre: Place, tint: npt.ArrayLike) -> None:
        """An ellipsoid."""
        shape = import_trimesh().creation.icosphere(subdivisions=2)
        shape.apply_scale(radii)
        shape.apply_translation(centre)
        self.add(shape, tint)

    def rod(self, start: npt.ArrayLike, end: npt.ArrayLike, radius: float, tint: npt.ArrayLike) -> None:
        """A cylinder."""
        self.add(import_trimesh().creation.cylinder(radius, segment=[start, end], sections=18), tint)

    def ring(self, centre: npt.ArrayLike, radius: float, thick: float, tint: npt.ArrayLike) -> None:
        """A torus around z."""
        shape = import_trimesh().creation.torus(radius, thick, major_sections=28, minor_sections=8)
        shape.apply_translation(centre)
        self.add(shape, tint)

    def prism(self, side: Vector, half: Vector, tint: npt.ArrayLike) -> None:
        """A closed body.

        Args:
            side (N, 2): its outline seen along z, star-shaped around its middle.
            half (N,): how far it reaches either way along z there.
            tint (3,): colour factor.
        """
        trimesh, number = import_trimesh(), len(side)
        walls = [np.column_stack([side, sign * half]) for sign in (-1.0, 1.0)]
        here, after = np.arange(number), np.roll(np.arange(number), -1)
        rim = [np.column_stack([here, after, after + number]), np.column_stack([here, after + number, here + number])]
        self.add(trimesh.Trimesh(np.vstack(walls), np.vstack(rim), process=False), tint)
        fan = np.column_stack([here, after, np.full(number, number)])
        for wall in walls:
            self.add(trimesh.Trimesh(np.vstack([wall, wall.mean(axis=0)]), fan, process=False), tint)

    def mesh(self, yaw: float = 0.0) -> Mesh:
        """All shapes, turned around y. Radians."""
        whole = import_trimesh().util.concatenate(self._shapes)
        if yaw:
            whole.apply_transform(import_trimesh().transformations.rotation_matrix(yaw, [0, 1, 0]))
        return mesh_from_trimesh(whole, np.concatenate(self._tints))
