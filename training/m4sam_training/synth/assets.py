# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""What the rich generator works with, from a folder: photos/ for textures, cutouts/ (RGBA) and meshes/ for objects.

docs/models.md lists where the pictures of the packaged model come from, and their licences.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Literal, TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from m4sam_core.errors import InputError
from m4sam_training.synth.models.people import load_people
from m4sam_training.synth.models.robots import load_hands
from m4sam_training.synth.scene import SceneStyle
from m4sam_training.synth.solids import load_mesh

T = TypeVar("T")
PICTURES = (".jpg", ".jpeg", ".png", ".webp")
RICH_STYLE = SceneStyle(
    photo_share=0.5,
    cutout_share=0.75,
    solid_share=0.45,
    backdrop_share=0.3,
    arm_share=0.15,
    distractors=8,
    border_share=0.45,
    pale_share=0.4,
)
_HELD_OUT_EVERY = 8
_CLUTTER_EVERY = 4  # so many photographs are plenty, and more would not fit beside others into a small machine's memory
_SYMBOLS = ("fe0f-20e3", "1f1e6", "1f1f", "1f3fb", "1f3fd", "1f3fe", "1f3ff", "200d-2640", "200d-2642")


def load_style(folder: str | Path, part: Literal["train", "held_out"], base: SceneStyle = RICH_STYLE) -> SceneStyle:
    """A scene style that uses a folder's pictures; every eighth picture is kept for the held-out part.

    Training scenes have made-up solids; held-out ones have the folder's meshes, and another depth camera.

    Args:
        folder: holds photos/, cutouts/ and meshes/; backdrops.txt names the photographs without a subject. May hold
            people/, hands/, stills/ and clutter/ too, for what plain rooms do not have.
        part: which share of the pictures to use.
        base: shares and counts.

    Raises:
        InputError: the folder lacks photos or cut-outs.
    """
    root = Path(folder)
    photo_paths, cutout_paths = _split(root / "photos", part), _split(root / "cutouts", part)
    cutout_paths = [path for path in cutout_paths if not any(mark in path.stem for mark in _SYMBOLS)]
    if not photo_paths or not cutout_paths:
        raise InputError(
            f"{root}: expected pictures in photos/ and cutouts/, found none; run `m4sam edge assets` first"
        )
    listing = root / "backdrops.txt"
    scenic = set(listing.read_text(encoding="utf-8").split()) if listing.is_file() else set()
    return replace(
        base,
        photos=[_read(path, cv2.IMREAD_COLOR) for path in photo_paths],
        backdrops=[_read(path, cv2.IMREAD_COLOR) for path in photo_paths if path.stem in scenic],
        cutouts=[picture for path in cutout_paths if (picture := _read(path, cv2.IMREAD_UNCHANGED)).shape[2] == 4],
        meshes=[load_mesh(path) for path in sorted((root / "meshes").glob("*.obj"))] if part == "held_out" else (),
        sensors=("structured_light", "tof") if part == "train" else ("stereo",),
        people=_share(load_people(root / "people"), part),
        hands=load_hands(root / "hands"),
        stills=[_read(path, cv2.IMREAD_UNCHANGED) for path in _share(sorted((root / "stills").glob("*.png")), part)],
        clutter=[
            _read(path, cv2.IMREAD_COLOR)
            for path in _share(sorted((root / "clutter").glob("*.jpg")), part)[::_CLUTTER_EVERY]
        ],
    )


def _share(things: list[T], part: Literal["train", "held_out"]) -> list[T]:
    """Every eighth is held out."""
    return [thing for rank, thing in enumerate(things) if (rank % _HELD_OUT_EVERY == 0) == (part == "held_out")]


def _split(folder: Path, part: Literal["train", "held_out"]) -> list[Path]:
    """Every eighth picture is held out; views of one panorama (`name_0`, `name_1`, ...) stay together."""
    paths = sorted(path for path in folder.glob("*") if path.suffix.lower() in PICTURES)
    groups = {path: re.sub(r"_\d$", "", path.stem) for path in paths}
    rank = {group: index for index, group in enumerate(sorted(set(groups.values())))}
    return [path for path in paths if (rank[groups[path]] % _HELD_OUT_EVERY == 0) == (part == "held_out")]


def _read(path: Path, mode: int) -> npt.NDArray[np.uint8]:
    picture = cv2.imread(str(path), mode)
    if picture is None:
        raise InputError(f"{path}: expected a picture, could not decode it; delete the file")
    order = cv2.COLOR_BGRA2RGBA if picture.ndim == 3 and picture.shape[2] == 4 else cv2.COLOR_BGR2RGB
    return np.asarray(cv2.cvtColor(picture, order), np.uint8)
