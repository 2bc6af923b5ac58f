# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""A memory that never lives is said with its cause; noise and bad images leave the scene alone."""

from __future__ import annotations

import random

import numpy as np
import pytest

from tests.ros.kit import report_of

pytestmark = pytest.mark.ros

WATCH = "watchdog_period_s:=1.0"


def messages(bench):
    """What /diagnostics says, report by report."""
    from diagnostic_msgs.msg import DiagnosticArray

    reports = bench.listen(DiagnosticArray, "/diagnostics")
    return lambda: [report.status[0].message for report in reports]


def info(fx, width, height):
    from sensor_msgs.msg import CameraInfo

    msg = CameraInfo(width=width, height=height)
    msg.k = [fx, 0.0, width / 2, 0.0, fx, height / 2, 0.0, 0.0, 1.0]
    return msg


def test_two_drivers_under_one_name_are_told_by_their_frame_ids(bench, values):
    node = bench.start(WATCH)
    masks, said = bench.masks(), messages(bench)
    camera = bench.camera()
    for i in range(60):
        camera.frame_id = ("a", "b")[i % 2]
        bench.step(camera, masks, 10 + i / 15)
    expected = "frame_id changes between"
    bench.until(lambda: any("the scene begins anew" in text and expected in text for text in said()), "the line")
    assert int(report_of(bench, values)["scene_resets.frame_id"]) >= 55
    assert node.log.count(": frame_id changes between") <= 5, "one line in 5 s, and the watchdog's"


def test_unsteady_stamps_are_told_and_begin_no_scene(bench, values):
    node = bench.start(WATCH, "sync.missing_depth:=hold")
    masks, said = bench.masks(), messages(bench)
    camera = bench.camera()
    rng = random.Random(1)
    for i in range(75):
        stamps = [10 + i / 15 + rng.uniform(-0.2, 0.2) for _ in range(2)]
        camera.shoot(stamps[0], depth_stamp=stamps[1])
        bench.spin(1 / 30)
    bench.until(lambda: any("go back and forth" in text for text in said()), "the line")
    report = report_of(bench, values)
    assert (report["time_jumps"], report["scene_resets"]) == ("0", "0")
    assert len(masks) > 15
    assert "two cameras" not in node.log, "there is one"


def test_intrinsics_that_breathe_begin_no_scene_and_a_wrong_calibration_is_named(bench, values):
    from sensor_msgs.msg import CameraInfo

    bench.start(WATCH)
    masks, said = bench.masks(), messages(bench)
    camera = bench.camera()
    publisher = bench.ros.create_publisher(CameraInfo, "/saliency/rgb/camera_info", 5)
    bench.until(publisher.get_subscription_count, "the node to listen to camera_info")
    for i in range(20):
        publisher.publish(info(485.0 + i % 3, 64, 48))
        bench.step(camera, masks, 10 + i / 15)
    assert report_of(bench, values)["scene_resets"] == "0"
    for i in range(30):
        publisher.publish(info(900.0, 1280, 720))
        bench.step(camera, masks, 20 + i / 15)
        bench.spin(0.05)
    bench.until(lambda: any("camera_info: expected 64x48 as the images, got 1280x720" in t for t in said()), "the line")


def test_images_too_small_for_the_model_are_bad_input(bench, nano_weights, values):
    node = bench.start("backend:=torch", model=str(nano_weights))
    masks = bench.masks()
    camera = bench.camera(width=320, height=240)
    bench.step(camera, masks, 1.0)
    for i, (width, height) in enumerate(((1, 1), (1, 640), (2, 2), (7, 5), (5000, 2))):
        tiny = camera.rgb_msg(2 + i / 10, pixels=np.zeros((height, width, 3), np.uint8))
        camera.rgb_publisher.publish(tiny)
        camera.depth_publisher.publish(camera.depth_msg(2 + i / 10, pixels=np.full((height, width), 900, np.uint16)))
        bench.until(lambda i=i: int(report_of(bench, values)["bad_rgb_messages"]) == i + 1, f"{width}x{height} refused")
    bench.step(camera, masks, 2.9)
    report = report_of(bench, values)
    assert (report["model_errors"], report["scene_resets.model"]) == ("0", "0")
    assert "Traceback" not in node.log


def test_a_covered_lens_gives_empty_masks_and_is_named(bench, nano_weights, values):
    node = bench.start(WATCH, "sync.missing_depth:=rgb_only", model=str(nano_weights))
    masks, said = bench.masks(), messages(bench)
    camera = bench.camera(width=320, height=240)
    seen, stamps = camera.rgb, iter(1 + i / 10 for i in range(10_000))
    bench.step(camera, masks, next(stamps))
    line = "/saliency/rgb/image: rgb: nothing can be seen, the picture is black; is the lens covered"

    def shows(rgb, named):
        camera.rgb = rgb
        camera.shoot(next(stamps), depth=False)
        bench.spin(0.05)
        return bool(said()) and (line in said()[-1]) == named

    bench.until(lambda: shows(np.full_like(seen, 2), True), "the line")
    assert not np.asarray(masks[-1].data).any()
    bench.until(lambda: shows(seen, False), "light")
    report = report_of(bench, values)
    assert report["scene_resets.model"] == "0"
    assert int(report["blank_rgb_frames"]) > 0
    assert "Traceback" not in node.log


def test_a_camera_that_hangs_is_named_until_it_lives(bench, values):
    node = bench.start(WATCH)
    masks, said = bench.masks(), messages(bench)
    camera = bench.camera(width=320, height=240)
    seen, stamps, noise = camera.rgb, iter(1 + i / 10 for i in range(10_000)), np.random.default_rng(0)

    def shows(hangs):
        camera.rgb = seen if hangs else seen ^ noise.integers(0, 2, seen.shape, np.uint8)
        bench.step(camera, masks, next(stamps))
        bench.spin(0.05)
        return bool(said()) and ("/saliency/rgb/image: the same image for" in said()[-1]) == hangs

    bench.until(lambda: shows(True), "the line")
    bench.until(lambda: shows(False), "a living camera")
    assert int(report_of(bench, values)["repeated_frames"]) > 0
    assert "Traceback" not in node.log


def test_two_nodes_of_one_name_are_told(bench):
    nodes = [bench.start(WATCH), bench.start(WATCH)]
    bench.until(lambda: all("active:" in node.log for node in nodes), "both")
    masks, said = bench.masks(), messages(bench)
    camera = bench.camera()
    text = "2 publishers of /saliency/mask: another node has the same name"
    stamps = iter(range(10, 1000))
    bench.until(lambda: bench.step(camera, masks, next(stamps) / 10) and any(text in line for line in said()), text)


def test_a_misspelt_parameter_is_named_and_a_whole_number_is_taken_for_a_float(bench, values):
    node = bench.start("treshold:=0.4")
    bench.masks()
    assert "parameter treshold: nobody reads it; did you mean threshold?" in node.log
    assert "treshold" in report_of(bench, values)["unknown_parameters"]
    assert bench.set_parameter("depth.max_m", 8).successful
