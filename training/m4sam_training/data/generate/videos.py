# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""A generated clip as the files of a video, in any layout."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from m4sam_core.rgbd.image_files import write_png
from m4sam_core.rgbd.video_yaml import write_video_yaml
from m4sam_training.data.layouts import Layout
from m4sam_training.synth.clip import SynthFrame

FPS = 15.0
_START_NS = 1_700_000_000_000_000_000
_SPARSE_STEP = 2  # every second frame of a listed (DViSal) video is annotated


@dataclass(frozen=True)
class VideoFiles:
    """Where a generated video's files are."""

    folder: Path
    rgb: Path
    depth: Path
    mask: Path
    stems: tuple[str, ...]


def relative_depth(depth_mm: np.ndarray) -> np.ndarray:
    """8-bit depth (H, W) of a map in millimetres: 1..255 from nearest to farthest reading, near dark, holes 0."""
    valid = depth_mm > 0
    if not valid.any():
        return np.zeros(depth_mm.shape, np.uint8)
    near, far = float(depth_mm[valid].min()), float(depth_mm[valid].max())
    scaled = 1 + (depth_mm.astype(np.float32) - near) * (254 / max(far - near, 1.0))
    return np.where(valid, np.clip(np.rint(scaled), 1, 255), 0).astype(np.uint8)


def write_video(folder: Path, table: Layout, clip: list[SynthFrame], name: str) -> VideoFiles:
    """Write a clip's folders, files and metadata, named as the layout names them.

    Args:
        folder: new; of a layout of pictures that of the split, which takes those of every clip.
        table: the layout.
        clip: its frames.
        name: of the video.
    """
    folders = {
        "rgb": folder / table.rgb[0],
        "depth": folder / table.depth[0],
        "mask": folder / table.mask[0],
        **({"synthetic": folder / table.synthetic_depth[0]} if table.synthetic_depth else {}),
    }
    for path in folders.values():
        path.mkdir(parents=True, exist_ok=table.pictures)
    stems = tuple(_stem(table, name, index, frame.stamp) for index, frame in enumerate(clip))
    for index, (stem, frame) in enumerate(zip(stems, clip, strict=True)):
        _write_rgb(folders["rgb"], stem, frame.rgb, lossless=table.name in ("m4sam", "vidsod100"))
        depth = frame.depth if table.metadata else relative_depth(frame.depth)
        write_png(folders["depth"] / f"{stem}.png", depth)
        if "synthetic" in folders:
            blurred = cv2.GaussianBlur(relative_depth(frame.depth), (0, 0), 3)
            write_png(folders["synthetic"] / f"{stem}.png", blurred)
        if not table.by_list or index % _SPARSE_STEP == 0:
            write_png(folders["mask"] / f"{stem}.png", frame.mask)
    if table.metadata:
        values = {"fps": FPS, "depth_unit_m": 0.001, "source": "generated", "labels": "ground truth"}
        write_video_yaml(folder / table.metadata, values)
    return VideoFiles(folder, folders["rgb"], folders["depth"], folders["mask"], stems)


def _stem(table: Layout, video: str, index: int, stamp_s: float) -> str:
    if table.name == "rdvs" or table.pictures:
        return f"{video}-{index + 1:05d}"
    if table.name == "m4sam":
        return str(_START_NS + round(stamp_s * 1e9))
    return f"{index + 1:08d}"


def _write_rgb(folder: Path, stem: str, rgb: np.ndarray, lossless: bool) -> None:
    if lossless:
        write_png(folder / f"{stem}.png", rgb)
        return
    path = folder / f"{stem}.jpg"
    _, data = cv2.imencode(".jpg", np.ascontiguousarray(rgb[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, 95])
    path.write_bytes(data.tobytes())
