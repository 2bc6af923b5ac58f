# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""What a depth map's numbers say, and when they say nothing."""

from __future__ import annotations

import struct
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from m4sam_core.errors import InputError
from m4sam_core.rgbd.compressed_depth import compressed_to_depth
from m4sam_core.rgbd.depth_values import tells_nothing

HOLES, CONSTANT = "depth without any reading", "depth of one number, which tells nothing"


def with_one(value, other, dtype, shape=(40, 50)):
    depth = np.full(shape, value, dtype)
    depth[3, 5] = other  # beside the few that are looked at first
    return depth


@pytest.mark.parametrize(
    ("depth", "told"),
    [
        (with_one(0, 0, np.uint16), HOLES),
        (with_one(65535, 0, np.uint16), HOLES),
        (with_one(np.nan, -1, np.float32), HOLES),
        (with_one(1000, 1000, np.uint16), CONSTANT),
        (with_one(0, 1000, np.uint16), CONSTANT),
        (with_one(1.5, np.inf, np.float32), CONSTANT),
        (with_one(128, 128, np.uint8), CONSTANT),
        (with_one(1000, 1001, np.uint16), None),
        (with_one(1.5, 1.25, np.float32), None),
    ],
)
def test_maps_that_tell_nothing(depth, told):
    assert tells_nothing(depth) == told


@pytest.mark.parametrize("header", [(0.0, 0.0), (-1.0, 0.0), (float("nan"), 0.0), (100.0, float("inf"))])
def test_inverse_depth_without_a_quantisation_is_refused(header):
    png = cv2.imencode(".png", np.full((4, 4), 1000, np.uint16))[1].tobytes()
    message = SimpleNamespace(format="32FC1; compressedDepth png", data=struct.pack("<iff", 0, *header) + png)
    with pytest.raises(InputError, match="expected a quantisation above 0 for 32FC1"):
        compressed_to_depth(message)
