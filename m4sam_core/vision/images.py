# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Between images and the model's square, there and back: what a camera or a dataset gives the model is resized here.

Downscaling is bilinear with antialiasing on 8-bit values, the filter the published model was trained with
(docs/model.md#input); probabilities go back to the camera's size bilinearly.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from m4sam_core.errors import InputError
from m4sam_core.vision.region import LEAST_SIDE_PX

LARGEST_SIDE_PX = 16384
_HOLE_SHARE = 0.5  # a resized depth pixel is a hole when less than this share of what it covers is valid


def check_rgb(rgb: Any) -> NDArray[np.uint8]:
    """Return `rgb` if it is a usable image (H, W, 3) uint8 in R, G, B order.

    Raises:
        InputError: not an array, wrong type, channel count or size.
    """
    if not isinstance(rgb, np.ndarray):
        raise InputError(f"rgb: expected a numpy array (H, W, 3) uint8, got {type(rgb).__name__}")
    if rgb.dtype != np.uint8:
        raise InputError(f"rgb: expected uint8 values 0..255, got {rgb.dtype}; convert the image first")
    if rgb.ndim != 3 or rgb.shape[2] != 3:
        raise InputError(f"rgb: expected shape (H, W, 3), got {tuple(rgb.shape)}; drop alpha, repeat grey three times")
    if not all(LEAST_SIDE_PX <= side <= LARGEST_SIDE_PX for side in rgb.shape[:2]):
        raise InputError(
            f"rgb: expected sides of {LEAST_SIDE_PX} to {LARGEST_SIDE_PX} px, got {rgb.shape[1]}x{rgb.shape[0]}"
        )
    return rgb


def resize_rgb(rgb: NDArray[np.uint8], size_px: int) -> Tensor:
    """Resize an image to the model's square.

    The interleaved numpy layout is torch's channels-last layout, so nothing is copied before the resize and torch
    takes its vectorised 8-bit path.

    Args:
        rgb (H, W, 3): uint8.
        size_px: side of the square.

    Returns:
        (1, 3, size_px, size_px) uint8, channels last.
    """
    image = _as_tensor(rgb).permute(2, 0, 1)[None]
    if image.shape[-2:] == (size_px, size_px):
        return image
    return _downscale(image, size_px)


def resize_map(values: NDArray[np.uint8], size_px: int) -> Tensor:
    """Resize an 8-bit map, a mask or relative depth of a dataset, with the filter for images.

    Args:
        values (H, W): uint8.
        size_px: side of the square.

    Returns:
        (1, 1, size_px, size_px) uint8.
    """
    image = _as_tensor(values)[None, None]
    return image if image.shape[-2:] == (size_px, size_px) else _downscale(image, size_px)


def to_unit(rgb: Tensor, device: torch.device | str = "cpu") -> Tensor:
    """8-bit image to the model's float [0, 1], moved to `device` while still small.

    Args:
        rgb (N, 3, H, W): uint8.
        device: where the model is.
    """
    return rgb.to(device, non_blocking=True).to(torch.float32).div_(255.0)


def resize_depth(unit: NDArray[np.float32], size_px: int) -> Tensor:
    """Resize a prepared depth map so that holes do not bleed into their surroundings.

    Every output pixel is the antialiased mean of the valid readings it covers, or 0 when most of them are holes.

    Args:
        unit (H, W): float32 in [0, 1], holes 0.
        size_px: side of the square.

    Returns:
        (1, 1, size_px, size_px) float32 in [0, 1].
    """
    depth = _as_tensor(unit)[None, None]
    if depth.shape[-2:] == (size_px, size_px):
        return depth
    total = _downscale(depth, size_px)
    valid = depth > 0
    if bool(valid.all()):
        return total.clamp_(0.0, 1.0)
    share = _downscale(valid.to(torch.float32), size_px)
    filled = total.div_(share.clamp(min=_HOLE_SHARE)).clamp_(0.0, 1.0)
    return filled.mul_(share >= _HOLE_SHARE)


def _downscale(image: Tensor, size_px: int) -> Tensor:
    return F.interpolate(image, size=(size_px, size_px), mode="bilinear", antialias=True, align_corners=False)


def resize_prob(mask_prob: Tensor, height: int, width: int) -> NDArray[np.float32]:
    """Bring a probability map back to the camera's size.

    Args:
        mask_prob (1, 1, S, S): probability in [0, 1], any float type, any device.
        height: rows of the camera image. Pixels.
        width: columns of the camera image. Pixels.

    Returns:
        (height, width) float32 in [0, 1].
    """
    with torch.inference_mode():
        native = F.interpolate(mask_prob.float(), size=(height, width), mode="bilinear", align_corners=False)
        return native[0, 0].cpu().numpy()


def _as_tensor(array: NDArray[Any]) -> Tensor:
    # torch needs positive strides and warns about read-only memory (a ROS message's buffer): only these are copied.
    if not array.flags.writeable or any(stride < 0 for stride in array.strides):
        array = array.copy()
    return torch.from_numpy(array)
