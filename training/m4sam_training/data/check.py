"""Looks at every file of a dataset and reports what is there and what is not as it should be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from m4sam_core.errors import InputError
from m4sam_core.rgbd.image_files import read_depth, read_grey, read_rgb
from m4sam_training.data.layouts import DepthKind
from m4sam_training.data.scan import Frame, Irregularity, Scan, available_splits, scan_split

_SOFT_SHARE = 0.02


@dataclass
class SplitReport:
    """What `check_split` found.

    Attributes:
        scan: usable videos and what the reader already reported.
        depth_types: frames per pixel type of the depth file, e.g. {"uint8": 6}.
        sizes: frames per "WIDTHxHEIGHT".
        irregular: everything, the reader's items first.
    """

    scan: Scan
    depth_types: Counter[str] = field(default_factory=Counter)
    sizes: Counter[str] = field(default_factory=Counter)
    irregular: list[Irregularity] = field(default_factory=list)

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
            "irregular": [{"path": str(i.path), "reason": i.reason, "used": i.used} for i in self.irregular],
        }


def check_dataset(root: Path, layout: str, depth_kind: DepthKind = "real", decode: bool = True) -> list[SplitReport]:
    """Check every split that is there.

    Args:
        root: the dataset's folder.
        layout: a key of `LAYOUTS`.
        depth_kind: which depth maps to look at.
        decode: also decode every file; without, only headers and file ends are read.

    Raises:
        ConfigError: the folder does not hold this layout.
    """
    reports = []
    for split in available_splits(root, layout):
        report = SplitReport(scan_split(root, layout, split, depth_kind))
        report.irregular.extend(report.scan.irregular)
        if decode:
            for frame in _annotated(report.scan):
                _check_frame(frame, report)
        reports.append(report)
    return reports


def _annotated(scan: Scan) -> Iterator[Frame]:
    for video in scan.videos:
        yield from video.annotated


def _check_frame(frame: Frame, report: SplitReport) -> None:
    """Decode the three files. A training run skips the clip of a file that fails here, with a warning."""
    note = report.irregular.append
    for path, read in ((frame.rgb, read_rgb), (frame.depth, read_depth), (frame.mask, read_grey)):
        if path is None:
            continue
        try:
            image = read(path)
        except InputError as error:
            note(Irregularity(path, f"cannot be decoded: {error}"))
            continue
        if path == frame.rgb:
            report.sizes[f"{image.shape[1]}x{image.shape[0]}"] += 1
        elif path == frame.depth:
            report.depth_types[str(image.dtype)] += 1
            if not image.any():
                note(Irregularity(path, "depth without any reading", used=True))
        else:
            _check_mask(path, image, report)


def _check_mask(path: Path, grey: np.ndarray, report: SplitReport) -> None:
    if grey.any() and grey.max() <= 127:
        reason = f"mask with nothing above 127, read as empty: largest value {grey.max()}"
        report.irregular.append(Irregularity(path, reason, used=True))
    elif not grey.any():
        report.irregular.append(Irregularity(path, "mask without a salient pixel", used=True))
    elif np.mean((grey > 5) & (grey < 250)) > _SOFT_SHARE:
        report.irregular.append(Irregularity(path, "mask is not black and white, cut at 127", used=True))
