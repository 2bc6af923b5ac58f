# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Training clips of any layout, as tensors."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from m4sam_core.errors import ConfigError, InputError
from m4sam_core.rgbd.depth_files import DepthCoding
from m4sam_core.rgbd.masks import AUTO, MaskRule
from m4sam_training.data.frames import Clip, clip_tensors, read_clip
from m4sam_training.data.index.split import indexed_split
from m4sam_training.data.layouts import DepthKind
from m4sam_training.data.videos import Frame, Scan, Video

log = logging.getLogger(__name__)
ClipTransform = Callable[[Clip, np.random.Generator], Clip]


class VideoClipDataset(Dataset[dict[str, Any]]):
    """Clips of `clip_length` consecutive annotated frames.

    An item is a dict: rgb (T, 3, S, S), depth (T, 1, S, S), mask (T, 1, S, S), all float in [0, 1]; name (video) and
    stems (T frame names). The random numbers of an item depend on seed, epoch and index alone, so that any number of
    workers and processes, and a resumed run, see the same clips.

    Attributes:
        scan: the videos and everything irregular that was found.
    """

    def __init__(
        self,
        root: Path | str,
        layout: str,
        split: str,
        clip_length: int = 4,
        size_px: int = 352,
        transform: ClipTransform | None = None,
        depth_kind: DepthKind = "real",
        seed: int = 0,
        masks: MaskRule = AUTO,
        coding: DepthCoding = "plain",
    ) -> None:
        """Find the clips of the split, by its index where there is one; no image is decoded yet.

        Args:
            root: the dataset's folder.
            layout: a key of `m4sam_training.data.layouts.LAYOUTS`.
            split: train, val or test.
            clip_length: frames T of a clip.
            size_px: side S of the square the frames are resized to.
            transform: changes a clip at camera size, e.g. `ClipAugmentation`.
            depth_kind: real, synthetic, black or copy_rgb.
            seed: of the transform's random numbers.
            masks: which values of the ground truth are salient.
            coding: how distance stands in the depth files.

        Raises:
            ConfigError: the dataset is not there, or holds no usable clip.
        """
        self.scan: Scan = indexed_split(root, layout, split, depth_kind, masks, coding, annotated_only=True)
        for line in self.scan.flaws():
            log.warning("%s", line)
        self._clips = list(_cut(self.scan.videos, clip_length))
        if not self._clips:
            raise ConfigError(
                f"{root}: expected at least one usable video in split {split}, got none among "
                f"{len(self.scan.irregular)} irregular items; run `m4sam dataset check --layout {layout} {root}`"
            )
        self._size_px, self._transform, self._depth_kind, self._seed = size_px, transform, depth_kind, seed
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()  # seen by workers that outlive an epoch

    def __len__(self) -> int:
        return len(self._clips)

    @property
    def fingerprint(self) -> str:
        """Which clips these are: how many, and a checksum of their names."""
        names = (f"{video.name}/{frame.stem}\n" for video, frames in self._clips for frame in frames)
        return f"{len(self._clips)} clips {zlib.crc32(''.join(names).encode()):08x}"

    def set_epoch(self, epoch: int) -> None:
        """Draw new random numbers for the clips; persistent workers notice."""
        self._epoch.fill_(epoch)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """The clip of that index; when one of its files cannot be decoded, the next clip that can.

        Raises:
            IndexError: no such clip.
            InputError: no clip of the dataset can be decoded.
        """
        if not 0 <= index < len(self._clips):
            raise IndexError(index)
        for attempt in range(len(self._clips)):
            video, frames = self._clips[(index + attempt) % len(self._clips)]
            try:
                clip = read_clip(video, frames, self._depth_kind)
            except InputError as error:
                log.warning("clip of %s skipped, the next one is used: %s", video.name, error)
                continue
            return self._item(video, frames, clip, index)
        raise InputError(f"{self.scan.root}: expected decodable frames, got none; run `m4sam dataset check`")

    def _item(self, video: Video, frames: Sequence[Frame], clip: Clip, index: int) -> dict[str, Any]:
        if self._transform is not None:
            clip = self._transform(clip, np.random.default_rng([self._seed, int(self._epoch), index]))
        rgb, depth, mask = clip_tensors(clip, self._size_px)
        return {"rgb": rgb, "depth": depth, "mask": mask, "name": video.name, "stems": [frame.stem for frame in frames]}


def _cut(videos: Sequence[Video], length: int) -> list[tuple[Video, tuple[Frame, ...]]]:
    """Clips side by side; the last one repeats its last frame where the video ends: [1,2,3,4], [5,6,6,6]."""
    clips = []
    for video in videos:
        frames = video.annotated
        for start in range(0, len(frames), length):
            chosen = frames[start : start + length]
            clips.append((video, chosen + (chosen[-1],) * (length - len(chosen))))
    return clips
