# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""A person at a labelling tool: what is handed out, what is drawn in it, and the file that comes back."""

from __future__ import annotations

import json
from xml.etree import ElementTree as ET

import cv2
import numpy as np

from m4sam_core.cli.main import main
from m4sam_core.rgbd.masks import read_mask
from m4sam_training.labelling.exchange import FILES
from m4sam_training.labelling.frames import read_frames
from m4sam_training.labelling.label_studio import encode_brush

SIZE = (72, 96)


def export(data, out, *options):
    assert main(["label", "export", str(data), "--out", str(out), "--split", "train", *options]) == 0
    return list(read_frames(out).values())


def masks_of(data):
    return {path: read_mask(path) for path in sorted((data / "train").glob("*/mask/*.png"))}


def edited(frame, data):
    """A person's correction of a frame's mask."""
    mask = frame.mask(data)
    mask = np.zeros(SIZE, np.uint8) if mask is None else mask.copy()
    mask[10:31, 20:41] = 255
    mask[15:20, 25:30] = 0
    return mask


def correct(out, tool, masks):
    """The file that comes back when a person draws these masks (name -> mask) in a tool."""
    path = out / FILES[tool]
    if tool == "coco":
        from pycocotools import mask as coco

        values = json.loads(path.read_text())
        ids = {image["file_name"]: image["id"] for image in values["images"]}
        for name, mask in masks.items():
            kept = [entry for entry in values["annotations"] if entry["image_id"] != ids[name]]
            code = coco.encode(np.asfortranarray(mask > 0))
            area = {"size": code["size"], "counts": code["counts"].decode()}
            new = [{"id": 900 + ids[name], "image_id": ids[name], "category_id": 1, "segmentation": area}]
            values["annotations"] = kept + (new if mask.any() else [])
        path.write_text(json.dumps(values))
    elif tool == "cvat":
        tree = ET.parse(path)
        for image in tree.getroot().iter("image"):
            mask = masks.get(image.get("name"))
            if mask is None:
                continue
            for shape in list(image):
                image.remove(shape)
            if mask.any():  # as CVAT writes it: run lengths of the box, row by row
                left, top, width, height = cv2.boundingRect(mask)
                runs, last, count = [], 0, 0
                for value in (mask[top : top + height, left : left + width] > 0).reshape(-1).astype(int).tolist():
                    if value != last:
                        runs.append(count)
                        last, count = value, 0
                    count += 1
                box = {"left": left, "top": top, "width": width, "height": height}
                words = {"label": "salient", "source": "manual", "rle": ",".join(map(str, [*runs, count]))}
                ET.SubElement(image, "mask", {**words, **{key: str(value) for key, value in box.items()}})
        tree.write(path)
    else:
        tasks = json.loads(path.read_text())
        for task in tasks:
            mask = masks.get(task["data"]["frame"])
            task["annotations"] = []
            if mask is not None:
                size = {"original_width": mask.shape[1], "original_height": mask.shape[0]}
                value = {"format": "rle", "rle": encode_brush(mask), "brushlabels": ["salient"]}
                result = [{"type": "brushlabels", **size, "value": value}] if mask.any() else []
                task["annotations"].append({"result": result, "was_cancelled": False})
        path.write_text(json.dumps(tasks))
    return path
