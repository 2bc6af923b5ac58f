# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Looks at every file of a dataset and reports what is there and what is not as it should be."""

from __future__ import annotations

import zlib
from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from m4sam_core.errors import InputError
from m4sam_core.host.progress import tracked
from m4sam_core.rgbd.depth_files import DepthCoding, look_at_depth
from m4sam_core.rgbd.image_files import read_rgb, rgb_flaw
from m4sam_core.rgbd.masks import AUTO, MaskRule, ReadMask, understand_file
from m4sam_training.data.jpeg import is_jpeg, jpeg_damage, why_blind
from m4sam_training.data.layouts import DepthKind
from m4sam_training.data.scan import available_splits, scan_split
from m4sam_training.data.scan_checks import mixed_depth
from m4sam_training.data.videos import Frame, Irregularity, Scan, Video

_NEARNESS_FRAMES = 4  # fewer say nothing about which end of depth is near
_NEARNESS_SHARE = 0.8
_RING_PX = 9
_FARTHER, _FARTHER_SHARE = 2, 0.05  # in counts, and of the distance: noise is less


@dataclass
class SplitReport:
    """What `check_split` found.

    Attributes:
        scan: usable videos and what the reader already reported.
        depth_types: frames per pixel type of the depth file, e.g. {"uint8": 6}.
        sizes: frames per "WIDTHxHEIGHT".
        irregular: everything, the reader's items first.
        unsearched: JPEG files that could not be searched for damage inside, for want of a package.
    """

    scan: Scan
    depth_types: Counter[str] = field(default_factory=Counter)
    sizes: Counter[str] = field(default_factory=Counter)
    irregular: list[Irregularity] = field(default_factory=list)
    unsearched: int = 0

    @cached_property
    def known(self) -> set[tuple[Path, str]]:
        """What the reader already reported: path and reason."""
        return {(item.path, item.reason) for item in self.scan.irregular}

    @property
    def skipped(self) -> int:
        """Irregular items that are left out."""
        return sum(not item.used for item in self.irregular)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for a JSON file."""
        return {
            "split": self.scan.split,
            "videos": len(self.scan.videos),
            "frames": self.scan.frame_count,
            "depth_types": dict(self.depth_types),
            "sizes": dict(self.sizes),
            "jpeg_files_unsearched": self.unsearched,
            "irregular": [{"path": str(i.path), "reason": i.reason, "used": i.used} for i in self.irregular],
        }


def check_dataset(
    root: Path,
    layout: str,
    depth_kind: DepthKind = "real",
    decode: bool = True,
    masks: MaskRule = AUTO,
    coding: DepthCoding = "plain",
) -> list[SplitReport]:
    """Check every split that is there.

    Args:
        root: the dataset's folder.
        layout: a key of `LAYOUTS`.
        depth_kind: which depth maps to look at.
        decode: also decode every file; without, headers, file ends and a few files of each video are read.
        masks: which values of the ground truth are salient.
        coding: how distance stands in the depth files.

    Raises:
        ConfigError: the folder does not hold this layout.
    """
    reports = []
    for split in available_splits(root, layout):
        report = SplitReport(scan_split(root, layout, split, depth_kind, masks, coding))
        report.irregular.extend(report.scan.irregular)
        if decode:
            for video in tracked(report.scan.videos, f"decoding {split}"):
                _check_video(video, report)
        reports.append(report)
    _compare_recordings(reports)
    _compare_pictures(reports)
    return reports


def _compare_recordings(reports: list[SplitReport]) -> None:
    """Note recordings of which some videos are trained on and others judged by: they show the same place."""
    splits: dict[str, set[str]] = {}
    for report in reports:
        for video in report.scan.videos:
            if video.info.recording:
                splits.setdefault(video.info.recording, set()).add(report.scan.split)
    for report in reports:
        for video in report.scan.videos:
            places = splits.get(video.info.recording, set())
            if len(places) > 1:
                where = f"{video.info.recording} in {', '.join(sorted(places))}"
                report.irregular.append(
                    Irregularity(video.folder, f"recording is in several splits: {where}", used=True)
                )


def _compare_pictures(reports: list[SplitReport]) -> None:
    """Note videos with the very pictures of another one: judged by what was trained on, or counted twice."""
    seen: dict[tuple[int, ...], tuple[str, Video]] = {}
    for report in reports:
        for video in report.scan.videos:
            few = dict.fromkeys(video.frames[index].rgb for index in (0, len(video.frames) // 2, -1))
            try:
                pictures = (len(video.frames), *(zlib.crc32(path.read_bytes()) for path in few))
            except OSError:
                continue  # told where it is decoded
            split, first = seen.setdefault(pictures, (report.scan.split, video))
            if first is not video and not (report.scan.layout.pictures and split == report.scan.split):
                place = video.frames[0].rgb if report.scan.layout.pictures else video.folder
                reason = f"video shows the same pictures as another one: {split}/{first.name}"
                report.irregular.append(Irregularity(place, reason, used=True))


def _check_video(video: Video, report: SplitReport) -> None:
    """Decode the files of its annotated frames. A training run skips the clip of a file that fails here."""
    farther: list[bool] = []
    ids: set[float] = set()
    types: set[str] = set()
    before = len(report.irregular)
    for frame in video.annotated:
        depth, read = _check_frame(frame, video, report, types)
        mask = None if read is None else read.mask
        if read is not None and read.dim_value is not None:
            ids.add(read.dim_value)
        if depth is not None and mask is not None and depth.dtype.kind == "u" and depth.shape == mask.shape:
            farther += _salient_is_farther(depth, mask)
    mixed = mixed_depth(types)
    if mixed is not None and (video.folder, mixed) not in report.known:
        report.irregular.insert(before, Irregularity(video.folder, mixed, used=True))
    if len(ids) > 1:
        reason = "masks of several class ids, each is taken for salient, say which with --mask-values"
        report.irregular.insert(before, Irregularity(video.folder, reason, used=True))  # above those of its files
    if len(farther) >= _NEARNESS_FRAMES and np.mean(farther) >= _NEARNESS_SHARE:
        place = next(frame.depth for frame in video.annotated if frame.depth is not None)
        reason = "depth may be bright where it is near, see --depth-coding near_bright: what is salient is farther"
        report.irregular.append(Irregularity(place.parent, reason, used=True))


def _check_frame(
    frame: Frame, video: Video, report: SplitReport, types: set[str]
) -> tuple[np.ndarray | None, ReadMask | None]:
    """The depth map and the mask, where they can be decoded; `types` receives that of depth which has no other flaw."""
    depth: np.ndarray | None = None
    mask: ReadMask | None = None

    def note(path: Path, reason: str, used: bool) -> None:
        if (path, reason) not in report.known:
            report.irregular.append(Irregularity(path, reason, used))

    for role, path in (("rgb", frame.rgb), ("depth", frame.depth), ("mask", frame.mask)):
        if path is None:
            continue
        flaw: str | None = None
        try:
            if role == "rgb":
                image = read_rgb(path)
                flaw = rgb_flaw(path)
                report.sizes[f"{image.shape[1]}x{image.shape[0]}"] += 1
            elif role == "depth":
                file = look_at_depth(path, video.coding)
                depth, flaw = file.depth, file.flaw
                types.update([] if flaw else [str(depth.dtype)])
                report.depth_types[str(depth.dtype)] += 1
            else:
                mask = understand_file(path, video.masks)
                flaw = mask.note
        except InputError as error:
            problem = (
                "cannot be understood" if role == "mask" and "--mask-values" in str(error) else "cannot be decoded"
            )
            note(path, f"{problem}: {error}", False)
            continue
        if is_jpeg(path):
            if why_blind() is None:
                damage = jpeg_damage(path)
                if damage is not None:
                    note(path, f"jpeg is damaged inside, its decoder makes up the rest: {damage}", True)
            else:
                report.unsearched += 1
        if flaw is not None:
            note(path, flaw, True)
    return depth, mask


def _salient_is_farther(depth: np.ndarray, mask: np.ndarray) -> list[bool]:
    """Whether the salient region lies behind what surrounds it; [] where that cannot be told."""
    ring = cv2.dilate(mask, np.ones((2 * _RING_PX + 1,) * 2, np.uint8)) & ~mask
    inside, around = depth[(mask > 0) & (depth > 0)], depth[(ring > 0) & (depth > 0)]
    if inside.size < _RING_PX**2 or around.size < _RING_PX**2:
        return []
    behind = float(np.median(inside)) - float(np.median(around))
    return [behind > max(_FARTHER, _FARTHER_SHARE * float(np.median(around)))]
