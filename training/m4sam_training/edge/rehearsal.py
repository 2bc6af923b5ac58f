# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Photographs as clips that ask for what a network says already: rehearsed, lest training on rooms undo it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from m4sam_core.config import PipelineConfig
from m4sam_core.host.files import whole_file
from m4sam_core.model.m4sam import M4SAM
from m4sam_core.pipeline import SaliencyPipeline
from m4sam_core.rgbd.image_files import read_rgb

FIRST_SEED = 700_000
_SHORT_SIDE_PX = 480
_LEAST_MARKED = 0.004  # of the picture; what says nothing teaches nothing
_LEAST_CROP = 0.72  # of each side

_Box = npt.NDArray[np.float64]


def rehearse(
    model: M4SAM, pictures: Sequence[Path], out: Path, frames: int, size_px: int, threads: int
) -> Iterator[Path]:
    """Write a clip for each photograph in which the network marks something; those already there are kept.

    The camera pans and zooms over the photograph; there is no depth.

    Args:
        model: the network whose masks are asked for.
        pictures: files, in the order that numbers them.
        out: folder of clips, see `data.render_clip`.
        frames: of each clip.
        size_px: side of the stored square.
        threads: CPU threads.

    Yields:
        each photograph that is done.

    Raises:
        InputError: a file that is no picture.
    """
    out.mkdir(parents=True, exist_ok=True)
    pipeline = SaliencyPipeline(model, PipelineConfig(device="cpu", threads=threads))
    for number, path in enumerate(pictures):
        target = out / f"{FIRST_SEED + number:06d}.npz"
        if not target.exists():
            _write(target, pipeline, read_rgb(path), frames, size_px, np.random.default_rng((FIRST_SEED, number)))
        yield path


def _write(
    target: Path,
    pipeline: SaliencyPipeline,
    photo: npt.NDArray[np.uint8],
    frames: int,
    size_px: int,
    rng: np.random.Generator,
) -> None:
    scale = _SHORT_SIDE_PX / min(photo.shape[:2])
    rgb = cv2.resize(photo, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    pipeline.reset("next photograph")
    prob = np.asarray(pipeline.process(rgb, None, 0.0).probability, np.float32)
    if (prob > 0.5).mean() < _LEAST_MARKED:
        return
    begin, end = (_box(prob.shape, rng) for _ in range(2))
    boxes = [(begin + (end - begin) * share).astype(int) for share in np.linspace(0, 1, frames)]
    seen = [rgb[top : top + height, left : left + width] for top, left, height, width in boxes]
    marked = [prob[top : top + height, left : left + width] for top, left, height, width in boxes]
    mask = np.round(255 * np.stack([_square(each, size_px) for each in marked])).clip(0, 255).astype(np.uint8)
    with whole_file(target) as draft:
        np.savez(
            draft,
            rgb=np.stack([_square(each, size_px) for each in seen]),
            depth=np.zeros(mask.shape, np.uint16),
            mask=mask,
            label=(mask > 127).astype(np.uint8),
        )


def _box(size: tuple[int, ...], rng: np.random.Generator) -> _Box:
    """Top, left, height and width of a crop; every other one is square."""
    sides = np.array(size, float) * rng.uniform(_LEAST_CROP, 1.0)
    if rng.random() < 0.5:
        sides[:] = sides.min()
    corner = (np.array(size) - sides) * rng.random(2)
    return np.concatenate([corner, sides])


def _square(image: npt.NDArray[np.generic], size_px: int) -> npt.NDArray[np.generic]:
    return cv2.resize(image, (size_px, size_px), interpolation=cv2.INTER_AREA)
