# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""The topic `ignore_mask`: what is not black in an image of any encoding."""

from __future__ import annotations

from typing import Any

import numpy as np

from m4sam_core.rgbd.encodings import ENCODINGS, image_to_numpy, image_to_rgb


def ignored_pixels(msg: Any, topic: str) -> np.ndarray:
    """(H, W) bool, True for pixels that do not count: not black, whatever alpha says; a number, and not 0.

    Args:
        msg: a `sensor_msgs/Image`.
        topic: named in errors.

    Raises:
        InputError: see `image_to_numpy`.
    """
    known = ENCODINGS.get(msg.encoding)
    if known is not None and (known.even_width or msg.encoding.startswith("bayer")):  # black is no row of zeros there
        pixels = image_to_rgb(msg, topic)
    else:
        pixels = image_to_numpy(msg, topic)
    counted: np.ndarray = np.logical_and(pixels != 0, pixels == pixels)  # NaN is no number
    return counted if counted.ndim == 2 else np.logical_or.reduce(counted[..., :3], axis=2)
