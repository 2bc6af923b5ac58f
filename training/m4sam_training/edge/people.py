# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Posed human bodies for the clips, from the package `anny` (code Apache-2.0, data CC0), kept as small files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch

from m4sam_core.host.files import whole_file
from m4sam_core.host.optional import require
from m4sam_training.synth.models.people import PARTS

PEOPLE_PACKAGES = ("anny==0.6.2", "roma==1.8.0", "warp-lang==1.19.0")  # installed without their dependencies
# Which bones a part follows; what no name fits (head, hands, neck) is skin.
_BONES = {
    "shirt": ("spine", "clavicle", "shoulder", "upperarm", "lowerarm", "root"),
    "trousers": ("pelvis", "upperleg", "lowerleg"),
    "shoes": ("foot", "toe"),
}


def make_people(folder: Path, count: int, seed: int = 0) -> None:
    """Write `count` bodies NNN.npz (vertices (V, 3) y down, faces (F, 3), part (F,) see `PARTS`); kept if there.

    Args:
        folder: where to.
        count: how many: babies to old age, standing, walking, sitting, reaching, bending.
        seed: of shapes and poses.

    Raises:
        ConfigError: anny is not installed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    missing = [number for number in range(count) if not (folder / f"{number:03d}.npz").exists()]
    if not missing:
        return
    require("anny", "edge", command=f"pip install --no-deps {' '.join(PEOPLE_PACKAGES)}")
    import anny

    model = anny.Anny(topology="notoes_collapse10pc")
    faces = model.get_triangular_faces().numpy() if model.faces.shape[1] != 3 else model.faces.numpy()
    owner = _strongest_bone(model)
    for number in missing:
        rng = np.random.default_rng((seed, number))
        shape = {
            name: float(rng.uniform(0.15, 0.9))
            for name in ("gender", "age", "muscle", "weight", "height", "proportions")
        }
        shape["age"] = float(rng.uniform(0.3, 0.95))
        with torch.no_grad():
            body = model(pose_parameters=_pose(rng), phenotype_kwargs=shape)
        points = body["vertices"][0].numpy()
        part = _parts(points, faces, owner, rng)
        upright = np.stack([points[:, 0], -points[:, 2], points[:, 1]], axis=1)
        with whole_file(folder / f"{number:03d}.npz") as draft:
            np.savez(draft, vertices=upright.astype(np.float32), faces=faces.astype(np.int32), part=part)


def _strongest_bone(model: Any) -> list[str]:
    """The name of the bone each vertex follows most."""
    best = model.vertex_bone_weights.argmax(dim=1, keepdim=True)
    bones = model.vertex_bone_indices.gather(1, best)[:, 0]
    return [model.bone_labels[int(bone)] for bone in bones]


def _parts(
    points: npt.NDArray[np.float32], faces: npt.NDArray[np.int64], owner: list[str], rng: np.random.Generator
) -> npt.NDArray[np.uint8]:
    """What each face wears; sleeves, trousers and hair of random length."""
    part = np.zeros(len(owner), np.uint8)
    for name, bones in _BONES.items():
        part[[bone.startswith(bones) for bone in owner]] = PARTS.index(name)
    if rng.random() < 0.4:
        part[[bone.startswith("lowerarm") for bone in owner]] = PARTS.index("skin")
    if rng.random() < 0.2:
        part[[bone.startswith("lowerleg") for bone in owner]] = PARTS.index("skin")
    head = np.array([bone.startswith(("head", "eye")) for bone in owner])
    if head.any():
        low, high = points[head].min(axis=0), points[head].max(axis=0)
        above = points[:, 2] > low[2] + rng.uniform(0.55, 0.75) * (high[2] - low[2])
        behind = points[:, 1] > low[1] + rng.uniform(0.4, 0.6) * (high[1] - low[1])
        part[head & (above | behind)] = PARTS.index("hair")
    return np.asarray(np.median(part[faces], axis=1), np.uint8)


def _pose(rng: np.random.Generator) -> dict[str, torch.Tensor]:
    """Rotations of a few bones: arms hang, swing or reach, legs stand, walk or sit."""
    turns: dict[str, tuple[float, float, float]] = {}
    stance = str(rng.choice(["stand", "walk", "sit", "bend", "run"], p=[0.35, 0.3, 0.12, 0.08, 0.15]))
    stride = {"walk": 0.45, "run": 0.9}.get(stance, 0.08) * rng.uniform(0.4, 1)
    for side, sign in (("L", 1.0), ("R", -1.0)):
        swing = sign * stride
        hip = -1.45 if stance == "sit" else swing
        knee = 1.45 if stance == "sit" else max(0.0, swing) * rng.uniform(0.6, 1.4)
        turns[f"upperleg01.{side}"] = (hip, 0.0, sign * rng.uniform(0, 0.06))
        turns[f"lowerleg01.{side}"] = (knee, 0.0, 0.0)
        raised = rng.uniform(-0.8, 0.2) if rng.random() < 0.25 else rng.uniform(0.45, 0.85)
        turns[f"upperarm01.{side}"] = (-swing * 0.9 - 0.3 * (stance == "sit"), sign * raised, 0.0)
        turns[f"lowerarm01.{side}"] = (-float(rng.uniform(0, 1.5)) * (rng.random() < 0.6), 0.0, 0.0)
    turns["spine05"] = (rng.uniform(0.3, 0.9) if stance == "bend" else rng.normal(0, 0.08), 0.0, rng.normal(0, 0.1))
    turns["neck01"] = (rng.normal(0, 0.12), rng.normal(0, 0.05), rng.normal(0, 0.25))
    return {bone: _transform(turn) for bone, turn in turns.items()}


def _transform(turn: tuple[float, float, float]) -> torch.Tensor:
    """A rotation vector as (1, 4, 4)."""
    matrix = np.eye(4, dtype=np.float32)
    matrix[:3, :3] = cv2.Rodrigues(np.array(turn, np.float64))[0]
    return torch.from_numpy(matrix)[None]
