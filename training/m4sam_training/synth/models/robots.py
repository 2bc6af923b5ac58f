# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""A robot's own hands: grippers on forearms, made up or from mesh files, for the picture's border."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from m4sam_core.errors import InputError
from m4sam_training.synth.geometry import Vector
from m4sam_training.synth.models.kit import Kit
from m4sam_training.synth.solids import Mesh, import_trimesh
from m4sam_training.synth.texture import FloatImage

if TYPE_CHECKING:
    import trimesh

Hand = tuple[Any, Any]  # trimesh meshes of a gripper's palm and of one finger
_PAINTS = ((235, 235, 235), (40, 40, 42), (120, 122, 125), (70, 72, 76), (200, 200, 195), (225, 120, 40), (190, 40, 40))
_PANDA_FINGER_M = 0.0584  # from the hand's frame to the fingers'


def load_hands(folder: str | Path) -> list[Hand]:
    """(hand, finger) meshes of a folder: hand.stl and finger.stl of robosuite's Panda; none if absent.

    Raises:
        InputError: unreadable.
    """
    hand, finger = Path(folder) / "hand.stl", Path(folder) / "finger.stl"
    if not hand.is_file() or not finger.is_file():
        return []
    load = import_trimesh().load
    try:
        return [(load(hand, force="mesh"), load(finger, force="mesh"))]
    except (OSError, ValueError) as error:
        raise InputError(f"{folder}: expected meshes of a gripper, got {error}; delete the folder") from None


class _Paints:
    """Three colours, each time a little lighter or darker."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self._colours = [np.array(_PAINTS[int(rng.integers(len(_PAINTS)))], np.float32) / 255 for _ in range(3)]

    def __call__(self, number: int) -> npt.NDArray[np.float32]:
        return np.asarray(self._colours[number] * np.float32(self.rng.uniform(0.85, 1.1)), np.float32)


def random_gripper(rng: np.random.Generator, hands: Sequence[Hand]) -> Mesh:
    """A gripper with open or closed fingers at the -y end and a forearm that ends at +y, tinted for a white texture.

    Args:
        rng: source of its shape and colours.
        hands: from `load_hands`; half of the grippers wear one, if there is any.
    """
    kit, paint = Kit(sharp=True), _Paints(rng)
    width = rng.uniform(0.7, 1.4)
    if hands and rng.random() < 0.5:
        _real_hand(kit, paint, *hands[int(rng.integers(len(hands)))])
    else:
        _made_up_hand(kit, paint, width)
    joint = np.array([0.0, rng.uniform(1.2, 2.2), 0.0])
    kit.rod([0, 0.5, 0], joint, width * rng.uniform(0.2, 0.42), paint(1))
    end = joint + np.array([rng.normal(0, 0.6), rng.uniform(2.0, 4.0), rng.normal(0, 0.6)])
    kit.rod(joint, end, width * rng.uniform(0.25, 0.5), paint(0))
    if rng.random() < 0.6:
        across = np.array([width * rng.uniform(0.3, 0.6), 0.0, 0.0])
        kit.rod(joint - across, joint + across, width * rng.uniform(0.25, 0.5), paint(2))
    return kit.mesh(yaw=rng.uniform(0, np.pi))


def _made_up_hand(kit: Kit, paint: _Paints, width: float) -> None:
    rng = paint.rng
    kit.box((width, rng.uniform(0.3, 0.8), width * rng.uniform(0.35, 0.9)), (0, 0.25, 0), paint(0))
    thick, opening = width * rng.uniform(0.1, 0.25), width * rng.uniform(0.05, 0.5)
    for sign in (-1.0, 1.0):
        knuckle, tip = sign * opening * rng.uniform(0.8, 1.5), sign * opening
        if rng.random() < 0.5:
            kit.rod([knuckle, 0.1, 0], [knuckle * 1.4, -0.4, 0], thick / 2, paint(1))
            kit.rod([knuckle * 1.4, -0.4, 0], [tip, -1, 0], thick / 2, paint(1))
        else:
            kit.box((thick, 1.0, thick * rng.uniform(1, 2)), (tip, -0.5, 0), paint(1))
        if rng.random() < 0.5:
            kit.box((thick * 0.6, 0.4, thick * 1.5), (tip - sign * thick * 0.6, -0.8, 0), paint(2))


def _real_hand(kit: Kit, paint: _Paints, hand: trimesh.Trimesh, finger: trimesh.Trimesh) -> None:
    """The Panda's hand, z towards the fingertips, made y upwards and as long as a made-up one."""
    opening, scale = paint.rng.uniform(0.002, 0.04), 1 / 0.06
    turn = import_trimesh().transformations.rotation_matrix(np.pi / 2, [1, 0, 0])  # z to -y
    for shape, sign, number in ((hand, 0, 0), (finger, 1, 1), (finger, -1, 1)):
        part = shape.copy()
        if sign:
            if sign < 0:
                part.apply_transform(import_trimesh().transformations.rotation_matrix(np.pi, [0, 0, 1]))
            part.apply_translation([0, sign * opening, _PANDA_FINGER_M])
        part.apply_transform(turn)
        part.apply_scale(scale * 0.9)
        part.apply_translation([0, 0.8, 0])
        kit.add(part, paint(number))


def lying_along(direction: Vector) -> Vector:
    """The (yaw, pitch, roll) of a solid whose own +y axis points along a world direction."""
    x, y, z = direction / np.linalg.norm(direction)
    return np.array([0.0, float(np.arctan2(z, y)), float(np.arcsin(-x))])


WHITE: FloatImage = np.full((8, 8, 3), 255, np.float32)
