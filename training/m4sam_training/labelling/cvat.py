# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""CVAT for images 1.1: an XML file with a mask in run lengths for each image."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np

from m4sam_core.errors import InputError
from m4sam_core.host.files import write_text
from m4sam_training.labelling.frames import LABEL, LabelFrame
from m4sam_training.labelling.returned import Parsed, base_name, check_label, polygon_mask

CVAT_FILE = "cvat.xml"
_ENTITY = re.compile(r"<!(DOCTYPE|ENTITY)", re.IGNORECASE)


class CvatWriter:
    """The file for "Upload annotations"; the confidence is an attribute of each mask."""

    def __init__(self) -> None:
        self._root = ET.Element("annotations")
        ET.SubElement(self._root, "version").text = "1.1"
        task = ET.SubElement(ET.SubElement(self._root, "meta"), "task")
        label = ET.SubElement(ET.SubElement(task, "labels"), "label")
        ET.SubElement(label, "name").text = LABEL
        self._frames = 0

    def add(self, frame: LabelFrame, mask: np.ndarray | None) -> None:
        """One frame with its mask (H, W), uint8, 0 or 255; None without one."""
        size = {"width": str(frame.width), "height": str(frame.height)}
        image = ET.SubElement(self._root, "image", {"id": str(self._frames), "name": frame.name, **size})
        self._frames += 1
        if mask is None or not mask.any():
            return
        place = {key: str(value) for key, value in _boxed(mask).items()}
        fixed = {"label": LABEL, "source": "auto", "occluded": "0", "z_order": "0"}
        shape = ET.SubElement(image, "mask", {**fixed, **place})
        if frame.confidence is not None:
            ET.SubElement(shape, "attribute", {"name": "confidence"}).text = f"{frame.confidence:.4f}"

    def write(self, folder: Path) -> None:
        """Write cvat.xml."""
        ET.indent(self._root)
        write_text(folder / CVAT_FILE, ET.tostring(self._root, encoding="unicode", xml_declaration=True) + "\n")


def read_cvat(text: str, salient: Collection[str]) -> Parsed:
    """Every image of a file, those without shapes as empty masks.

    Args:
        text: the XML.
        salient: names of the labels that are salient.

    Raises:
        InputError: it is no such file.
    """
    if _ENTITY.search(text):
        raise InputError("CVAT: expected plain XML, got one that declares entities; export it anew")
    try:
        root = ET.fromstring(text)
    except ET.ParseError as error:
        raise InputError(f"CVAT: expected XML, got {error}; export it anew") from None
    if root.tag != "annotations" or root.find("track") is not None:
        raise InputError(f"CVAT: expected 'CVAT for images 1.1', got <{root.tag}>, or tracks; export in that format")
    parsed = Parsed()
    for image in root.iter("image"):
        name = base_name(image.get("name", ""))
        try:
            height, width = int(image.get("height", "")), int(image.get("width", ""))
            returned = parsed.empty(name, height, width)
            for shape in image:
                if shape.tag == "tag":
                    continue
                check_label(shape.get("label", ""), salient)
                returned.mask |= _drawn(shape, height, width)
                returned.confirmed |= shape.get("source") == "manual"
                returned.outlined |= shape.tag == "polygon"
        except (InputError, ValueError, OverflowError) as error:
            parsed.refuse(name, str(error))
    return parsed


def _boxed(mask: np.ndarray) -> dict[str, int | str]:
    """Run lengths of the mask's box, row by row, background first."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    top, left = int(rows[0]), int(columns[0])
    part = mask[top : rows[-1] + 1, left : columns[-1] + 1] > 0
    flat = np.concatenate([[False], part.reshape(-1)])
    ends = np.flatnonzero(flat[1:] != flat[:-1])
    runs = np.diff([0, *ends, part.size])
    return {
        "rle": ", ".join(map(str, runs.tolist())),
        "left": left,
        "top": top,
        "width": part.shape[1],
        "height": part.shape[0],
    }


def _drawn(shape: ET.Element, height: int, width: int) -> np.ndarray:
    if shape.tag == "polygon":
        points = [float(number) for number in re.split("[;,]", shape.get("points", ""))]
        return polygon_mask([points], height, width)
    if shape.tag != "mask":
        raise InputError(f"expected masks or polygons, got a {shape.tag}; draw its outline")
    left, top, wide, high = (int(float(shape.get(key, ""))) for key in ("left", "top", "width", "height"))
    runs = np.array([int(float(run)) for run in shape.get("rle", "").split(",")])
    fits = 0 <= left <= left + wide <= width and 0 <= top <= top + high <= height
    if not fits or (runs < 0).any() or runs.sum() != wide * high:
        raise InputError(f"expected a mask inside {width}x{height} of {wide * high} px, got {int(runs.sum())} px")
    inside = np.repeat(np.arange(runs.size) % 2 * 255, runs).astype(np.uint8)
    mask = np.zeros((height, width), np.uint8)
    mask[top : top + high, left : left + wide] = inside.reshape(high, wide)
    return mask
