# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Solid objects: meshes that turn in space, cast ray by ray."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import cv2
import numpy as np
import numpy.typing as npt

from m4sam_core.errors import InputError
from m4sam_core.host.optional import require
from m4sam_training.synth.geometry import Canvas, Vector, Wobble
from m4sam_training.synth.texture import FloatImage

if TYPE_CHECKING:
    import trimesh

Mapping = Literal["uv", "box", "cylinder"]


@dataclass(frozen=True)
class Mesh:
    """Triangles around the origin, longest side 1; x right, y down, z away.

    Attributes:
        vertices (V, 3), normals (V, 3): float32.
        faces (F, 3): int64 vertex numbers.
        tints (F, 3): float32 colour factors, 1 for none.
        uv (V, 2): texture coordinates in [0, 1], v upwards; None where the shape has none of its own.
        texture (S, S, 3): float32 RGB 0..255 that belongs to the shape; None where it wears any.
    """

    vertices: FloatImage
    normals: FloatImage
    faces: npt.NDArray[np.int64]
    tints: FloatImage
    uv: FloatImage | None = None
    texture: FloatImage | None = None

    @cached_property
    def caster(self) -> Any:
        """Finds the first triangle along rays."""
        trimesh = import_trimesh()
        return trimesh.Trimesh(self.vertices, self.faces, process=False).ray


def import_trimesh() -> Any:
    """Import trimesh with embree, which only the rich generator needs.

    Raises:
        InputError: not installed.
    """
    require("embreex", "synth")  # trimesh uses it by itself; without it rays are a hundred times slower
    require("trimesh", "synth")
    import trimesh

    return trimesh


def mesh_from_trimesh(shape: trimesh.Trimesh, tints: npt.ArrayLike | None = None) -> Mesh:
    """Centre a trimesh, scale its longest side to 1 and keep its texture coordinates.

    Args:
        shape: y down.
        tints (F, 3): colour factors of its faces; None for none.
    """
    vertices = np.asarray(shape.vertices, np.float64)
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    vertices = (vertices - (low + high) / 2) / max(float((high - low).max()), 1e-9)
    uv = getattr(shape.visual, "uv", None)
    return Mesh(
        vertices.astype(np.float32),
        np.asarray(shape.vertex_normals, np.float32),
        np.asarray(shape.faces, np.int64),
        np.ones((len(shape.faces), 3), np.float32) if tints is None else np.asarray(tints, np.float32),
        None if uv is None else np.asarray(uv, np.float32),
    )


def load_mesh(path: str | Path) -> Mesh:
    """Read a mesh file with z upwards; a `.png` of the same stem beside it is its texture.

    Raises:
        InputError: unreadable.
    """
    trimesh = import_trimesh()
    try:
        shape = trimesh.load(path, force="mesh")
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: expected a mesh, got {error}; delete the file") from None
    if not len(shape.faces):
        raise InputError(f"{path}: expected a mesh, got no triangles; delete the file")
    shape.apply_transform(trimesh.transformations.rotation_matrix(np.pi / 2, [1, 0, 0]))
    mesh = mesh_from_trimesh(shape)
    picture = cv2.imread(str(Path(path).with_suffix(".png")), cv2.IMREAD_COLOR)
    if picture is None or mesh.uv is None:
        return mesh
    texture = cv2.resize(picture, (512, 512), interpolation=cv2.INTER_AREA)[..., ::-1].astype(np.float32)
    return Mesh(mesh.vertices, mesh.normals, mesh.faces, mesh.tints, mesh.uv, texture)


@dataclass(frozen=True)
class Solid:
    """A mesh with a skin, an attitude and a light.

    Attributes:
        mesh: its shape.
        texture (S, S, 3): float32 RGB, 0..255.
        mapping: how the texture lies on it.
        repeat: texture tiles along its longest side (box, cylinder).
        rest (3,): yaw, pitch, roll at rest. Radians.
        spin: change of these angles over time.
        turn_rad_s: steady yaw.
        light (3,): direction towards the light, in image axes (right, down, towards the camera).
        ambient: brightness of faces the light does not reach, in [0, 1].
        gloss: strength of the highlight, in [0, 1].
    """

    mesh: Mesh
    texture: FloatImage
    mapping: Mapping
    repeat: float
    rest: Vector
    spin: Wobble
    turn_rad_s: float
    light: Vector
    ambient: float
    gloss: float

    @cached_property
    def foot(self) -> float:
        """How far below the centre it stands on the ground when the clip begins, in longest sides."""
        return float((self.mesh.vertices @ self.attitude(0.0).T)[:, 1].max())

    def attitude(self, time_s: float) -> Vector:
        """Rotation (3, 3) from its own axes to the world's."""
        yaw, pitch, roll = self.rest + self.spin.at(time_s)
        turn = cv2.Rodrigues(np.array([0.0, yaw + self.turn_rad_s * time_s, 0.0]))[0]
        tilt: Vector = turn @ cv2.Rodrigues(np.array([pitch, 0.0, 0.0]))[0]
        return np.asarray(tilt @ cv2.Rodrigues(np.array([0.0, 0.0, roll]))[0], np.float64)

    def draw(self, canvas: Canvas, centre: Vector, width_m: float, number: int, time_s: float) -> None:
        """Paint it where it is nearer than what is there.

        Args:
            canvas: colour, depth and owners so far.
            centre (3,): its middle. Metres.
            width_m: its longest side.
            number: its owner number.
            time_s: time in the clip.
        """
        pose = canvas.pose
        column, row, depth = pose.project(centre)
        if depth < 0.2:
            return
        reach = int(pose.focal_px * width_m * 0.9 / depth) + 2
        left, right = max(0, int(column) - reach), min(pose.width, int(column) + reach)
        top, bottom = max(0, int(row) - reach), min(pose.height, int(row) + reach)
        if right - left < 2 or bottom - top < 2:
            return
        across = (np.arange(left, right) - pose.width / 2) / pose.focal_px
        down = (np.arange(top, bottom) - pose.height / 2) / pose.focal_px
        rays = np.stack([*np.meshgrid(across, down), np.ones((bottom - top, right - left))], axis=-1).reshape(-1, 3)
        turn = self.attitude(time_s)
        rays = rays @ (turn.T @ pose.rotation).T
        origin = turn.T @ (pose.centre - centre) / width_m
        first = self.mesh.caster.intersects_first(np.broadcast_to(origin, rays.shape), rays)
        hit = np.flatnonzero(first >= 0)
        if not hit.size:
            return
        share, along = _barycentric(self.mesh, first[hit], origin, rays[hit])
        seen = (along * width_m > 0.1) & (along * width_m < canvas.depth[top:bottom, left:right].reshape(-1)[hit])
        hit, share, along = hit[seen], share[seen], along[seen]
        if not hit.size:
            return
        rows, columns = top + hit // (right - left), left + hit % (right - left)
        canvas.rgb[rows, columns] = self._colour(first[hit], share, turn, rays[hit])
        canvas.depth[rows, columns] = along * width_m
        canvas.owner[rows, columns] = number
        _soften_edge(canvas, (slice(top, bottom), slice(left, right)), number)

    def _colour(
        self, triangles: npt.NDArray[np.int64], share: Vector, turn: Vector, rays: Vector
    ) -> npt.NDArray[np.float32]:
        mesh = self.mesh
        corners = mesh.faces[triangles]
        normal = np.einsum("nk,nkc->nc", share, mesh.normals[corners])
        normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-6)
        normal *= -np.sign(np.einsum("nc,nc->n", normal, rays))[:, None]
        u, v = self._texture_coordinates(corners, share, normal)
        size_px = self.texture.shape[0]
        fold = np.abs((np.stack([u, v]) * size_px + size_px) % (2 * size_px) - size_px).astype(np.float32)
        paint = np.concatenate(
            [
                cv2.remap(self.texture, part[0][None], part[1][None], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
                for part in np.array_split(fold, fold.shape[1] // 30000 + 1, axis=1)
            ],
            axis=1,
        )[0]
        facing = turn @ normal.T
        light = self.light * np.array([1.0, 1.0, -1.0]) / np.linalg.norm(self.light)
        lit = np.clip(light @ facing, 0, 1)
        half = light + np.array([0.0, 0.0, -1.0])
        shine = 255 * self.gloss * np.clip(half @ facing / np.linalg.norm(half), 0, 1) ** 24
        colour = paint * mesh.tints[triangles] * (self.ambient + (1 - self.ambient) * lit)[:, None] * 1.15
        return np.clip(colour + shine[:, None], 0, 255).astype(np.float32)

    def _texture_coordinates(
        self, corners: npt.NDArray[np.int64], share: Vector, normal: Vector
    ) -> tuple[Vector, Vector]:
        mesh = self.mesh
        if self.mapping == "uv" and mesh.uv is not None:
            uv = np.einsum("nk,nkc->nc", share, mesh.uv[corners])
            return uv[:, 0], 1 - uv[:, 1]
        point = np.einsum("nk,nkc->nc", share, mesh.vertices[corners])
        if self.mapping == "cylinder":
            return np.arctan2(point[:, 0], point[:, 2]) / np.pi * self.repeat, (point[:, 1] + 0.5) * self.repeat
        axis = np.abs(normal).argmax(axis=1)
        u = np.where(axis == 0, point[:, 2], point[:, 0])
        v = np.where(axis == 1, point[:, 2], point[:, 1])
        return (u + 0.5) * self.repeat, (v + 0.5) * self.repeat


def _barycentric(mesh: Mesh, triangles: npt.NDArray[np.int64], origin: Vector, rays: Vector) -> tuple[Vector, Vector]:
    """Shares (N, 3) of the corners at the hit points, and how far along the ray they are (N,)."""
    first, second, third = (mesh.vertices[mesh.faces[triangles, k]].astype(np.float64) for k in range(3))
    one, two = second - first, third - first
    cross = np.cross(rays, two)
    scale = 1 / np.where(np.abs(det := np.einsum("nc,nc->n", one, cross)) < 1e-12, 1e-12, det)
    offset = origin - first
    u = np.einsum("nc,nc->n", offset, cross) * scale
    other = np.cross(offset, one)
    v = np.einsum("nc,nc->n", rays, other) * scale
    along = np.einsum("nc,nc->n", two, other) * scale
    return np.stack([1 - u - v, u, v], axis=1), along


def _soften_edge(canvas: Canvas, window: tuple[slice, slice], number: int) -> None:
    """One ray per pixel leaves stairs; blend them into what is behind."""
    mine = (canvas.owner[window] == number).astype(np.uint8)
    edge = cv2.morphologyEx(mine, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
    colour = canvas.rgb[window]
    colour[edge] = cv2.GaussianBlur(colour, (3, 3), 0)[edge]
