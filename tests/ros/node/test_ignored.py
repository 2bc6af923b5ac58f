# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""What of an ignore mask does not count, in every encoding one may be published in."""

from __future__ import annotations

import array

import numpy as np
import pytest

pytestmark = pytest.mark.ros
ROBOT = np.zeros((12, 16), bool)
ROBOT[:5] = True
LEVELS = {"mono8": 255, "mono16": 1, "16UC1": 7, "8UC1": 1}


def as_message(encoding):
    from sensor_msgs.msg import Image

    from m4sam_ros.messages.convert import numpy_to_image

    white = (ROBOT * 255).astype(np.uint8)
    if encoding in LEVELS:
        kind = np.uint16 if "16" in encoding else np.uint8
        return numpy_to_image((ROBOT * LEVELS[encoding]).astype(kind), encoding)
    if encoding == "32FC1":
        return numpy_to_image(np.where(ROBOT, 1.0, np.nan).astype(np.float32), encoding)
    if encoding in ("rgba8", "bgra8"):  # opaque all over, as pictures are
        return numpy_to_image(np.dstack([white, white, white, np.full_like(white, 255)]), encoding)
    luma = np.where(ROBOT, 235, 16).astype(np.uint8)  # of video
    if encoding == "nv12":
        planes = np.vstack([luma, np.full((6, 16), 128, np.uint8)])
        return Image(height=12, width=16, step=16, encoding=encoding, data=array.array("B", planes.tobytes()))
    order = [np.full_like(luma, 128), luma] if encoding == "uyvy" else [luma, np.full_like(luma, 128)]
    return numpy_to_image(np.dstack(order), encoding)


@pytest.mark.parametrize("encoding", [*LEVELS, "32FC1", "rgba8", "bgra8", "uyvy", "yuyv", "nv12"])
def test_what_is_not_black_does_not_count(encoding):
    from m4sam_ros.node.intake.ignored import ignored_pixels

    np.testing.assert_array_equal(ignored_pixels(as_message(encoding), "ignore_mask"), ROBOT)
