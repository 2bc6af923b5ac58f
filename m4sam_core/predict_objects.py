# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Objects of a folder: objects.jsonl, one line per frame.

Found while the masks are made and kept in the run's journal, so a run that was stopped and resumed gives the same file
as one that was not.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from m4sam_core.errors import InputError
from m4sam_core.host.files import write_text
from m4sam_core.host.journal import read_journal
from m4sam_core.objects import CameraModel, ObjectFinder, as_record
from m4sam_core.predict_folder import JOURNAL, NOTES
from m4sam_core.result import SaliencyResult
from m4sam_core.rgbd.video_yaml import VideoInfo

OBJECTS_FILE = "objects.jsonl"


def recorded_camera(info: VideoInfo) -> tuple[CameraModel | None, str | None]:
    """The camera of a clip's video.yaml, or None and why there is none."""
    values = info.intrinsics
    if values is None:
        return None, "video.yaml states no intrinsics: objects have no position"
    try:
        k = [float(value) for value in values["k"]]
        width, height = int(values["width"]), int(values["height"])
        d = [float(value) for value in values.get("d") or ()]
        if len(k) != 9:
            raise ValueError(f"k of {len(k)} numbers")
    except (KeyError, TypeError, ValueError) as error:
        return None, f"video.yaml intrinsics: expected width, height and k (9 numbers), got {error}"
    try:
        return CameraModel.from_info(width, height, k, d, str(values.get("distortion_model") or "plumb_bob")), None
    except InputError as error:
        return None, str(error)


class ObjectNotes:
    """The objects of each frame of a folder, as the node finds them: with the probabilities of the run itself.

    A `FrameNotes` for `predict_folder`.

    Args:
        info: of the clip.
        unit_m: length of a count of 16-bit depth. Metres.
        first_ns: stamp of the first frame, which a frame's own time is added to. Nanoseconds.

    Attributes:
        lack: why objects have no position, None when they can have one.
    """

    def __init__(self, info: VideoInfo, unit_m: float, first_ns: int = 0) -> None:
        self._info, self._unit_m, self._first_ns = info, unit_m, first_ns
        self._camera, self.lack = recorded_camera(info)
        self._finder = ObjectFinder()

    @property
    def about(self) -> Mapping[str, Any]:
        """What positions depend on."""
        return {"intrinsics": self._info.intrinsics, "frame_id": self._info.frame_id, "unit_m": self._unit_m}

    def resume(self, done: Sequence[Mapping[str, Any]]) -> None:
        """Number on where finished scenes have ended."""
        given = ((line["scene"], item["id"]) for line in done for item in line[NOTES]["objects"])
        self._finder.number_after(max(given, default=(0, 0))[1])

    def note(
        self, rgb: NDArray[np.uint8], depth: NDArray[Any] | None, stamp_s: float, scene: int, result: SaliencyResult
    ) -> dict[str, Any]:
        """A line of objects.jsonl."""
        found = self._finder.update(
            result.mask, result.probability, depth, stamp_s,
            scene_id=scene, camera=self._camera, unit_m=self._unit_m, rgb=rgb, depth_doubt=result.depth_doubt,
        )  # fmt: skip
        return as_record(self._first_ns + round(stamp_s * 1e9), self._info.frame_id or "", found)


def write_objects(out: Path) -> int:
    """Write OUT/objects.jsonl from the journal of a run with `ObjectNotes`; returns how many objects there are."""
    lines = read_journal(out / JOURNAL)[1:]
    records = (json.dumps({"stem": line["stem"], **line[NOTES]}, allow_nan=False) for line in lines)
    write_text(out / OBJECTS_FILE, "".join(f"{record}\n" for record in records))
    return len({item["id"] for line in lines for item in line[NOTES]["objects"]})
