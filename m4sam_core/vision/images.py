# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Between images and the model's square, there and back: what a camera or a dataset gives the model is resized here.

Downscaling is bilinear with antialiasing on 8-bit values, the filter the published model was trained with
(docs/model.md#input); probabilities go back to the camera's size bilinearly.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from m4sam_core.errors import InputError
from m4sam_core.vision.region import LEAST_SIDE_PX

LARGEST_SIDE_PX = 16384
LARGE_PX = 1 << 22  # a picture whose probabilities at its size would be the largest image of a frame
GLANCE_SIDE_PX = 224  # enough for whatever is judged of a picture without the model


def check_rgb(rgb: Any) -> NDArray[np.uint8]:
    """Return `rgb` if it is a usable image (H, W, 3) uint8 in R, G, B order; a copy where its rows are scattered.

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
    return in_rows(rgb)


def in_rows(image: NDArray[Any]) -> NDArray[Any]:
    """The same image with the samples of a row side by side, as OpenCV wants them; a copy only where they are not."""
    plain = np.asarray(image)
    return plain if plain[:1].flags.c_contiguous else np.ascontiguousarray(plain)


def resize_rgb(rgb: NDArray[np.uint8], size_px: int | tuple[int, int]) -> Tensor:
    """Resize an image, to the model's square or any other size.

    The interleaved numpy layout is torch's channels-last layout, so nothing is copied before the resize and torch
    takes its vectorised 8-bit path.

    Args:
        rgb (H, W, 3): uint8.
        size_px: side of the square, or rows and columns.

    Returns:
        (1, 3, rows, columns) uint8, channels last.
    """
    size = (size_px, size_px) if isinstance(size_px, int) else size_px
    # In this order: of a batch of one that is added last, torch does not see that its channels are.
    return _downscale(_as_tensor(rgb)[None].permute(0, 3, 1, 2), size)


def glance(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A picture (H, W, 3) as judges need it: as it is when it is small, else (224, 224, 3).

    So a camera's picture is gone through once, for the model, and what is judged of it costs the same at every size.
    """
    if max(rgb.shape[:2]) <= GLANCE_SIDE_PX:
        return rgb
    return np.asarray(resize_rgb(rgb, GLANCE_SIDE_PX)[0].permute(1, 2, 0).numpy())


def resize_map(values: NDArray[np.uint8], size_px: int) -> Tensor:
    """Resize an 8-bit map, a mask or relative depth of a dataset, with the filter for images.

    Args:
        values (H, W): uint8.
        size_px: side of the square.

    Returns:
        (1, 1, size_px, size_px) uint8.
    """
    return _downscale(_as_tensor(values)[None, None], (size_px, size_px))


def to_unit(rgb: Tensor, device: torch.device | str = "cpu") -> Tensor:
    """8-bit image to the model's float [0, 1], plane by plane, moved to `device` while still small.

    Args:
        rgb (N, 3, H, W): uint8.
        device: where the model is.
    """
    return rgb.to(device, non_blocking=True).contiguous().to(torch.float32).div_(255.0)


def _downscale(image: Tensor, size: tuple[int, int]) -> Tensor:
    if image.shape[-2:] == size:
        return image
    return F.interpolate(image, size=size, mode="bilinear", antialias=True, align_corners=False)


def resize_prob(mask_prob: Tensor, height: int, width: int) -> NDArray[np.float32]:
    """Bring a probability map back to the camera's size.

    Args:
        mask_prob (1, 1, S, S): probability in [0, 1], any float type, any device.
        height: rows of the camera image. Pixels.
        width: columns of the camera image. Pixels.

    Returns:
        (height, width) float32 in [0, 1].
    """
    prob = mask_prob[0, 0].float().cpu().numpy()
    return np.asarray(cv2.resize(prob, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)


def resize_mask(mask_prob: Tensor, height: int, width: int, threshold: float) -> NDArray[np.uint8]:
    """The mask at the camera's size: `salient` of `resize_prob`, pixel for pixel.

    Beyond `LARGE_PX` only the columns are made in which something is, where they are less than half of all.

    Args:
        mask_prob (1, 1, S, S): see `resize_prob`.
        height: rows of the camera image. Pixels.
        width: columns of the camera image. Pixels.
        threshold: probability above which a pixel is salient.

    Returns:
        (height, width) uint8: 255 where salient, else 0.
    """
    if height * width <= LARGE_PX:
        return salient(resize_prob(mask_prob, height, width), threshold)
    side = mask_prob.shape[2]
    small = resize_prob(mask_prob, side, side)
    columns = np.flatnonzero((small > np.float32(threshold)).any(axis=0))
    if columns.size and 2 * (columns[-1] - columns[0]) >= side:
        return salient(resize_prob(mask_prob, height, width), threshold)
    mask = np.zeros((height, width), np.uint8)
    if columns.size:
        # What is salient reaches less than a column of the square beyond its own columns.
        part = slice(max(int((columns[0] - 1) * width / side), 0), int((columns[-1] + 2) * width / side) + 1)
        wide = resize_prob(mask_prob, side, width)[:, part]
        tall = cv2.resize(wide, (wide.shape[1], height), interpolation=cv2.INTER_LINEAR)
        cv2.compare(tall, threshold, cv2.CMP_GT, dst=mask[:, part])
    return mask


def salient(probability: NDArray[np.float32], threshold: float) -> NDArray[np.uint8]:
    """(H, W) uint8, 255 where a probability (H, W) is above the threshold, else 0."""
    above = np.greater(probability, np.float32(threshold)).view(np.uint8)
    return np.negative(above, out=above)  # 1 becomes 255


def _as_tensor(array: NDArray[Any]) -> Tensor:
    """A tensor on the array's memory, which nobody here writes to; torch wants positive strides."""
    if any(stride < 0 for stride in array.strides):
        array = array.copy()
    return torch.from_numpy(array if array.flags.writeable else np.asarray(_Lent(array)))


class _Lent:
    """A read-only array (the buffer of a ROS message) for torch, which would warn of it; keeps it alive."""

    def __init__(self, array: NDArray[Any]) -> None:
        self._array = array
        pointer, _ = array.__array_interface__["data"]
        self.__array_interface__ = {**array.__array_interface__, "data": (pointer, False)}
