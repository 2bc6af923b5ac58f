# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""What came back from a labelling tool, whatever its format."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

import cv2
import numpy as np

from m4sam_core.errors import InputError
from m4sam_core.host.optional import require

_MOST_PX = 64_000_000
_OUTLINE_PX = 5  # side of the square around a border's pixel in which its outline runs
_FARTHEST_SIDES = 10  # pycocotools walks along every edge, and takes what is no number for endless


@dataclass
class Returned:
    """One image of a tool's file.

    Attributes:
        mask (H, W): uint8, 0 or 255; the union of everything salient in it.
        confirmed: the tool says that a person made or submitted it.
        outlined: part of it came as an outline, which follows a mask to about a pixel and knows no holes.
        filled: an outline in it lies inside another one of the same object: nothing more, or meant as a hole.
    """

    mask: np.ndarray
    confirmed: bool = False
    outlined: bool = False
    filled: bool = False

    def is_like(self, other: np.ndarray) -> bool:
        """Whether it is another mask (H, W), uint8, as far as the way it came can tell."""
        differs = (self.mask > 0) != (other > 0)
        if self.outlined and differs.any():
            return self._follows(other) or self._follows(_without_holes(other))
        return not differs.any()

    def _follows(self, other: np.ndarray) -> bool:
        box = np.ones((_OUTLINE_PX, _OUTLINE_PX), np.uint8)
        inside = cv2.dilate(other, box) == cv2.erode(other, box)  # away from its border
        return not (((self.mask > 0) != (other > 0)) & inside).any()


@dataclass
class Parsed:
    """A tool's file.

    Attributes:
        images: by the name of the image, without folders.
        flaws: what could not be used, one line each; the image is then not in `images`.
        several: images that more than one person submitted.
    """

    images: dict[str, Returned] = field(default_factory=dict)
    flaws: list[str] = field(default_factory=list)
    several: int = 0
    _seen: set[str] = field(default_factory=set)

    def empty(self, name: str, height: int, width: int) -> Returned:
        """The image of that name, begun as one in which nothing is salient.

        Raises:
            InputError: there was one of that name, or it has no sensible size.
        """
        if name in self._seen:
            raise InputError("expected one image of that name, got several; name them apart, or export one of them")
        self._seen.add(name)
        if min(height, width) < 0 or height * width > _MOST_PX:
            raise InputError(f"expected an image of at most {_MOST_PX} px, got {width}x{height}")
        return self.images.setdefault(name, Returned(np.zeros((height, width), np.uint8)))

    def refuse(self, name: str, reason: str) -> None:
        """Leave an image out."""
        self.flaws.append(f"{name}: {reason}")
        self.images.pop(name, None)


def base_name(path: str) -> str:
    """An image's name without folders."""
    return PurePosixPath(path.replace("\\", "/")).name


def check_label(label: str, salient: Collection[str]) -> None:
    """Refuse a label that the user did not name.

    Raises:
        InputError: it is none of them.
    """
    if label not in salient:
        raise InputError(f"expected the label {' or '.join(sorted(salient))}, got {label!r}; say which with --label")


def polygon_mask(points: list[list[float]], height: int, width: int) -> np.ndarray:
    """Mask (H, W), uint8, 0 or 255, of polygons given as x, y, x, y, ... in pixels, by COCO's own rules.

    Raises:
        ConfigError: pycocotools is not installed.
        InputError: fewer than three corners, corners that are nowhere near the image, or no pixel inside.
    """
    coco = coco_masks()
    if any(len(polygon) < 6 or len(polygon) % 2 for polygon in points):
        raise InputError("expected polygons of at least three corners, got fewer")
    farthest = _FARTHEST_SIDES * max(height, width)
    if not all(abs(value) <= farthest for polygon in points for value in polygon):
        raise InputError(f"expected corners in pixels, within {farthest} of the image, got others")
    mask = np.asarray(coco.decode(coco.merge(coco.frPyObjects(points, height, width))) * 255, np.uint8)
    if not mask.any():
        raise InputError("expected an outline with pixels inside, got one around none")
    return mask


def has_inner_outline(points: list[list[float]], height: int, width: int) -> bool:
    """Whether one of an object's polygons lies inside another one, which adds nothing to it.

    Args:
        points: good ones, as for `polygon_mask`.
        height: of the image. Pixels.
        width: of the image. Pixels.
    """
    if len(points) < 2:
        return False
    coco = coco_masks()
    codes = coco.frPyObjects(points, height, width)
    areas = np.asarray(coco.area(codes), np.int64)
    shares = np.asarray(coco.iou(codes, codes, [1] * len(codes)))  # of the first one's pixels, those in the second
    return bool(((shares >= 1) & (areas[:, None] < areas[None]) & (areas[:, None] > 0)).any())


def _without_holes(mask: np.ndarray) -> np.ndarray:
    outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return np.asarray(cv2.drawContours(np.zeros_like(mask), outlines, -1, 255, cv2.FILLED))


def coco_masks() -> Any:
    """The module pycocotools.mask.

    Raises:
        ConfigError: it is not installed.
    """
    require("pycocotools", "label")
    from pycocotools import mask

    return mask
