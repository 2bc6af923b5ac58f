# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Making `compressedDepth` messages; the format and its decoder are in m4sam_core.rgbd.compressed_depth."""

from __future__ import annotations

import struct
from typing import Any

import cv2
import numpy as np

from m4sam_core.errors import InputError
from m4sam_core.rgbd.compressed_depth import compressed_depth_to_numpy

__all__ = ["compressed_depth_to_numpy", "numpy_to_compressed_depth"]


def numpy_to_compressed_depth(
    depth: np.ndarray, header: Any = None, max_m: float = 10.0, quantisation: float = 100.0
) -> Any:
    """Encode depth as the compressedDepth transport does (PNG).

    Args:
        depth: (H, W) uint16 counts, or float32 metres (stored as quantised inverse depth; readings that are not in
            (0, max_m) become holes).
        header: `std_msgs/Header` to share.
        max_m: farthest reading kept of float depth, metres.
        quantisation: of float depth; larger spends more of the 16 bits near the camera.

    Raises:
        InputError: another dtype or shape.
    """
    from sensor_msgs.msg import CompressedImage

    from m4sam_ros.messages.convert import to_ros_bytes

    if depth.ndim != 2 or depth.dtype not in (np.uint16, np.float32):
        got = f"{depth.shape} {depth.dtype}"
        raise InputError(f"depth to compress: expected (H, W) uint16 or float32, got {got}; convert it first")
    quant_a, quant_b, stored, name = 0.0, 0.0, depth, "16UC1"
    if depth.dtype == np.float32:
        quant_a = quantisation * (quantisation + 1.0)
        quant_b = 1.0 - quant_a / max_m
        stored, name = _to_inverse(depth, quant_a, quant_b, max_m), "32FC1"
    _, png = cv2.imencode(".png", stored, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    msg = CompressedImage()
    if header is not None:
        msg.header = header
    msg.format = f"{name}; compressedDepth png"
    msg.data = to_ros_bytes(np.frombuffer(struct.pack("<iff", 0, quant_a, quant_b) + png.tobytes(), np.uint8))
    return msg


def _to_inverse(depth: np.ndarray, quant_a: float, quant_b: float, max_m: float) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        valid = (depth > 0) & (depth < max_m)
        inverse = np.where(valid, np.rint(quant_a / np.where(valid, depth, 1) + quant_b), 0)
    return np.clip(inverse, 0, 65535).astype(np.uint16)
