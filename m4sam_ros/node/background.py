"""Depth without the objects, for maps and odometry that must not see what moves."""

from __future__ import annotations

import cv2
import numpy as np

from m4sam_core.objects import CameraModel
from m4sam_core.objects.registered import RegisteredDepth


def depth_background(
    depth: np.ndarray, mask: np.ndarray, margin_px: int, camera: CameraModel | None, depth_camera: CameraModel | None
) -> np.ndarray | None:
    """The depth input without readings on the mask and around it; holes stay holes.

    Args:
        depth: (h, w) uint16 or float32.
        mask: (H, W) uint8 0/255.
        margin_px: how far around, in pixels of the mask.
        camera: of the mask's image, where calibrated.
        depth_camera: of `depth`, when it has intrinsics of its own.

    Returns:
        (h, w) of depth's type: no reading is 0, or NaN for metres (REP 118). None when nothing tells which pixel of
        one image belongs to which of the other.
    """
    if margin_px:
        # Two one-dimensional passes of a square, which costs a tenth of a disc.
        side = 2 * margin_px + 1
        mask = cv2.dilate(cv2.dilate(mask, np.ones((1, side), np.uint8)), np.ones((side, 1), np.uint8))
    if mask.shape != depth.shape:
        # The mask is looked up at the pixels of the depth image, as depth is at those of the colour image elsewhere.
        turned, _ = RegisteredDepth.of(mask.astype(np.float32), 1.0, depth.shape, depth_camera, camera)
        if turned is None:
            return None
        mask = turned.sample((slice(0, depth.shape[0]), slice(0, depth.shape[1])), 1)
    return np.where(mask > 0, np.asarray(np.nan if depth.dtype == np.float32 else 0, depth.dtype), depth)
