# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""`depth_background`: for odometry at the camera's rate, however slow the model; or by each frame's own mask."""

from __future__ import annotations

import time

import numpy as np
import pytest

from m4sam_core.rgbd.encodings import image_to_numpy
from tests.ros.synchronisers import stamp_ns

pytestmark = pytest.mark.ros

RATE_HZ = 30.0
MARGIN_PX = 8


def started(bench, *parameters, **fault):
    """Masks, camera and depth without objects of a running node."""
    from rclpy.qos import QoSProfile
    from sensor_msgs.msg import Image

    bench.start("qos.output_depth:=100", "qos.input_depth:=100", *parameters, **fault)
    masks, camera = bench.masks(), bench.camera()
    background = bench.listen(Image, "/saliency/depth_background", QoSProfile(depth=1000))
    return masks, camera, background


def filmed(bench, camera, frames, first_s):
    """Publish at the camera's rate; the stamps."""
    sent = []
    for index in range(frames):
        began = time.monotonic()
        message = camera.rgb_msg(first_s + index / RATE_HZ)
        camera.rgb_publisher.publish(message)
        camera.depth_publisher.publish(camera.depth_msg(first_s + index / RATE_HZ + 0.001))
        sent.append(stamp_ns(message))
        bench.spin(max(0.0, began + 1 / RATE_HZ - time.monotonic()))
    return sent


def test_it_has_the_cameras_rate_while_the_model_is_slower(bench):
    masks, camera, background = started(bench, fault="slow")
    bench.step(camera, masks, 99.9)
    masks.clear()
    sent = filmed(bench, camera, 45, 100.0)
    bench.until(lambda: background and stamp_ns(background[-1]) == sent[-1], "the last frame")
    stamps = [stamp_ns(message) for message in background if stamp_ns(message) >= sent[0]]
    assert stamps == sorted(set(stamps) & set(sent)), "each colour image's stamp once, in order"
    assert len(stamps) > 0.9 * len(sent)  # a loaded machine may pass a frame over
    assert len(masks) < 0.5 * len(sent)
    top, left = camera.square[0].start - MARGIN_PX, camera.square[1].start - MARGIN_PX
    for message in background:
        assert (message.encoding, message.header.frame_id) == ("16UC1", camera.frame_id)
        depth = image_to_numpy(message)
        assert not depth[top : camera.square[0].stop + MARGIN_PX, left : camera.square[1].stop + MARGIN_PX].any()
        assert (depth[:top] == 3000).all()


def test_by_the_frames_own_mask_when_it_is_asked_to_wait(bench):
    masks, camera, background = started(bench, "outputs.background_mask_age_s:=0.0", "outputs.background_margin_px:=0")
    for index in range(8):
        camera.depth[:] = 3000
        camera.depth[10:20, 5 * index : 5 * index + 10] = 1000  # moves by half of itself
        bench.step(camera, masks, 1 + index / 10)
    bench.until(lambda: background and stamp_ns(background[-1]) == stamp_ns(masks[-1]), "the last")
    own = {stamp_ns(message): image_to_numpy(message) for message in masks}
    for message in background:
        np.testing.assert_array_equal(image_to_numpy(message), np.where(own[stamp_ns(message)] > 0, 0, 3000))


def test_a_mask_that_is_too_old_clears_nothing_and_that_is_said(bench):
    from diagnostic_msgs.msg import DiagnosticArray

    masks, camera, background = started(bench, fault="second")
    reports = bench.listen(DiagnosticArray, "/diagnostics")
    bench.step(camera, masks, 1.0)
    bench.spin(0.3)
    background.clear()
    stamps = iter(10.0 + index / RATE_HZ for index in range(1000))

    def said():
        filmed(bench, camera, 3, next(stamps))
        return any("background_mask_age_s" in report.status[0].message for report in reports)

    bench.until(said, "the diagnostics to say so")
    assert not background


def test_capture_repeats_no_depth(bench):
    from std_srvs.srv import Trigger

    masks, camera, background = started(bench)
    bench.step(camera, masks, 1.0)
    client = bench.ros.create_client(Trigger, "/saliency/m4sam/capture")
    bench.until(client.service_is_ready, "the service")
    answer = client.call_async(Trigger.Request())
    stamps = iter(1.1 + index / RATE_HZ for index in range(1000))
    bench.until(lambda: filmed(bench, camera, 1, next(stamps)) and answer.done(), "the answer")
    bench.spin(0.5)
    sent = [stamp_ns(message) for message in background]
    assert len(sent) == len(set(sent)) > 0
