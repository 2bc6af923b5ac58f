# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Label Studio: tasks with predictions and their score; brush masks in its own run lengths.

The code of a brush is thi.ng's rle-pack over the picture's R, G, B and A, row by row: 32 bit count of values, 5 bit
size of a value - 1, four times 4 bit of the sizes of run lengths - 1; then, for each run, one bit (1: one value
repeated, 0: that many values), two bits that choose a size, the length - 1, and the value or values. Label Studio's own
converter brings a web client and more; a test compares with it where it is installed.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np

from m4sam_core.errors import InputError
from m4sam_core.host.files import write_json, write_text
from m4sam_training.labelling.frames import LABEL, LabelFrame
from m4sam_training.labelling.returned import Parsed, base_name, check_label, polygon_mask

CONFIG = f"""<View>
  <Header value="$frame"/>
  <BrushLabels name="mask" toName="image">
    <Label value="{LABEL}" background="#00ff00"/>
  </BrushLabels>
  <Image name="image" value="$image" zoom="true"/>
</View>
"""
LABEL_STUDIO_FILE, LABEL_STUDIO_CONFIG_FILE = "label_studio.json", "label_studio_config.xml"
_NO_REGIONS = ("choices", "textarea", "rating", "number", "taxonomy", "datetime", "pairwise", "relation")
_POINTS = "keypointlabels"
_SIZES = (3, 4, 8, 16)
_CHANNELS = 4
_MAX_VALUES = 1 << 28


class LabelStudioWriter:
    """Tasks in the order in which they are added; sort by prediction score to get that order in the data manager.

    Args:
        address: what the images' names are appended to.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        self._tasks: list[dict[str, Any]] = []

    def add(self, frame: LabelFrame, mask: np.ndarray | None) -> None:
        """One frame with its mask (H, W), uint8, 0 or 255; None without one."""
        about = {"image": self._address + frame.name, "frame": frame.name, "confidence": frame.confidence}
        task: dict[str, Any] = {"data": {**about, "source": frame.source}, "predictions": []}
        if mask is not None:
            result = [_brush(mask)] if mask.any() else []
            score = {} if frame.confidence is None else {"score": round(frame.confidence, 4)}
            task["predictions"].append({"model_version": frame.source, **score, "result": result})
        self._tasks.append(task)

    def write(self, folder: Path) -> None:
        """Write label_studio.json and the labelling interface beside it."""
        write_json(folder / LABEL_STUDIO_FILE, self._tasks)
        write_text(folder / LABEL_STUDIO_CONFIG_FILE, CONFIG)


def read_label_studio(tasks: list[dict[str, Any]], salient: Collection[str]) -> Parsed:
    """What people submitted; tasks without an annotation are left out, as are predictions.

    Of several submissions that marked as ground truth counts, else the latest.

    Args:
        tasks: an export in the format JSON.
        salient: names of the labels that are salient.

    Raises:
        InputError: it is no such export.
    """
    parsed = Parsed()
    for task in tasks:
        if not isinstance(task, dict) or not _is_task(task.get("data"), task.get("annotations")):
            raise InputError("Label Studio: expected tasks with data and annotations, got others; export as JSON")
        name = _name(task["data"])
        done = [entry for entry in task["annotations"] if not entry.get("was_cancelled")]
        if not done:
            continue
        parsed.several += len(done) > 1
        chosen = [entry for entry in done if entry.get("ground_truth")] or done
        latest = max(chosen, key=lambda entry: str(entry.get("updated_at") or entry.get("created_at") or ""))
        try:
            _add(parsed, name, latest.get("result") or [], salient)
        except (InputError, LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
            parsed.refuse(name, str(error) or type(error).__name__)
    return parsed


def _is_task(data: Any, annotations: Any) -> bool:
    if not isinstance(data, dict) or not isinstance(annotations, list):
        return False
    return all(isinstance(entry, dict) for entry in annotations)


def _name(data: dict[str, Any]) -> str:
    """Of a task's image: as it was exported, else the end of its address, which may be a query."""
    if data.get("frame"):
        return base_name(str(data["frame"]))
    place, _, query = str(data.get("image") or "").partition("?")
    return base_name(unquote(query.removeprefix("d=") if query.startswith("d=") else place))


def _add(parsed: Parsed, name: str, results: list[dict[str, Any]], salient: Collection[str]) -> None:
    returned = None
    regions = [result for result in results if str(result.get("type", "")).lower() not in _NO_REGIONS]
    for result in regions:
        kind = str(result.get("type", "")).lower()
        if kind == _POINTS and len(regions) > sum(str(each.get("type", "")).lower() == _POINTS for each in regions):
            continue  # where a magic wand was told to draw
        if kind not in ("brushlabels", "polygonlabels"):
            raise InputError(f"expected brush or polygon labels, got {kind or 'none'}; draw with the brush")
        if result.get("image_rotation"):
            raise InputError(
                f"expected marks on the image as it is stored, got some on one turned by {result['image_rotation']} "
                "degrees; turn it back and draw anew"
            )
        height, width = int(result["original_height"]), int(result["original_width"])
        if returned is None:
            returned = parsed.empty(name, height, width)
        if returned.mask.shape != (height, width):
            raise InputError(f"expected marks on {returned.mask.shape[::-1]} px, got some on {width}x{height}")
        for label in result["value"][kind]:
            check_label(label, salient)
        if kind == "brushlabels":
            returned.mask |= np.where(decode_brush(result["value"]["rle"], height, width) > 127, 255, 0).astype(
                np.uint8
            )
        else:
            corners = np.asarray(result["value"]["points"], np.float64) * (width / 100, height / 100)
            returned.mask |= polygon_mask([corners.reshape(-1).tolist()], height, width)
            returned.outlined = True
    if returned is None:  # submitted with nothing in it; the size is the frame's
        returned = parsed.empty(name, 0, 0)
    returned.confirmed = True


def _brush(mask: np.ndarray) -> dict[str, Any]:
    height, width = mask.shape
    return {
        "id": LABEL,
        "from_name": "mask",
        "to_name": "image",
        "type": "brushlabels",
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "value": {"format": "rle", "rle": encode_brush(mask), "brushlabels": [LABEL]},
    }


def encode_brush(mask: np.ndarray) -> list[int]:
    """A brush's code, as bytes, of a mask (H, W) uint8."""
    values = np.repeat(mask.reshape(-1), _CHANNELS)
    ends = np.append(np.flatnonzero(values[1:] != values[:-1]) + 1, values.size)
    parts = [f"{values.size:032b}", "00111", *(f"{size - 1:04b}" for size in _SIZES)]
    start = 0
    for end in ends.tolist():
        value = f"{int(values[start]):08b}"
        while start < end:
            length = min(end - start, 1 << _SIZES[-1])
            which = next(index for index, size in enumerate(_SIZES) if length <= 1 << size)
            parts.append(f"1{which:02b}{length - 1:0{_SIZES[which]}b}{value}")
            start += length
    bits = "".join(parts)
    bits += "0" * (-len(bits) % 8)
    return list(int(bits, 2).to_bytes(len(bits) // 8, "big"))


def decode_brush(code: Sequence[int], height: int, width: int) -> np.ndarray:
    """The opacity (H, W), uint8, in a brush's code.

    Raises:
        InputError: damaged, or of another size.
    """
    data = bytes(code)
    bits = f"{int.from_bytes(data, 'big'):0{8 * len(data)}b}" if data else ""
    at = 0

    def read(count: int) -> int:
        nonlocal at
        at += count
        if at > len(bits):
            raise InputError("expected a whole brush mask, got one that ends early; export it anew")
        return int(bits[at - count : at], 2)

    total, word = read(32), read(5) + 1
    sizes = [read(4) + 1 for _ in _SIZES]
    if total != height * width * _CHANNELS or total > _MAX_VALUES:
        raise InputError(f"expected a brush mask of {width}x{height} px, got {total / _CHANNELS:g} px")
    out = np.zeros(total, np.uint8)
    done = 0
    while done < total:
        repeated = read(1)
        end = done + 1 + read(sizes[read(2)])
        if repeated:
            out[done:end] = read(word) & 255
        else:
            for place in range(done, min(end, total)):
                out[place] = read(word) & 255
        done = end
    return out.reshape(height, width, _CHANNELS)[..., 3]
