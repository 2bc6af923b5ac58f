# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""People in clothes: body meshes from files, dressed anew for every scene."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from m4sam_training.synth.solids import Mesh, import_trimesh, mesh_from_trimesh
from m4sam_training.synth.texture import FloatImage, random_colour

PARTS = ("skin", "hair", "shirt", "trousers", "shoes")
_SKINS = ((236, 196, 170), (214, 165, 130), (178, 126, 92), (128, 86, 62), (84, 58, 44))
_HAIRS = ((30, 24, 20), (70, 48, 32), (120, 84, 50), (190, 150, 90), (170, 170, 170), (150, 60, 30))

PersonBody = tuple[Mesh, npt.NDArray[np.uint8]]


def load_people(folder: str | Path) -> list[PersonBody]:
    """Meshes and the part (F,) of each face, from the files that `edge.people.make_people` wrote; none if absent."""
    bodies = []
    for path in sorted(Path(folder).glob("*.npz")):
        with np.load(path) as archive:
            vertices, faces, part = archive["vertices"], archive["faces"], archive["part"]
        shape = import_trimesh().Trimesh(vertices, faces, process=False)
        bodies.append((mesh_from_trimesh(shape), part))
    return bodies


def dressed(body: PersonBody, rng: np.random.Generator, vivid: float) -> Mesh:
    """A body with skin, hair and clothes of random colours: tints (F, 3) for a white texture.

    Args:
        body: from `load_people`.
        rng: source of the colours.
        vivid: see `random_colour`; of the clothes.
    """
    mesh, part = body
    colours: list[npt.ArrayLike | FloatImage] = [
        _SKINS[int(rng.integers(len(_SKINS)))],
        _HAIRS[int(rng.integers(len(_HAIRS)))],
        random_colour(rng, vivid),
        random_colour(rng, vivid * 0.6) * np.float32(rng.uniform(0.3, 1)),
        random_colour(rng, 0.1) * np.float32(rng.uniform(0.3, 1)),
    ]
    if rng.random() < 0.25:  # a suit, a dress, an overall
        colours[3] = colours[2]
    palette = np.stack([np.asarray(colour, np.float32) for colour in colours]) / np.float32(255)
    return Mesh(mesh.vertices, mesh.normals, mesh.faces, palette[part].astype(np.float32))
