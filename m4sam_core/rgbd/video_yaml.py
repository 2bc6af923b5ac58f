# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""`video.yaml` beside a clip's folders: the one reader and the one writer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from m4sam_core.errors import ConfigError, InputError
from m4sam_core.host.files import whole_file
from m4sam_core.host.plain_yaml import load_yaml
from m4sam_core.rgbd.depth_values import DEFAULT_UNIT_M

VIDEO_YAML = "video.yaml"
_LARGEST = 1e6


@dataclass(frozen=True)
class VideoInfo:
    """What a clip says about itself.

    Attributes:
        fps: frames per second; None when it does not say.
        depth_unit_m: length of one count of its 16-bit depth. Metres.
        states_unit: the unit is written there, not assumed.
        frame_id: coordinate frame of its images; None when it does not say.
        intrinsics: width, height, k, d, distortion_model of the rgb camera; empty when it does not say.
        stamped: the names of its frames are their stamps in nanoseconds, however few digits they have.
        recording: what it was cut from; videos of one recording show the same place. "" when it does not say.
        labels: where its masks come from, e.g. "annotation", "pseudo: edge"; empty when it does not say.
    """

    fps: float | None = None
    depth_unit_m: float = DEFAULT_UNIT_M
    states_unit: bool = False
    frame_id: str | None = None
    intrinsics: Mapping[str, Any] | None = None
    stamped: bool = False
    recording: str = ""
    labels: tuple[str, ...] = ()


def read_video_yaml(path: Path, note: Callable[[str], None] | None = None) -> VideoInfo:
    """Read a clip's metadata; a file that is not there says nothing.

    Args:
        path: the file.
        note: takes each thing that is wrong, and the default is used; None: it is an error.

    Raises:
        InputError: with `note` None, the file is no plain YAML mapping or a value is not what it should be.
    """
    if not path.is_file():
        return VideoInfo()
    try:
        values = load_yaml(path)
    except ConfigError as error:
        if note is None:
            raise InputError(f"{error}; mend or remove it") from None
        note(f"metadata cannot be read, millimetres assumed: {str(error).replace(f'{path}: ', '', 1)}")
        return VideoInfo()
    fps, unit_m = (_number(path, values, key, note) for key in ("fps", "depth_unit_m"))
    intrinsics, frame_id = values.get("intrinsics"), values.get("frame_id")
    labels = values.get("labels")
    labels = labels if isinstance(labels, list) else [labels] if labels else []
    return VideoInfo(
        fps=fps,
        depth_unit_m=unit_m or DEFAULT_UNIT_M,
        states_unit=unit_m is not None,
        frame_id=str(frame_id) if frame_id else None,
        intrinsics=intrinsics if isinstance(intrinsics, dict) else None,
        stamped=values.get("stems") == "stamp_ns",
        recording=str(values.get("recording") or _recording_of(path, values)),
        labels=tuple(map(str, labels)),
    )


def _recording_of(path: Path, values: dict[str, Any]) -> str:
    """Of a video that was converted before it said so: its name without the number."""
    return path.parent.name.rpartition("_")[0] if "begins_with" in values else ""


def write_video_yaml(path: Path, values: Mapping[str, Any]) -> None:
    """Write a clip's metadata, whole or not at all."""
    with whole_file(path) as draft:
        draft.write_text(yaml.safe_dump(dict(values), sort_keys=False), encoding="utf-8")


def _number(path: Path, values: dict[str, Any], key: str, note: Callable[[str], None] | None) -> float | None:
    value = values.get(key)
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < _LARGEST:
        return float(value)
    if value is None:
        return None
    if note is None:
        raise InputError(f"{path}: {key}: expected a positive number, got {value!r}; mend or remove it")
    note(f"metadata is not a positive number, default used: {key}")
    return None
