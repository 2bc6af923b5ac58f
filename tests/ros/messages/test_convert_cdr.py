# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Messages written as bytes are the messages that rclpy would have written."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from m4sam_ros.messages import convert
from tests.ros.messages.test_convert import INTERLEAVED, H, W, random_pixels

pytestmark = pytest.mark.ros


def without_padding(serialised: bytes) -> bytes:
    """The message with its padding set to zero; rclpy leaves there what the memory held."""
    raw = bytearray(serialised)
    end = 16 + int.from_bytes(raw[12:16], sys.byteorder)
    while end % 4:
        raw[end], end = 0, end + 1
    end += 12 + int.from_bytes(raw[end + 8 : end + 12], sys.byteorder) + 1
    while end % 4:
        raw[end], end = 0, end + 1
    return bytes(raw)


@pytest.mark.parametrize("encoding", INTERLEAVED)
@pytest.mark.parametrize(("height", "width"), [(H, W), (1, 1), (3, 5), (2, 7)])
def test_serialised_messages_are_those_of_rclpy(encoding, height, width):
    from rclpy import serialization
    from std_msgs.msg import Header

    whole = random_pixels(encoding, seed=7)
    pixels = whole[:height, :width]
    for frame_id in ("", "a", "ab", "abc", "abcd", "camera_color_optical_frame", "kämera"):
        header = Header(frame_id=frame_id)
        header.stamp.sec, header.stamp.nanosec = -3, 999_999_999
        ours = convert.numpy_to_cdr(pixels, encoding, header)
        theirs = serialization.serialize_message(convert.numpy_to_image(pixels, encoding, header))
        assert without_padding(ours) == without_padding(theirs), frame_id


def test_serialised_messages_of_strided_and_empty_arrays():
    from rclpy import serialization
    from sensor_msgs.msg import Image
    from std_msgs.msg import Header

    header = Header(frame_id="optical")
    whole = random_pixels("mono8", seed=8)
    for pixels in (whole[::2, ::-1], whole.T, np.zeros((0, 5), np.uint8)):
        raw = convert.numpy_to_cdr(pixels, "mono8", header)
        read = serialization.deserialize_message(raw, Image)
        assert (read.height, read.width, read.step) == (*pixels.shape, pixels.shape[1])
        assert (read.header, read.encoding) == (header, "mono8")
        np.testing.assert_array_equal(np.asarray(read.data, np.uint8).reshape(pixels.shape), pixels)


def test_this_rmw_takes_serialised_messages():
    assert convert.image_writer() is convert.numpy_to_cdr


@pytest.mark.parametrize("shape", [(0,), (1,), (7,), (3, 5)])
@pytest.mark.parametrize("frame_id", ["", "a", "ab", "abc", "camera_color_optical_frame", "kämera"])
def test_serialised_clouds_are_those_of_rclpy(shape, frame_id):
    from rclpy.serialization import deserialize_message, serialize_message
    from sensor_msgs.msg import PointCloud2
    from std_msgs.msg import Header

    from m4sam_core.objects.cloud import POINT
    from m4sam_ros.messages.cloud import point_cloud, point_cloud_to_cdr

    points = np.random.default_rng(0).integers(0, 256, (*shape, POINT.itemsize), np.uint8).view(POINT)[..., 0]
    header = Header(frame_id=frame_id)
    header.stamp.sec, header.stamp.nanosec = -3, 999_999_999
    theirs = point_cloud(header, points)
    raw = point_cloud_to_cdr(header, points)
    assert deserialize_message(raw, PointCloud2) == theirs
    assert len(raw) == len(bytes(serialize_message(theirs)))


def test_this_rmw_takes_serialised_clouds():
    from m4sam_ros.messages import cloud

    assert cloud.cloud_writer() is cloud.point_cloud_to_cdr
