# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""What weights reach on real pictures of one's own, by the size of what is salient and by how they fail."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from m4sam_core.config import PipelineConfig
from m4sam_core.errors import InputError
from m4sam_core.model.m4sam import M4SAM
from m4sam_core.pipeline import SaliencyPipeline
from m4sam_core.rgbd.image_files import read_rgb
from m4sam_core.rgbd.pictures import contact_sheet, draw_overlay, fit_picture

SIZES = ((0.0, 0.03), (0.03, 0.1), (0.1, 0.3), (0.3, 1.0))  # of the picture
_GOOD, _HALF = 0.75, 0.5


class RealPicture(NamedTuple):
    """A picture: rgb (H, W, 3), depth (H, W) in counts of a millimetre or None, mask (H, W) of 0 and 255."""

    name: str
    rgb: npt.NDArray[np.uint8]
    depth: npt.NDArray[Any] | None
    mask: npt.NDArray[np.uint8]


class Verdict(NamedTuple):
    """How one picture went.

    Attributes:
        picture: which.
        found (H, W): uint8, 0 or 255.
        iou, mae: overlap at 0.5 and mean absolute error.
        kind: "good" (IoU .75 or more), "missed" (less than half of it found), "too much" (more than half of what was
            found is wrong), or "inexact".
    """

    picture: RealPicture
    found: npt.NDArray[np.uint8]
    iou: float
    mae: float
    kind: str


def real_pictures(folder: Path) -> list[RealPicture]:
    """The pictures NAME/rgb.png, NAME/gt.png and, where it is there, NAME/depth.png of a folder.

    Raises:
        InputError: none there, or one that cannot be read.
    """
    names = sorted(path.parent.name for path in folder.glob("*/gt.png"))
    if not names:
        raise InputError(f"{folder}: expected folders with rgb.png and gt.png, found none; give another folder")
    return [_read(folder / name) for name in names]


def _read(folder: Path) -> RealPicture:
    rgb, depth_file = read_rgb(folder / "rgb.png"), folder / "depth.png"
    mask = cv2.imread(str(folder / "gt.png"), cv2.IMREAD_GRAYSCALE)
    if mask is None or mask.shape != rgb.shape[:2]:
        raise InputError(f"{folder}/gt.png: expected a mask of {rgb.shape[:2]}, got another size or no picture")
    depth = cv2.imread(str(depth_file), cv2.IMREAD_UNCHANGED) if depth_file.is_file() else None
    return RealPicture(folder.name, rgb, depth, np.asarray((mask > 0) * 255, np.uint8))


def judge(model: M4SAM, pictures: Iterable[RealPicture], threads: int) -> list[Verdict]:
    """Run every picture through the whole pipeline, each as a scene of its own.

    Args:
        model: the network.
        pictures: from `real_pictures`.
        threads: CPU threads.
    """
    pipeline = SaliencyPipeline(model, PipelineConfig(device="cpu", threads=threads))
    verdicts = []
    for picture in pictures:
        pipeline.reset("next picture")
        prob = pipeline.process(picture.rgb, picture.depth, 0.0).probability
        found, wanted = prob > 0.5, picture.mask > 0
        both, either = int((found & wanted).sum()), int((found | wanted).sum())
        iou = both / either if either else 1.0
        verdicts.append(
            Verdict(
                picture,
                np.asarray(found * 255, np.uint8),
                iou,
                float(np.abs(prob - wanted).mean()),
                _kind(iou, both, int(found.sum()), int(wanted.sum())),
            )
        )
    return verdicts


def _kind(iou: float, both: int, found: int, wanted: int) -> str:
    if iou >= _GOOD:
        return "good"
    if both < _HALF * wanted:
        return "missed"
    return "too much" if both < _HALF * found else "inexact"


def rows(verdicts: list[Verdict]) -> dict[str, dict[str, float]]:
    """Mean IoU, MAE and number of pictures: of all, by size of what is salient, by kind of failure."""
    groups = {"all": verdicts}
    for low, high in SIZES:
        name = f"{low:.0%} to {high:.0%} of the picture"
        groups[name] = [v for v in verdicts if low <= float((v.picture.mask > 0).mean()) < high]
    for kind in ("good", "inexact", "too much", "missed"):
        groups[kind] = [verdict for verdict in verdicts if verdict.kind == kind]
    return {
        name: {
            "IoU": round(float(np.mean([verdict.iou for verdict in group])), 4),
            "MAE": round(float(np.mean([verdict.mae for verdict in group])), 4),
            "pictures": len(group),
        }
        for name, group in groups.items()
        if group
    }


def worst_sheet(verdicts: list[Verdict], count: int = 12) -> npt.NDArray[np.uint8]:
    """A sheet of the worst pictures, what was found beside what was wanted."""
    tiles = []
    for verdict in sorted(verdicts, key=lambda verdict: verdict.iou)[:count]:
        picture = verdict.picture
        tiles.append(
            draw_overlay(picture.rgb, verdict.found, caption=f"{picture.name} {verdict.iou:.2f} {verdict.kind}")
        )
        tiles.append(draw_overlay(picture.rgb, picture.mask, color=(90, 230, 90), caption="wanted"))
    return contact_sheet([fit_picture(tile, 320, 240) for tile in tiles], columns=6)
