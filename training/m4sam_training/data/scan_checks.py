# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Whether the files of a frame are sound and agree, and whether a video's values can be understood."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from m4sam_core.errors import InputError
from m4sam_core.rgbd.clip_folder import Note
from m4sam_core.rgbd.depth_files import depth_size, look_at_depth
from m4sam_core.rgbd.depth_values import doubtful_unit, same_shape
from m4sam_core.rgbd.image_files import image_size, read_pixels, rgb_flaw
from m4sam_core.rgbd.masks import mixed_values, understand_file
from m4sam_training.data.videos import Frame, Video

T = TypeVar("T")
_SAMPLES = 4
_ENOUGH = 3  # masks that say something of all
_HALF, _NEARLY_ALL = 0.5, 0.95


def files_agree(frame: Frame, note: Note) -> bool:
    """True when a frame's files are sound and agree in size, or depth can be resized; what is wrong is noted."""
    sizes: dict[str, tuple[int, int]] = {}
    for role, path in (("rgb", frame.rgb), ("depth", frame.depth), ("mask", frame.mask)):
        if path is None:
            continue
        try:
            sizes[role] = depth_size(path) if role == "depth" else image_size(path)
        except InputError as error:
            note(path, f"{role} cannot be read: {_without_path(error, path)}", False)
            return False
    rgb = sizes["rgb"]
    if sizes.get("mask", rgb) != rgb:
        sizes_text = f"{_text(sizes['mask'])}, rgb {_text(rgb)}"
        note(frame.mask or frame.rgb, f"mask of another size than rgb: {sizes_text}", False)
        return False
    depth = sizes.get("depth", rgb)
    if depth == rgb:
        return True
    path, sizes_text = frame.depth or frame.rgb, f"{_text(depth)}, rgb {_text(rgb)}"
    if not same_shape(depth, rgb):
        note(path, f"depth of another shape than rgb: {sizes_text}", False)
        return False
    note(path, f"depth of another size than rgb, resized: {sizes_text}", True)
    return True


def sample_values(video: Video, folder: Path, note: Note) -> bool:
    """Look into a few files of a video, for flaws that all its files share; False when its masks say nothing.

    Args:
        video: its frames.
        folder: named in notes.
        note: takes what was found.
    """
    frames = _spread(video.annotated)
    try:
        for frame in frames:
            if (flaw := rgb_flaw(frame.rgb)) is not None:
                note(frame.rgb, flaw, True)
                break
        files = [(path, look_at_depth(path, video.coding)) for path in (frame.depth for frame in frames) if path]
        for path, file in files:
            flaw = file.flaw or doubtful_unit(file.depth, video.depth_unit_m)
            if flaw is not None and not file.is_empty:
                note(path, flaw, True)
                break
        if (mixed := mixed_depth(str(file.depth.dtype) for _, file in files if file.flaw is None)) is not None:
            note(folder, mixed, True)
    except InputError:
        pass  # told when the file is used: a video is not given up for one file
    return _masks_are_clear(video, folder, note)


def mixed_depth(types: Iterable[str]) -> str | None:
    """What is odd about depth files of these types in one video; None when they are of one."""
    several = sorted(set(types))
    return (
        f"depth of several kinds in one video, each read in its own way: {', '.join(several)}" if several[1:] else None
    )


def _masks_are_clear(video: Video, folder: Path, note: Note) -> bool:
    paths = [frame.mask for frame in _spread(video.annotated) if frame.mask is not None]
    refused, read = [], []
    unusual: tuple[Path, str] | None = None
    for path in paths:
        try:
            read.append(understand_file(path, video.masks))
        except InputError as error:
            refused.append(f"masks cannot be understood: {_without_path(error, path)}")
            continue
        text = read[-1].note
        if text is not None and not read[-1].is_uniform and unusual is None:
            unusual = path, text
    if paths and len(refused) == len(paths):
        note(folder, refused[0], False)
        return False
    ids = mixed_values(map(read_pixels, paths)) if video.masks.word == "auto" and not refused else None
    if ids is not None:
        note(folder, f"masks cannot be understood: values {', '.join(map(str, ids[:8]))}; give --mask-values", False)
        return False
    if unusual is not None:
        note(*unusual, True)
    if len(read) >= _ENOUGH and not any(each.mask.any() for each in read):
        note(folder, f"masks may be empty, nothing is salient in any looked at: {len(read)}", True)
    elif len(read) >= _ENOUGH and all(_is_around(each.mask) for each in read):
        note(folder, "masks may be inverted, what is salient surrounds the rest, see --mask-values 0", True)
    return True


def _is_around(mask: NDArray[np.uint8]) -> bool:
    """Whether what is salient in a mask (H, W) is more than half of it and nearly all of its border."""
    border = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
    return bool(np.mean(mask > 0) > _HALF and np.mean(border > 0) > _NEARLY_ALL)


def _spread(items: Sequence[T]) -> list[T]:
    """A few of them, first and last included."""
    count = min(_SAMPLES, len(items))
    return [items[index * (len(items) - 1) // max(1, count - 1)] for index in range(count)]


def _without_path(error: Exception, path: Path) -> str:
    return str(error).replace(f"{path}: ", "", 1).replace(f" {str(path)!r}", "")


def _text(size: tuple[int, int]) -> str:
    return f"{size[1]}x{size[0]}"
