# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""One of each irregularity that `m4sam dataset check` knows, planted where it must find it (docs/datasets.md)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml

from m4sam_core.rgbd.depth_files import read_depth
from m4sam_core.rgbd.image_files import write_png
from m4sam_training.data.generate.flaws_inside import INSIDE, change_mask
from m4sam_training.data.generate.planted import Planted, extra_frame
from m4sam_training.data.generate.videos import FPS, VideoFiles, relative_depth, write_video
from m4sam_training.data.layouts import Layout
from m4sam_training.data.predicted_masks import PredictedMask, write_predicted
from m4sam_training.synth.clip import generate_clip

_LONGER = 10  # frames of a video whose flaw only many of them show


def plant(video: VideoFiles, table: Layout, listing: Path, size: tuple[int, int], seed: int) -> list[Planted]:
    """Plant flaws of files into a video, and flawed videos and entries beside it.

    Every planted frame is an extra one, so that the generated frames stay usable.

    Args:
        video: the first of the split.
        table: its layout.
        listing: the split's list, of a layout that has one.
        size: (height, width) of the images. Pixels.
        seed: of the generated videos.
    """
    planted = [make(video) for make in _FRAMES]
    planted += [replace(make(video), decoded=True) for make in INSIDE]
    if not table.sparse_masks:
        planted.append(_rgb_without_mask(video))
    if table.pictures:  # they lie in one folder, and no video beside another
        return planted
    clip = list(generate_clip(seed + 500, _LONGER, *size, fps=FPS))
    beside = [_class_ids, _near_is_bright, _nothing_usable]
    for index, make_video in enumerate(beside):
        folder = video.folder.parent / f"flawed_{index + 1}"
        planted.append(make_video(write_video(folder, table, clip, folder.name)))
        if table.by_list:
            with listing.open("a") as file:
                file.write(f"{folder.name}\n")
    if table.by_list:
        planted += _hostile_list(listing)
    else:
        planted += _entries_beside(video.folder.parent)
    if table.metadata:
        planted += _metadata(video.folder, video.folder.parent / "flawed_2", table.metadata)
    return planted


def plant_across(videos: list[VideoFiles], table: Layout) -> list[Planted]:
    """A recording of which one video lies in the first split and another in the last."""
    if not table.metadata or len(videos) < 2:
        return []
    torn = [videos[0].folder.parent / "flawed_2", videos[-1].folder]
    for folder in torn:
        _say(folder / table.metadata, recording="torn")
    return [Planted(folder, "recording is in several splits", decoded=True) for folder in torn]


def _hidden_file(video: VideoFiles) -> Planted:
    path = video.rgb / "._hidden.png"
    path.write_bytes(b"\x00\x05\x16\x07")
    return Planted(path, "hidden file")


def _text_among_images(video: VideoFiles) -> Planted:
    path = video.mask / "readme.txt"
    path.write_text("not an image")
    return Planted(path, "not an image")


def _truncated_rgb(video: VideoFiles) -> Planted:
    path = extra_frame(video, "x_truncated_9001", "rgb depth mask")["rgb"]
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    return Planted(path, "rgb cannot be read")


def _empty_depth(video: VideoFiles) -> Planted:
    path = extra_frame(video, "x_empty_9002", "rgb depth mask")["depth"]
    path.write_bytes(b"")
    return Planted(path, "depth cannot be read")


def _mask_of_another_size(video: VideoFiles) -> Planted:
    path = extra_frame(video, "x_mask_9003", "rgb depth mask")["mask"]
    write_png(path, np.full((40, 50), 255, np.uint8))
    return Planted(path, "mask of another size than rgb")


def _depth_of_another_shape(video: VideoFiles) -> Planted:
    path = extra_frame(video, "x_shape_9004", "rgb depth mask")["depth"]
    write_png(path, np.full((50, 50), 99, np.uint8))
    return Planted(path, "depth of another shape than rgb")


def _smaller_depth(video: VideoFiles) -> Planted:
    path = extra_frame(video, "x_small_9005", "rgb depth mask")["depth"]
    write_png(path, read_depth(path)[::2, ::2])
    return Planted(path, "depth of another size than rgb, resized")


def _mask_without_rgb(video: VideoFiles) -> Planted:
    return Planted(extra_frame(video, "x_orphan_9006", "mask")["mask"], "frame without depth and rgb")


def _two_masks(video: VideoFiles) -> Planted:
    second = video.mask / f"{video.stems[0]}.jpg"
    cv2.imwrite(str(second), cv2.imread(str(video.mask / f"{video.stems[0]}.png"), cv2.IMREAD_GRAYSCALE))
    return Planted(second, "second file of the same frame")


def _diverging_name(video: VideoFiles) -> Planted:
    path = extra_frame(video, "x_name_9007", "rgb depth mask")["mask"]
    renamed = path.with_name(f"ground_truth_9007{path.suffix}")
    path.rename(renamed)
    return Planted(renamed, "mask name diverges, matched by frame number")


def _rgb_without_mask(video: VideoFiles) -> Planted:
    return Planted(extra_frame(video, "x_unlabelled_9008", "rgb depth")["rgb"], "frame without mask")


def _hostile_list(listing: Path) -> list[Planted]:
    with listing.open("a") as file:
        file.write(f"../../outside\ngone\n\n{listing.read_text().splitlines()[0]}\n")
    gone = listing.parent / "data" / "gone"
    return [
        Planted(listing, "video name is not a plain folder name"),
        Planted(gone, "listed video is missing"),
        Planted(listing, "video listed twice"),
    ]


def _entries_beside(videos: Path) -> list[Planted]:
    """What lies among the folders of the videos and is none."""
    empty, hidden, stray = videos / "empty_video", videos / ".cache", videos / "notes.txt"
    empty.mkdir()
    hidden.mkdir()
    stray.write_text("not a video")
    reasons = ("video without folder", "hidden file", "stray file beside the videos")
    return [Planted(path, reason) for path, reason in zip((empty, hidden, stray), reasons, strict=True)]


def _metadata(unreadable: Path, wrong: Path, name: str) -> list[Planted]:
    """A video.yaml that bombs, one with a rate that is none, and masks that a model made."""
    (unreadable / name).write_text("a: &a [1]\nb: [*a, *a]\n")
    _say(wrong / name, fps=-3)
    masks = sorted((wrong / "mask").iterdir())
    write_predicted(wrong, {masks[0].stem: PredictedMask("pseudo: planted", 0.5)})
    return [
        Planted(unreadable / name, "metadata cannot be read, millimetres assumed"),
        Planted(wrong / name, "metadata is not a positive number, default used"),
        Planted(wrong, "masks are predictions, not ground truth"),
    ]


def _say(path: Path, **values: Any) -> None:
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **values}, sort_keys=False))


# ------------------------------------------------------------------------------------- whole videos


def _class_ids(video: VideoFiles) -> Planted:
    """Class 1 in one frame, 2 in the next: each alone looks like a mask of 0 and one value."""
    for index, path in enumerate(sorted(video.mask.iterdir())):
        number = 1 + index % 2
        change_mask(path, partial(_numbered, number))
    return Planted(video.folder, "masks cannot be understood")


def _numbered(number: int, mask: np.ndarray) -> np.ndarray:
    return np.where(mask > 0, number, 0).astype(np.uint8)


def _near_is_bright(video: VideoFiles) -> Planted:
    for path in video.depth.iterdir():
        depth = read_depth(path)
        relative = depth if depth.dtype == np.uint8 else relative_depth(depth)
        write_png(path, np.where(relative > 0, 256 - relative.astype(np.int32), 0).astype(np.uint8))
    reason = "depth may be bright where it is near, see --depth-coding near_bright"
    return Planted(video.depth, reason, decoded=True)


def _nothing_usable(video: VideoFiles) -> Planted:
    for folder in (video.rgb, video.depth, video.mask):
        for path in folder.iterdir():
            path.unlink()
    return Planted(video.folder, "video without a usable frame")


_FRAMES: tuple[Callable[[VideoFiles], Planted], ...] = (
    _hidden_file,
    _text_among_images,
    _truncated_rgb,
    _empty_depth,
    _mask_of_another_size,
    _depth_of_another_shape,
    _smaller_depth,
    _mask_without_rgb,
    _two_masks,
    _diverging_name,
)
