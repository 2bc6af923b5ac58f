# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""From the files of a frame to arrays, and from arrays to what the model sees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from m4sam_core.config import DepthConfig
from m4sam_core.rgbd.depth_files import DepthCoding, read_depth
from m4sam_core.rgbd.depth_values import fit_depth
from m4sam_core.rgbd.image_files import read_rgb
from m4sam_core.rgbd.masks import read_mask
from m4sam_core.vision.depth import prepare_depth
from m4sam_core.vision.images import resize_map, resize_rgb, to_unit
from m4sam_training.data.layouts import DepthKind
from m4sam_training.data.videos import Frame, Video

_UNKNOWN_UNIT = DepthConfig(unit_m=0.001, min_m=0.0, max_m=10000.0)


@dataclass(frozen=True)
class Clip:
    """T frames of one video at camera size, as read.

    Attributes:
        rgb: T times (H, W, 3) uint8.
        depth: T times (H, W), larger = farther, 0 = hole: uint8 relative, uint16 counts or float32 metres.
        mask: T times (H, W) uint8, 0 or 255; values between after a rotation.
        depth_unit_m: metres per count of a uint16 depth map; None when unknown.
    """

    rgb: tuple[np.ndarray, ...]
    depth: tuple[np.ndarray, ...]
    mask: tuple[np.ndarray, ...]
    depth_unit_m: float | None = None


def read_clip(video: Video, frames: Sequence[Frame], depth_kind: DepthKind) -> Clip:
    """Read some frames of a video.

    Raises:
        InputError: a file cannot be decoded, or a mask does not say what is salient.
    """
    rgb = tuple(read_rgb(frame.rgb) for frame in frames)
    depth = tuple(
        read_frame_depth(frame, image, depth_kind, video.coding) for frame, image in zip(frames, rgb, strict=True)
    )
    mask = tuple(
        read_mask(frame.mask, video.masks) if frame.mask else np.zeros(image.shape[:2], np.uint8)
        for frame, image in zip(frames, rgb, strict=True)
    )
    return Clip(rgb, depth, mask, video.depth_unit_m)


def read_frame_depth(frame: Frame, rgb: np.ndarray, depth_kind: DepthKind, coding: DepthCoding = "plain") -> np.ndarray:
    """Depth (H, W) of one frame at the rgb image's size: the file, the frame's luminance, or holes if there is none.

    Raises:
        InputError: the file cannot be decoded.
    """
    if depth_kind == "copy_rgb":
        return np.asarray(Image.fromarray(rgb).convert("L"))
    if depth_kind == "black" or frame.depth is None:
        return np.zeros(rgb.shape[:2], np.uint8)
    return fit_depth(read_depth(frame.depth, coding), *rgb.shape[:2])


def rgb_tensor(rgb: np.ndarray, size_px: int) -> Tensor:
    """(3, S, S) float in [0, 1] of rgb (H, W, 3) uint8: antialiased bilinear on 8-bit values (docs/model.md#input)."""
    return to_unit(resize_rgb(rgb, size_px))[0]


def depth_tensor(depth: np.ndarray, size_px: int, unit_m: float | None) -> Tensor:
    """(1, S, S) float in [0, 1], larger = farther, holes 0.

    8-bit maps are resized as the published model's were; metric maps go the robot's way (m4sam_core.vision.depth), so
    that a model trained from bags sees what it will see on the robot.

    Args:
        depth (H, W): uint8 relative, uint16 counts, or float32 metres.
        size_px: side S of the square.
        unit_m: metres per count of a uint16 map; None: unknown, only the percentile stretch applies.
    """
    if depth.dtype == np.uint8:
        return _resize_8bit(depth, size_px)
    cfg = _UNKNOWN_UNIT if unit_m is None and depth.dtype == np.uint16 else DepthConfig(unit_m=unit_m or 0.001)
    prepared = prepare_depth(depth, depth.shape[0], depth.shape[1], cfg)
    return torch.from_numpy(prepared.reduced(size_px))[None]


def mask_tensor(mask: np.ndarray, size_px: int) -> Tensor:
    """(1, S, S) float in [0, 1] of a mask (H, W) uint8; soft edges, as the losses expect (docs/model.md#losses)."""
    return _resize_8bit(mask, size_px)


def clip_tensors(clip: Clip, size_px: int) -> tuple[Tensor, Tensor, Tensor]:
    """The clip as rgb (T, 3, S, S), depth (T, 1, S, S), mask (T, 1, S, S), all float in [0, 1]."""
    rgb = torch.stack([rgb_tensor(image, size_px) for image in clip.rgb])
    depth = torch.stack([depth_tensor(image, size_px, clip.depth_unit_m) for image in clip.depth])
    mask = torch.stack([mask_tensor(image, size_px) for image in clip.mask])
    return rgb.contiguous(), depth, mask


def with_depth(clip: Clip, depth: Sequence[np.ndarray]) -> Clip:
    """The clip with other depth maps."""
    return replace(clip, depth=tuple(depth))


def _resize_8bit(image: np.ndarray, size_px: int) -> Tensor:
    return resize_map(image, size_px)[0].to(torch.float32) / 255
