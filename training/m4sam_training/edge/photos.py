# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""What the edge weights reach on real photographs without depth, against hand-drawn outlines of their subjects."""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np
import numpy.typing as npt

from m4sam_core.config import PipelineConfig
from m4sam_core.host.optional import package_folder
from m4sam_core.model.m4sam import M4SAM
from m4sam_core.pipeline import SaliencyPipeline
from m4sam_core.rgbd.image_files import read_rgb

Picture = tuple[str, npt.NDArray[np.uint8], npt.NDArray[np.uint8]]

# Polygons "x,y x,y ..." in thousandths of width and height.
_SKIMAGE = {
    "astronaut.png": "307,189 295,94 354,31 449,16 531,47 586,142 579,236 524,268 508,346 591,409 602,520 685,551 "
    "704,677 815,668 921,740 992,913 992,998 35,998 47,819 71,630 165,520 248,472 236,362 307,299 366,299 354,252",
    "camera.png": "2,693 2,472 63,346 181,268 323,220 335,157 406,126 488,157 524,220 512,277 630,277 642,394 587,441 "
    "587,598 654,592 611,646 783,976 736,945 583,677 578,945 469,992 535,677 559,614 488,598 417,583 358,677 276,740 "
    "294,998 122,998 110,709",
    "chelsea.png": "3,283 55,189 79,0 811,0 835,126 811,283 799,409 752,677 693,835 622,913 575,998 3,998",
    "coffee.png": "288,228 307,102 390,55 484,39 591,61 669,134 697,172 709,213 685,260 780,386 796,543 756,717 "
    "661,874 520,946 378,937 248,843 165,701 130,543 154,386 224,276 295,260",
    "rocket.jpg": "483,323 505,291 524,339 531,946 483,946",
}
_SKLEARN = {
    "flower.jpg": "692,520 685,603 664,680 630,747 586,798 535,830 480,841 425,830 373,798 329,747 295,680 274,603 "
    "267,520 274,437 295,359 329,293 373,241 425,209 480,198 535,209 586,241 630,293 664,359 685,437",
    "china.jpg": "318,69 335,157 417,220 500,268 507,315 488,409 512,488 524,567 547,598 535,677 535,740 578,772 "
    "559,850 535,882 323,913 264,803 205,772 157,756 157,677 106,646 134,583 162,520 157,441 146,378 181,315 "
    "150,268 252,205 304,142 304,79",
}


def photographs() -> list[Picture]:
    """Name, RGB (H, W, 3) and mask (H, W) of 0 or 255 of the pictures in scikit-image and scikit-learn.

    Raises:
        ConfigError: a package is missing.
        InputError: a picture is missing.
    """
    folders = (
        (package_folder("skimage", "scikit-image") / "data", _SKIMAGE),
        (package_folder("sklearn", "scikit-learn") / "datasets" / "images", _SKLEARN),
    )
    pictures = []
    for folder, outlines in folders:
        for name, outline in outlines.items():
            rgb = read_rgb(folder / name)
            pictures.append((name, rgb, outline_mask(outline, rgb.shape[0], rgb.shape[1])))
    return pictures


def outline_mask(outline: str, height: int, width: int) -> npt.NDArray[np.uint8]:
    """Fill a polygon "x,y x,y ..." in thousandths: (H, W) uint8, 255 inside."""
    corners = np.array([[float(value) for value in corner.split(",")] for corner in outline.split()])
    mask = np.zeros((height, width), np.uint8)
    cv2.fillPoly(mask, [np.round(corners * (width / 1000, height / 1000)).astype(np.int32)], 255)
    return mask


def score_pictures(model: M4SAM, pictures: Iterable[Picture], threads: int) -> dict[str, dict[str, float]]:
    """IoU at 0.5 and MAE of single pictures without depth, through the whole pipeline, and their mean.

    Args:
        model: the network.
        pictures: name, RGB and mask of each.
        threads: CPU threads.
    """
    pipeline = SaliencyPipeline(model, PipelineConfig(device="cpu", threads=threads))
    rows = {}
    for name, rgb, mask in pictures:
        pipeline.reset("next picture")
        prob = pipeline.process(rgb, None, 0.0).probability
        found, wanted = prob > 0.5, mask > 0
        union = max(int((found | wanted).sum()), 1)
        rows[name] = {
            "IoU": round(float((found & wanted).sum() / union), 4),
            "MAE": round(float(np.abs(prob - wanted).mean()), 4),
        }
    rows["mean"] = {key: round(float(np.mean([row[key] for row in rows.values()])), 4) for key in ("IoU", "MAE")}
    return rows
