# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Processes that die, and the node's word when there is silence."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.ros.kit import quiet, seconds
from tests.ros.rig.process import NodeProcess

pytestmark = pytest.mark.ros

CAMERA_PROCESS = str(Path(__file__).parent / "camera_process.py")


def test_cameras_and_nodes_that_are_killed_come_back(bench, ros_env, tmp_path):
    def start_camera(name):
        camera = NodeProcess([sys.executable, CAMERA_PROCESS], ros_env, tmp_path / f"{name}.log")
        bench.processes.append(camera)
        return camera

    node = bench.start()
    masks = bench.masks()
    camera = start_camera("first")
    bench.until(lambda: len(masks) > 5, "masks")
    camera.send(signal.SIGKILL)
    camera.popen.wait(10)
    quiet(bench, masks)
    masks.clear()
    start_camera("second")
    bench.until(lambda: len(masks) > 5, "masks of the restarted camera")
    node.send(signal.SIGKILL)
    node.popen.wait(10)
    quiet(bench, masks)
    masks.clear()
    bench.start()
    bench.until(lambda: len(masks) > 5, "masks of the restarted node")


def test_the_watchdog_says_why_there_is_silence(bench):
    node = bench.start("watchdog_period_s:=0.5", "sync.missing_depth:=drop")
    bench.until(lambda: "no mask: no publisher on /saliency/rgb/image" in node.log, "the first line")
    masks = bench.masks()
    camera = bench.camera()
    bench.until(lambda: "1 publisher(s) on /saliency/rgb/image but no message" in node.log, "the second line")

    def until_said(text, shoot):
        stamps = iter(range(10_000))

        def said():
            shoot(next(stamps))
            bench.spin(0.05)
            return text in node.log

        bench.until(said, text)

    until_said("the stamps of /saliency/rgb/image do not advance", lambda _: camera.shoot(5.0))
    until_said("are both stamped by the same clock?", lambda i: camera.shoot(10 + i / 20, depth_stamp=1e6 + i / 20))
    until_said("every message on /saliency/depth/image is unusable", lambda i: bad_depth(camera, 1000 + i / 20))
    assert not [mask for mask in masks if seconds(mask) > 10]
    assert bench.set_parameter("sync.missing_depth", "rgb_only").successful
    until_said("masks from rgb alone: every message on", lambda i: bad_depth(camera, 3000 + i / 20))


def bad_depth(camera, stamp):
    camera.rgb = camera.rgb ^ 1  # a camera that lives
    camera.rgb_publisher.publish(camera.rgb_msg(stamp))
    camera.depth_publisher.publish(camera.depth_msg(stamp, "8UC1", np.zeros((48, 64), np.uint8)))
