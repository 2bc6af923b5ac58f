# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Objects of a folder that has masks: objects.jsonl, one line per frame.

Made from the finished masks, so a run that was stopped and resumed gives the same file as one that was not.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from m4sam_core.errors import InputError
from m4sam_core.host.files import write_text
from m4sam_core.host.journal import read_journal
from m4sam_core.objects import CameraModel, ObjectFinder, as_record
from m4sam_core.predict_folder import JOURNAL, FramePaths
from m4sam_core.rgbd.depth_files import DepthCoding, read_depth
from m4sam_core.rgbd.image_files import read_rgb
from m4sam_core.rgbd.masks import read_mask
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


def write_objects(
    frames: Sequence[FramePaths], out: Path, fps: float, info: VideoInfo, unit_m: float, coding: DepthCoding
) -> tuple[int, str | None]:
    """Write OUT/objects.jsonl from the masks in OUT.

    Args:
        frames: in order; each has its mask OUT/<stem>.png of 0 and 255.
        out: folder of masks and journal.
        fps: frames per second; sets the time stamps.
        info: of the clip.
        unit_m: length of a count of 16-bit depth. Metres.
        coding: how distance stands in the depth files.

    Returns:
        How many different objects there are, and why they have no position, None when they can have one.

    Raises:
        InputError: a file cannot be read.
    """
    scenes = {line["stem"]: int(line["scene"]) for line in read_journal(out / JOURNAL)[1:]}
    camera, note = recorded_camera(info)
    finder, lines, ids = ObjectFinder(), [], set()
    for index, frame in enumerate(frames):
        found = finder.update(
            read_mask(out / f"{frame.stem}.png"),
            None,
            None if frame.depth is None else read_depth(frame.depth, coding),
            index / fps,
            scene_id=scenes.get(frame.stem, 0),
            camera=camera,
            unit_m=unit_m,
            rgb=read_rgb(frame.rgb),
        )
        ids |= {item.id for item in found.objects}
        record = as_record(round(index / fps * 1e9), info.frame_id or "", found, scored=False)
        lines.append(json.dumps({"stem": frame.stem, **record}, allow_nan=False))
    write_text(out / OBJECTS_FILE, "".join(f"{line}\n" for line in lines))
    return len(ids), note
