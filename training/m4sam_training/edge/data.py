# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Pre-rendered clips on disk, and the batches that training draws from them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from m4sam_core.config import DepthConfig
from m4sam_core.errors import InputError
from m4sam_core.host.files import whole_file
from m4sam_core.vision.depth import prepare_depth
from m4sam_core.vision.images import resize_rgb
from m4sam_training.edge.teaching import is_story, lesson
from m4sam_training.synth.clip import DrawScene, SynthFrame, draw_room, generate_clip
from m4sam_training.synth.scene import SceneStyle
from m4sam_training.synth.scenes.arrivals import draw_arrival
from m4sam_training.synth.scenes.situations import draw_situation
from m4sam_training.synth.scenes.stories import draw_story
from m4sam_training.synth.scenes.streets import draw_street
from m4sam_training.train.config import AugmentConfig
from m4sam_training.train.schedule import StageConfig

Frames = npt.NDArray[np.float32]
_RENDER = (240, 320)


@dataclass(frozen=True)
class Batch:
    """Clips for `unroll_clip`: rgb (B,T,3,S,S), depth (B,T,1,S,S), mask (B,T,1,S,S), all float32 in [0, 1]."""

    rgb: Tensor
    depth: Tensor
    mask: Tensor


class Clip(NamedTuple):
    """One clip: rgb (T,S,S,3), depth (T,S,S), mask (T,S,S), float32 in [0, 1], and label (T,S,S) uint8."""

    rgb: Frames
    depth: Frames
    mask: Frames
    label: npt.NDArray[np.uint8]


# What clips show, and the seeds each kind counts from in training; held-out ones are a million on.
KINDS: dict[str, tuple[DrawScene, int]] = {
    "room": (draw_room, 0),
    "situation": (draw_situation, 200_000),
    "story": (draw_story, 400_000),
    "distinct": (partial(draw_story, copies=False), 600_000),
    "arrival": (draw_arrival, 800_000),
    "street": (draw_street, 300_000),
}


def render_clip(path: Path, seed: int, frames: int, size_px: int, style: SceneStyle, kind: str = "room") -> None:
    """Render one clip and save it as the model will see it, unless the file is there already.

    Args:
        path: `.npz` file; rgb (T,S,S,3) uint8, depth (T,S,S) uint16 (unit depth times 65535), mask (T,S,S) uint8 and
            label (T,S,S) uint8, see `SynthFrame`.
        seed: seed of the clip; also decides its frame rate and camera quality.
        frames: T.
        size_px: S.
        style: what scenes are made of.
        kind: one of `KINDS`.
    """
    if path.exists():
        return
    rng = np.random.default_rng((seed, 7))
    fps, severity = float(rng.uniform(3, 15)), float(rng.uniform(0, 1)) ** 2
    draw = KINDS[kind][0]
    shown = generate_clip(seed, frames, *_RENDER, fps=fps, style=style, severity=severity, draw=draw)
    seen = as_model_sees(shown, size_px)
    with whole_file(path) as draft:
        np.savez(draft, rgb=seen["rgb"], depth=seen["depth"], mask=seen["mask"], label=seen["label"])


def as_model_sees(frames: Iterable[SynthFrame], size_px: int) -> dict[str, npt.NDArray[Any]]:
    """Frames as arrays rgb, depth, mask, label; see `render_clip`."""
    rgbs, depths, masks, labels = [], [], [], []
    for frame in frames:
        height, width = frame.depth.shape
        depth = prepare_depth(frame.depth, height, width, DepthConfig()).reduced(size_px)
        rgbs.append(resize_rgb(frame.rgb, size_px)[0].permute(1, 2, 0).numpy())
        depths.append(np.round(depth * 65535).astype(np.uint16))
        masks.append(cv2.resize(frame.mask, (size_px, size_px), interpolation=cv2.INTER_AREA))
        labels.append(cv2.resize(frame.label, (size_px, size_px), interpolation=cv2.INTER_NEAREST))
    return {"rgb": np.stack(rgbs), "depth": np.stack(depths), "mask": np.stack(masks), "label": np.stack(labels)}


@dataclass(frozen=True)
class Faults:
    """Which faults augmentation adds.

    Attributes:
        depth: holes, steps, shifts, clipped range, or no depth at all, for a whole clip.
        frames: one frame of a clip blurred, darkened, noisy or without depth.
        no_depth: chance that a clip has no depth at all, where `depth` is set.
    """

    depth: bool = True
    frames: bool = True
    no_depth: float = 0.18


ALL_FAULTS = Faults()


class ClipStore:
    """The rendered clips of a folder, in order.

    Args:
        folder: where `render_clip` writes.

    Raises:
        InputError: it holds no clip.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.paths = sorted(path for path in self.folder.glob("*.npz") if not path.name.startswith("."))
        if not self.paths:
            raise InputError(f"{self.folder}: expected rendered clips, found none; run `m4sam edge render` first")

    def clip(
        self, index: int, frames: int, size_px: int, rng: np.random.Generator | None, faults: Faults = ALL_FAULTS
    ) -> Clip:
        """Load one clip.

        Args:
            index: which one.
            frames: how many of its frames, from its start; a single one, with `rng`, is any of them.
            size_px: side of the square.
            rng: source of the augmentation; None loads it as it is.
            faults: which faults the augmentation may add.
        """
        clip = _load(self.paths[index], frames, size_px, rng)
        return clip if rng is None else _augment(clip, rng, faults)

    def batch(
        self,
        indices: npt.ArrayLike,
        frames: int,
        size_px: int,
        rng: np.random.Generator | None,
        faults: Faults = ALL_FAULTS,
    ) -> Batch:
        """Load clips; see `clip`."""
        return stack_clips([self.clip(int(index), frames, size_px, rng, faults) for index in np.asarray(indices)])


def stack_clips(clips: Sequence[Clip]) -> Batch:
    """Clips of one size and length as a batch."""
    rgb, depth, mask = (torch.from_numpy(np.stack(part)) for part in list(zip(*clips, strict=True))[:3])
    return Batch(rgb.permute(0, 1, 4, 2, 3), depth[:, :, None], mask[:, :, None])


class TrainingClips:
    """A store as the trainer draws from it; a `ClipPool`.

    Args:
        store: the rendered clips.
        cfg: whether they are augmented, and with which faults.
    """

    def __init__(self, store: ClipStore, cfg: AugmentConfig) -> None:
        self._store = store
        self._augment = cfg.enabled
        self._lessons = cfg.rendered_lessons
        self._faults = Faults(cfg.rendered_depth_faults, cfg.rendered_frame_faults, cfg.rendered_no_depth)

    def __len__(self) -> int:
        return len(self._store.paths)

    def draw(self, stage: StageConfig, rng: np.random.Generator) -> dict[str, Tensor]:
        """See `ClipPool`; with lessons also their picture_mask, taught (B,T,1,S,S) and teach (B,T), see `Lesson`."""
        clips, lessons = [], []
        for index in rng.integers(0, len(self), stage.batch):
            augment = rng if self._augment else None
            clip = self._store.clip(int(index), stage.frames, stage.size_px, augment, self._faults)
            if self._lessons:
                lessons.append(lesson(clip.mask, clip.label, rng))
                clip = clip._replace(mask=lessons[-1].mask)
            clips.append(clip)
        batch = vars(stack_clips(clips)).copy()
        if self._lessons:
            for name in ("picture_mask", "taught"):
                batch[name] = torch.from_numpy(np.stack([getattr(part, name) for part in lessons]))[:, :, None]
            batch["teach"] = torch.from_numpy(np.stack([part.teach for part in lessons]))
        return batch


def _load(path: Path, frames: int, size_px: int, rng: np.random.Generator | None) -> Clip:
    with np.load(path) as archive:
        begin = int(rng.integers(len(archive["mask"]))) if rng is not None and frames == 1 else 0
        shown = slice(begin, begin + frames)
        rgb, depth, mask = (archive[name][shown] for name in ("rgb", "depth", "mask"))
        label = archive["label"][shown] if "label" in archive else (mask > 127).astype(np.uint8)
    window = _window(rgb.shape[1], rng)
    return Clip(
        _unit([_resize(frame[window], size_px, cv2.INTER_AREA) for frame in rgb], 255),
        _unit([_resize(frame[window], size_px, cv2.INTER_NEAREST) for frame in depth], 65535),
        _unit([_resize(frame[window], size_px, cv2.INTER_AREA) for frame in mask], 255),
        np.stack([_resize(frame[window], size_px, cv2.INTER_NEAREST) for frame in label]),
    )


def _unit(frames: list[npt.NDArray[np.generic]], full_scale: int) -> npt.NDArray[np.float32]:
    return np.stack(frames).astype(np.float32) / np.float32(full_scale)


def _window(side: int, rng: np.random.Generator | None) -> tuple[slice, slice]:
    """The same crop for the whole clip."""
    if rng is None or rng.random() < 0.4:
        return slice(0, side), slice(0, side)
    size = rng.integers(int(side * 0.7), side + 1, 2)
    top, left = int(rng.integers(0, side - size[0] + 1)), int(rng.integers(0, side - size[1] + 1))
    return slice(top, top + int(size[0])), slice(left, left + int(size[1]))


def _resize(frame: npt.NDArray[np.generic], size_px: int, how: int) -> npt.NDArray[np.generic]:
    return frame if frame.shape[:2] == (size_px, size_px) else cv2.resize(frame, (size_px, size_px), interpolation=how)


def _augment(clip: Clip, rng: np.random.Generator, faults: Faults) -> Clip:
    """Mirror, play backwards, recolour, and damage the depth; one draw for the clip. A story has one direction."""
    rgb, depth, mask, label = clip
    if rng.random() < 0.5:
        rgb, depth, mask, label = rgb[:, :, ::-1], depth[:, :, ::-1], mask[:, :, ::-1], label[:, :, ::-1]
    if rng.random() < 0.5 and not is_story(mask, label):
        rgb, depth, mask, label = rgb[::-1], depth[::-1], mask[::-1], label[::-1]
    rgb = (rgb - 0.5) * np.float32(rng.uniform(0.6, 1.3)) + np.float32(0.5 + rng.normal(0, 0.08))
    grey = rgb.mean(axis=-1, keepdims=True)
    saturation = 0.0 if rng.random() < 0.08 else rng.uniform(0.4, 1.4)
    rgb = np.clip(grey + (rgb - grey) * np.float32(saturation), 0, 1)
    depth = np.ascontiguousarray(depth)
    if faults.depth:
        depth = damage_depth(depth, rng, faults.no_depth)
    if faults.frames and len(rgb) > 1 and rng.random() < 0.35:
        rgb, depth = _bad_frame(rgb, depth, rng)
    return Clip(np.ascontiguousarray(rgb), depth, np.ascontiguousarray(mask), np.ascontiguousarray(label))


def _bad_frame(
    rgb: npt.NDArray[np.float32], depth: npt.NDArray[np.float32], rng: np.random.Generator
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Spoil one frame after the first, so that what the memory holds is worth reading."""
    rgb, depth = rgb.copy(), depth.copy()
    index = int(rng.integers(1, len(rgb)))
    frame = rgb[index]
    if rng.random() < 0.5:
        sigma = rng.uniform(1.5, 5.0) * frame.shape[0] / 224
        frame = cv2.GaussianBlur(frame, (0, 0), sigma)
    if rng.random() < 0.4:
        frame = frame * np.float32(rng.uniform(0.2, 0.5))
    if rng.random() < 0.4:
        frame = frame + rng.normal(0, rng.uniform(0.04, 0.15), frame.shape).astype(np.float32)
    if rng.random() < 0.6:
        depth[index] = 0
    rgb[index] = np.clip(frame, 0, 1)
    return rgb, depth


def damage_depth(
    depth: npt.NDArray[np.float32], rng: np.random.Generator, no_depth: float = 0.18
) -> npt.NDArray[np.float32]:
    """What depth cameras do to a clip beyond noise: nothing, no depth at all, blotches, steps, or a shift.

    Args:
        depth (T, S, S): unit depth.
        rng: source of randomness.
        no_depth: chance of no depth at all; of the rest, more than half stay as they are.
    """
    chances = np.array([0.45, 0.0, 0.14, 0.07, 0.08, 0.08])
    chances *= (1 - no_depth) / chances.sum()
    chances[1] = no_depth
    kind = rng.choice(["none", "absent", "blotches", "coarse", "shifted", "range"], p=chances)
    if kind == "absent":
        return np.zeros_like(depth)
    if kind == "blotches":
        grid = rng.random((depth.shape[0], 9, 9), dtype=np.float32)
        fields = np.stack([cv2.resize(g, depth.shape[:0:-1], interpolation=cv2.INTER_CUBIC) for g in grid])
        return np.where(fields < rng.uniform(0.2, 0.6), 0, depth).astype(np.float32)
    if kind == "coarse":
        return (np.round(depth * 20) / 20).astype(np.float32)
    if kind == "shifted":
        return np.roll(depth, tuple(int(v) for v in rng.integers(-6, 7, 2)), axis=(1, 2))
    if kind == "range":
        return np.where(depth > rng.uniform(0.4, 0.95), 0, depth).astype(np.float32)
    return depth
