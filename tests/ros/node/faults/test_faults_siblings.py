# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""A stream that changes under way: another resolution, depth that goes, a frozen process, settings, odd headers."""

from __future__ import annotations

import signal
import time

import numpy as np
import pytest

from tests.ros.kit import accounted, quiet, report_of, seconds, streaming, without_depth

pytestmark = pytest.mark.ros


def test_a_camera_that_comes_back_with_another_resolution(bench, values):
    node, masks, small = streaming(bench, width=64, height=48)
    small.close()
    large = bench.camera(width=160, height=120)
    masks.clear()
    sizes = [(mask.width, mask.height) for mask in (bench.step(large, masks, 5 + index / 15) for index in range(5))]
    assert sizes == [(160, 120)] * 5
    assert accounted(report_of(bench, values))
    assert "Traceback" not in node.log


def test_depth_that_goes_is_named_and_masks_go_on(bench, values):
    node, masks, camera = streaming(bench, "watchdog_period_s:=0.5")
    said = without_depth(bench, node, camera, 2, 1 / 15, 0.05)
    bench.until(said, "the line")
    masks.clear()
    bench.until(lambda: said() and len(masks) > 3, "masks without depth")
    quiet(bench, masks)
    assert accounted(report_of(bench, values))


def test_a_node_that_was_frozen_goes_on_with_what_is_new(bench, values):
    node, masks, camera = streaming(bench, "max_frame_age_s:=0.5")
    node.send(signal.SIGSTOP)
    for index in range(30):
        camera.shoot(2 + index / 15)
        bench.spin(0.03)
    time.sleep(1.0)
    node.send(signal.SIGCONT)
    masks.clear()
    bench.step(camera, masks, 10.0)
    quiet(bench, masks)
    assert [seconds(mask) for mask in masks] == sorted(seconds(mask) for mask in masks)
    assert accounted(report_of(bench, values))


def test_settings_that_change_at_rate_lose_no_frame(bench, values):
    bench.start()
    masks = bench.masks()
    camera = bench.camera()
    changes = [("threshold", 0.4), ("sync.missing_depth", "drop"), ("depth.max_m", 6.0), ("sync.queue_size", 4)]
    changes += [("sync.missing_depth", "hold"), ("enabled", False), ("enabled", True), ("sync.tolerance_s", 0.02)]
    for index, (name, value) in enumerate(changes * 3):
        camera.shoot(1 + index / 15)
        assert bench.set_parameter(name, value).successful
    masks.clear()
    bench.step(camera, masks, 20.0)
    quiet(bench, masks)
    report = report_of(bench, values)
    assert accounted(report), report


@pytest.mark.parametrize(("sec", "nanosec"), [(-1, 0), (-(2**31), 0), (2**31 - 1, 4_294_967_295), (0, 0)])
def test_stamps_out_of_this_world_cost_their_frame_at_most(bench, values, sec, nanosec):
    from builtin_interfaces.msg import Time

    node = bench.start()
    masks = bench.masks()
    camera = bench.camera()
    bench.step(camera, masks, 100.0)
    rgb, depth = camera.rgb_msg(0.0), camera.depth_msg(0.0)
    rgb.header.stamp = depth.header.stamp = Time(sec=sec, nanosec=nanosec)
    rgb.header.frame_id = "f" * 5000
    camera.rgb_publisher.publish(rgb)
    camera.depth_publisher.publish(depth)
    masks.clear()
    for index in range(5):
        bench.step(camera, masks, 101 + index / 15)
    quiet(bench, masks)
    assert accounted(report_of(bench, values))
    assert "Traceback" not in node.log


def test_depth_that_changes_its_encoding_under_way(bench, values):
    node = bench.start()
    masks = bench.masks()
    camera = bench.camera()
    for index in range(12):
        stamp = 1 + index / 15
        if index % 2:
            metres = (camera.depth / 1000).astype(np.float32)
            camera.depth_publisher.publish(camera.depth_msg(stamp, "32FC1", metres))
            bench.step(camera, masks, stamp, depth=False)
        else:
            bench.step(camera, masks, stamp)
    quiet(bench, masks)
    counts = {int(np.frombuffer(mask.data, np.uint8).astype(bool).sum()) for mask in masks}
    assert len(counts) == 1, counts
    assert accounted(report_of(bench, values))
    assert "Traceback" not in node.log
