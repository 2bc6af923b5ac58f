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
        outlined: part of it came as an outline, which follows a mask to about a pixel.
    """

    mask: np.ndarray
    confirmed: bool = False
    outlined: bool = False

    def is_like(self, other: np.ndarray) -> bool:
        """Whether it is another mask (H, W), uint8, as far as the way it came can tell."""
        differs = (self.mask > 0) != (other > 0)
        if self.outlined and differs.any():
            box = np.ones((_OUTLINE_PX, _OUTLINE_PX), np.uint8)
            differs &= cv2.dilate(other, box) == cv2.erode(other, box)  # away from its border
        return not differs.any()


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


def coco_masks() -> Any:
    """The module pycocotools.mask.

    Raises:
        ConfigError: it is not installed.
    """
    require("pycocotools", "label")
    from pycocotools import mask

    return mask
