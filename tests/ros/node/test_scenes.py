# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""What begins a scene anew: noise does not, another camera does, and the words say what changed."""

from __future__ import annotations

import pytest

from m4sam_ros.node.scenes import SceneLog

pytestmark = pytest.mark.ros


def info(fx, width=640, height=480, cx=None, **more):
    from sensor_msgs.msg import CameraInfo

    msg = CameraInfo(width=width, height=height, **more)
    msg.k = [fx, 0.0, cx if cx is not None else width / 2, 0.0, fx, height / 2, 0.0, 0.0, 1.0]
    return msg


def test_focus_breathing_is_the_same_camera():
    calibration = SceneLog().calibration
    assert not any(calibration.changed(info(fx)) for fx in (485.0, 486.3, 485.9, 485.2, 486.3, 484.9))


@pytest.mark.parametrize("other", [info(300.0), info(485.0, 320, 240), info(485.0, cx=500.0)])
def test_another_camera_is_one(other):
    calibration = SceneLog().calibration
    assert [calibration.changed(msg) for msg in (info(485.0), info(485.0), other, other)] == [False, False, True, False]
    assert "640x480, fx 485 and " in calibration.change


def test_nan_and_uncalibrated_are_no_change():
    calibration = SceneLog().calibration
    assert not any(calibration.changed(info(float("nan"))) for _ in range(3))
    assert not any(SceneLog().calibration.changed(info(0.0)) for _ in range(3))


def test_a_calibration_of_another_stream_is_named():
    calibration = SceneLog().calibration
    assert calibration.contradiction(240, 320, "") is None
    calibration.changed(info(900.0, 1280, 720))
    assert "expected 320x240 as the images, got 1280x720" in calibration.contradiction(240, 320, "")
    assert calibration.contradiction(720, 1280, "") is None


def test_a_calibration_of_another_frame_is_named():
    from std_msgs.msg import Header

    calibration = SceneLog().calibration
    calibration.changed(info(485.0, header=Header(frame_id="depth_optical")))
    assert calibration.contradiction(480, 640, "depth_optical") is None
    assert calibration.contradiction(480, 640, "") is None
    said = calibration.contradiction(480, 640, "colour_optical")
    assert said.startswith("expected frame_id 'colour_optical' as the images, got 'depth_optical'")


def test_binning_and_regions_are_no_contradiction():
    from sensor_msgs.msg import RegionOfInterest

    calibration = SceneLog().calibration
    calibration.changed(info(900.0, 1280, 720, binning_x=2, binning_y=2))
    assert calibration.contradiction(360, 640, "") is None
    calibration.changed(info(900.0, 1280, 720, roi=RegionOfInterest(width=300, height=200)))
    assert calibration.contradiction(200, 300, "") is None


def test_what_changed_is_named():
    log = SceneLog()
    assert log.new_scene(None, 480, 640, "a") is None
    assert log.new_scene("camera changed", 480, 640, "b").text == "frame_id changes between 'a' and 'b'"
    assert log.new_scene("camera changed", 240, 320, "b").text == "the image size changes between 640x480 and 320x240"
    assert log.new_scene("time went back by 9.000 s", 240, 320, "b").cause == "time"
    assert log.new_scene("requested", 240, 320, "b") is None
    assert log.new_scene("the picture changed", 240, 320, "b").cause == "picture"
