# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""What a dataset's reader hands out: videos, their frames, and what was irregular."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from m4sam_core.rgbd.depth_files import DepthCoding
from m4sam_core.rgbd.masks import AUTO, MaskRule
from m4sam_core.rgbd.video_yaml import VideoInfo
from m4sam_training.data.layouts import Layout

_PARTICULARS = re.compile(r"'[^']*'|[0-9., x]+")
FALLBACK_FPS = 25.0  # of videos that say nothing of their time


@dataclass(frozen=True)
class Irregularity:
    """One item that is not as the layout says.

    Attributes:
        path: the file or folder.
        reason: what is wrong, one of a small set of sentences so that they can be counted.
        used: the item is used all the same (the reason says how); False when it is skipped.
    """

    path: Path
    reason: str
    used: bool = False


def grouped(items: Iterable[Irregularity]) -> list[str]:
    """One line for each reason, with how often it is met and the first place.

    What follows a colon are details, of which alone that of an error is a reason of its own: a truncated file and one
    that holds class ids both cannot be read.
    """
    first: dict[tuple[bool, str], Irregularity] = {}
    tally: Counter[tuple[bool, str]] = Counter()
    for item in items:
        key = (item.used, _kind(item))
        tally[key] += 1
        first.setdefault(key, item)
    return [
        f"{'used' if used else 'left out'} ({tally[used, text]}): {item.path}: {item.reason}"
        for (used, text), item in first.items()
    ]


def _kind(item: Irregularity) -> str:
    kind, _, details = item.reason.partition(":")
    if "cannot be" not in kind:
        return kind
    return f"{kind}: {_PARTICULARS.sub('', details.replace(str(item.path), ''))}"


@dataclass(frozen=True, slots=True)
class Frame:
    """Files of one frame.

    Attributes:
        depth: None for depth kinds without files.
        mask: None for frames without ground truth.
        predicted: the mask was made by a model.
    """

    stem: str
    rgb: Path
    depth: Path | None
    mask: Path | None
    predicted: bool = False


@dataclass(frozen=True)
class Video:
    """Frames of one video in order of their stems.

    Attributes:
        depth_unit_m: length of one count of an integer depth file in metres; None when unknown (8-bit datasets).
        fps: frames per second; None when unknown.
        info: what the video says about itself.
        masks: which values of its ground truth are salient.
        coding: how distance stands in its depth files.
    """

    name: str
    frames: tuple[Frame, ...]
    depth_unit_m: float | None = None
    fps: float | None = None
    info: VideoInfo = field(default_factory=VideoInfo)
    masks: MaskRule = AUTO
    coding: DepthCoding = "plain"

    @property
    def folder(self) -> Path:
        """The folder above that of its rgb images."""
        return self.frames[0].rgb.parent.parent

    @property
    def annotated(self) -> tuple[Frame, ...]:
        """Frames with ground truth, the only ones that are trained and scored."""
        return tuple(frame for frame in self.frames if frame.mask is not None)

    def annotated_part(self) -> Video:
        """The same video without the other frames."""
        return replace(self, frames=self.annotated)


@dataclass
class Scan:
    """What `scan_split` found."""

    layout: Layout
    root: Path
    split: str
    videos: list[Video] = field(default_factory=list)
    irregular: list[Irregularity] = field(default_factory=list)

    @property
    def frame_count(self) -> int:
        """Frames with ground truth."""
        return sum(len(video.annotated) for video in self.videos)

    @property
    def predicted_count(self) -> int:
        """Of these, how many masks a model made."""
        return sum(frame.predicted for video in self.videos for frame in video.annotated)

    def warning(self) -> str | None:
        """What to say beside scores when part of the ground truth was made by a model."""
        if not self.predicted_count:
            return None
        return (
            f"WARNING: {self.predicted_count} of {self.frame_count} masks are a model's predictions, not ground truth: "
            "the scores say how alike two models are; see docs/labelling.md"
        )

    def drawn(self) -> Scan:
        """The same without the masks that a model made; videos that had no others are left out."""
        videos = [
            replace(
                video,
                frames=tuple(
                    replace(frame, mask=None, predicted=False) if frame.predicted else frame for frame in video.frames
                ),
            )
            for video in self.videos
        ]
        return replace(self, videos=[video for video in videos if video.annotated])

    def flaws(self) -> list[str]:
        """What is irregular, one line for each reason, with the first place; for the commands that use the data."""
        return grouped(self.irregular)

    def counts(self) -> Counter[str]:
        """Number of irregular items per reason (details after a colon are left out)."""
        return Counter(item.reason.split(":")[0] for item in self.irregular)
