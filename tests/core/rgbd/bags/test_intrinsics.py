# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""The calibration of a recording is that of its images, as the node takes it: rectified, or a part of the sensor."""

from __future__ import annotations

import numpy as np
import pytest

from m4sam_core.rgbd.bags.frames import read_intrinsics
from m4sam_core.rgbd.bags.source import BagSource
from m4sam_core.rgbd.bags.topics import TopicChoice
from tests.core.rgbd.bags.recordings import IMAGE, ROS2, T0, cdr_image, humble_db3

INFO = "sensor_msgs/msg/CameraInfo"
K = [20.0, 0, 7.5, 0, 21.0, 5.5, 0, 0, 1]
P = [18.0, 0, 8.0, 0, 0, 19.0, 6.0, 0, 0, 0, 1, 0]
D = [-0.3, 0.1, 0, 0, 0]


def message(size=(16, 12), binning=1, region=(0, 0, 0, 0)):
    kinds = ROS2.types
    stamp = kinds["builtin_interfaces/msg/Time"](sec=T0 // 10**9, nanosec=0)
    left, top, width, height = region
    info = kinds[INFO](
        header=kinds["std_msgs/msg/Header"](stamp=stamp, frame_id="cam"),
        width=size[0],
        height=size[1],
        distortion_model="plumb_bob",
        d=np.array(D),
        k=np.array(K),
        r=np.eye(3).ravel(),
        p=np.array(P),
        binning_x=binning,
        binning_y=binning,
        roi=kinds["sensor_msgs/msg/RegionOfInterest"](
            x_offset=left, y_offset=top, width=width, height=height, do_rectify=False
        ),
    )
    return bytes(ROS2.serialize_cdr(info, INFO))


def intrinsics(tmp_path, rgb, raw):
    """Of a recording whose images are 16x12."""
    rows = [(rgb, IMAGE, T0, cdr_image(0, "rgb8")), ("/cam/camera_info", INFO, T0, raw)]
    with BagSource(humble_db3(tmp_path / "run.db3", rows)) as source:
        found = read_intrinsics(source, TopicChoice(rgb, "/cam/depth", None, "/cam/camera_info"))
    return (found["width"], found["height"]), found["k"], found["d"]


@pytest.mark.parametrize("rgb", ["/cam/image_rect", "/cam/image_rect_color", "/cam/image_rect/compressed"])
def test_rectified_images_have_p_and_no_lens(tmp_path, rgb):
    assert intrinsics(tmp_path, rgb, message()) == ((16, 12), [18.0, 0, 8.0, 0, 19.0, 6.0, 0, 0, 1], [])


@pytest.mark.parametrize(
    ("size", "binning", "region", "shown", "centre"),
    [
        ((16, 12), 1, (0, 0, 0, 0), (16, 12), (7.5, 5.5)),
        ((32, 24), 1, (4, 2, 16, 12), (16, 12), (3.5, 3.5)),
        ((16, 12), 1, (4, 2, 8, 6), (16, 12), (7.5, 5.5)),  # the images are of the whole sensor all the same
        ((64, 48), 2, (4, 2, 32, 24), (32, 24), (3.5, 3.5)),
        ((32, 24), 2, (0, 0, 0, 0), (32, 24), (7.5, 5.5)),  # scaled by whoever has the image
    ],
)
def test_a_region_of_interest_is_what_the_images_show(tmp_path, size, binning, region, shown, centre):
    found, k, d = intrinsics(tmp_path, "/cam/image_raw", message(size, binning, region))
    assert (found, (k[2], k[5]), d) == (shown, centre, D)
