# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""COCO instances, by pycocotools: masks as run lengths, exact to the pixel; polygons are read too."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from m4sam_core.errors import InputError
from m4sam_core.host.files import write_json
from m4sam_training.labelling.frames import LABEL, LabelFrame
from m4sam_training.labelling.returned import (
    Parsed,
    base_name,
    check_label,
    coco_masks,
    has_inner_outline,
    polygon_mask,
)

COCO_FILE = "coco.json"


class CocoWriter:
    """Images in the order in which they are added, and an annotation with `score` for each that has a mask.

    Raises:
        ConfigError: pycocotools is not installed.
    """

    def __init__(self) -> None:
        self._coco = coco_masks()
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []

    def add(self, frame: LabelFrame, mask: np.ndarray | None) -> None:
        """One frame with its mask (H, W), uint8, 0 or 255; None without one."""
        number = len(self._images) + 1
        self._images.append({"id": number, "file_name": frame.name, "height": frame.height, "width": frame.width})
        if mask is None or not mask.any():
            return
        code = self._coco.encode(np.asfortranarray(mask > 0))
        about = {} if frame.confidence is None else {"score": round(frame.confidence, 4)}
        self._annotations.append(
            {
                "id": number,
                "image_id": number,
                "category_id": 1,
                "segmentation": {"size": [frame.height, frame.width], "counts": code["counts"].decode("ascii")},
                "area": int(self._coco.area(code)),
                "bbox": [float(value) for value in self._coco.toBbox(code)],
                "iscrowd": 1,  # COCO's word for a mask that is stored as run lengths
                **about,
                "attributes": {"source": frame.source, **about},
            }
        )

    def write(self, folder: Path) -> None:
        """Write coco.json."""
        values = {
            "info": {"description": "M4-SAM: frames to label, the doubtful first"},
            "licenses": [],
            "categories": [{"id": 1, "name": LABEL, "supercategory": ""}],
            "images": self._images,
            "annotations": self._annotations,
        }
        write_json(folder / COCO_FILE, values)


def read_coco(values: dict[str, Any], salient: Collection[str]) -> Parsed:
    """Every image of a COCO file, those without annotations as empty masks.

    Args:
        values: the JSON.
        salient: names of the categories that are salient.

    Raises:
        ConfigError: pycocotools is not installed.
        InputError: it is no COCO file.
    """
    parsed = Parsed()
    try:
        names = {category["id"]: str(category["name"]) for category in values["categories"]}
        images = {image["id"]: image for image in values["images"]}
        sizes = [
            (base_name(str(image["file_name"])), int(image["height"]), int(image["width"])) for image in images.values()
        ]
        by_image: dict[Any, list[dict[str, Any]]] = {}
        for annotation in values["annotations"]:
            by_image.setdefault(annotation["image_id"], []).append(annotation)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"COCO: expected images, annotations and categories, got {error!r}; export it anew") from None
    for name, height, width in sizes:
        try:
            parsed.empty(name, height, width)
        except InputError as error:
            parsed.refuse(name, str(error))
    for key, entries in by_image.items():
        if key not in images:
            parsed.flaws.append(f"image {key}: expected an image of the file, got an annotation of none")
            continue
        name = base_name(str(images[key]["file_name"]))
        if name not in parsed.images:
            continue  # refused
        try:
            for annotation in entries:
                check_label(names.get(annotation["category_id"], "?"), salient)
                area, returned = annotation.get("segmentation"), parsed.images[name]
                returned.mask |= _decoded(area, *returned.mask.shape)
                if isinstance(area, list):
                    returned.outlined = True
                    returned.filled |= has_inner_outline(area, *returned.mask.shape)
        except (InputError, KeyError, TypeError, ValueError) as error:
            parsed.refuse(name, str(error))
    return parsed


def _decoded(segmentation: Any, height: int, width: int) -> np.ndarray:
    if isinstance(segmentation, list) and segmentation:
        return polygon_mask(segmentation, height, width)
    if not isinstance(segmentation, dict):
        raise InputError("expected a mask or a polygon, got a box alone; draw its outline")
    if list(segmentation["size"]) != [height, width]:
        raise InputError(f"expected a mask of {width}x{height}, got one of {segmentation['size'][::-1]}")
    coco = coco_masks()
    code = segmentation
    if isinstance(segmentation["counts"], list):
        if sum(segmentation["counts"]) != height * width:
            raise InputError(f"expected run lengths of {height * width} px, got {sum(segmentation['counts'])}")
        code = coco.frPyObjects(segmentation, height, width)
    return np.asarray(coco.decode(code) * 255, np.uint8)
