# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""What peers fail at: looping bags, lost messages, odd rates, jumping clocks, changing encodings, several cameras."""

from __future__ import annotations

import random
import time

import numpy as np
import pytest

from tests.ros.kit import PACE_S, quiet, report_of, seconds, without_depth
from tests.ros.rig.camera import header

pytestmark = pytest.mark.ros


def test_twenty_loops_of_a_bag_with_dropped_frames(bench, values):
    rng = random.Random(1)
    bench.start("sync.missing_depth:=drop")
    masks = bench.masks()
    camera = bench.camera()
    bench.step(camera, masks, 100 - 1 / 15)
    masks.clear()
    possible, per_loop = 0, []
    for _ in range(20):
        before = len(masks)
        for i in range(12):
            rgb, depth = rng.random() > 0.1, rng.random() > 0.1
            possible += rgb and depth
            camera.shoot(100 + i / 15, rgb=rgb, depth=depth)
            bench.spin(PACE_S)
        quiet(bench, masks, 0.1)
        per_loop.append(len(masks) - before)
    assert min(per_loop) >= 2, per_loop
    report = report_of(bench, values)
    assert int(report["pairs"]) > 0.8 * possible
    assert report["time_jumps"] == str(2 * 19)


def test_ten_per_cent_loss_on_each_stream(bench, values):
    from sensor_msgs.msg import Image

    rng = random.Random(2)
    bench.start("sync.missing_depth:=drop")
    masks = bench.masks()
    depths = bench.listen(Image, "/saliency/depth_masked", 50)
    camera = bench.camera()
    stamps = iter(1 + i / 30 for i in range(1000))
    while not depths:
        bench.step(camera, masks, next(stamps))
    warm = int(report_of(bench, values)["pairs"])
    masks.clear()
    depths.clear()
    possible = 0
    for i in range(400):
        rgb, depth = rng.random() > 0.1, rng.random() > 0.1
        possible += rgb and depth
        stamp = 10 + i / 30
        camera.shoot(stamp, rgb=rgb, depth=depth, depth_stamp=stamp + rng.uniform(-0.006, 0.006))
        bench.spin(PACE_S)
    quiet(bench, masks)
    # Pairs, not masks: on a loaded machine the newest of two pairs wins.
    report = report_of(bench, values)
    assert int(report["pairs"]) - warm > 0.8 * possible
    assert len(masks) > 100
    # A mask waits for no other output: what the node was too busy for is counted.
    assert len(masks) - int(report["outputs_behind"]) <= len(depths) <= len(masks)
    mask_stamps = np.array([seconds(msg) for msg in masks])
    for depth in depths:
        assert np.abs(mask_stamps - seconds(depth)).min() <= 1 / 60 + 1e-6


def test_rgb_at_30_hz_with_depth_at_15_hz(bench, values):
    bench.start()
    masks = bench.masks()
    camera = bench.camera()
    bench.step(camera, masks, 10 - 1 / 15)
    masks.clear()
    for i in range(60):
        camera.shoot(10 + i / 30, depth=i % 2 == 0)
        bench.spin(PACE_S)
    quiet(bench, masks)
    report = report_of(bench, values)
    # On a loaded machine two frames may reach the worker at once.
    assert len(masks) + int(report.get("drops.busy", 0)) >= 54
    assert int(report["pairs"]) >= 28
    assert int(report["pairs_held_depth"]) >= 26


def test_without_any_depth_masks_come_from_rgb_alone(bench, values):
    node = bench.start("watchdog_period_s:=1.0")
    camera = bench.camera()
    said = without_depth(bench, node, camera, 10, 0.1, 0.03)
    bench.until(said, "the watchdog")
    report = report_of(bench, values)
    assert int(report["frames_rgb_only"]) > 10
    assert int(report["drops.before_first_depth"]) <= 20


def test_simulated_clock_that_jumps_back(bench):
    from rosgraph_msgs.msg import Clock

    bench.start(ros_args=("-p", "use_sim_time:=true"))
    masks = bench.masks()
    camera = bench.camera()
    clock = bench.ros.create_publisher(Clock, "/clock", 10)

    def tick(stamp):
        clock.publish(Clock(clock=header(stamp, "").stamp))
        return bench.step(camera, masks, stamp)

    for i in range(10):
        tick(100 + i / 20)
    for i in range(10):
        started = time.monotonic()
        tick(20 + i / 20)
        assert time.monotonic() - started < 1.5
    tick(500)
    tick(500.05)


def test_encodings_that_change_in_mid_stream(bench):
    bench.start()
    masks = bench.masks()
    camera = bench.camera()
    grey = camera.rgb[..., 0].copy()
    rgbs = [
        ("rgb8", camera.rgb),
        ("bgr8", camera.rgb[..., ::-1]),
        ("mono8", grey),
        ("bgra8", np.dstack([camera.rgb[..., ::-1], grey])),
        ("bayer_rggb8", grey),
        ("yuv422_yuy2", np.dstack([grey, np.full_like(grey, 128)])),
        ("mono16", grey.astype(np.uint16) * 257),
    ]
    metres = camera.depth.astype(np.float32) / 1000
    depths = [
        ("16UC1", camera.depth),
        ("32FC1", metres),
        ("mono16", camera.depth),
        ("64FC1", metres.astype(np.float64)),
    ]
    for i in range(28):
        stamp = 10 + i / 10
        rgb, depth = rgbs[i % len(rgbs)], depths[i % len(depths)]
        camera.rgb_publisher.publish(camera.rgb_msg(stamp, *rgb))
        camera.depth_publisher.publish(camera.depth_msg(stamp, *depth))
        bench.until(lambda stamp=stamp: masks and abs(seconds(masks[-1]) - stamp) < 1e-6, f"{rgb[0]} with {depth[0]}")
        salient = np.asarray(masks[-1].data).reshape(48, 64)[camera.square]
        assert (salient == 255).all(), (rgb[0], depth[0])


def test_three_cameras(bench):
    names = ("front", "left", "right")
    for name in names:
        bench.start(ros_args=("-r", f"__ns:=/{name}/saliency"))
    masks = {name: bench.masks(f"/{name}/saliency") for name in names}
    cameras = {name: bench.camera(namespace=f"/{name}/saliency") for name in names}
    for name, camera in cameras.items():
        bench.step(camera, masks[name], 10 - 1 / 30)
    for i in range(30):
        for camera in cameras.values():
            camera.shoot(10 + i / 30)
        bench.spin(0.03)
    for heard in masks.values():
        bench.until(lambda heard=heard: len(heard) >= 25, "masks of every camera")


def test_compressed_transports(bench):
    from sensor_msgs.msg import CompressedImage

    from m4sam_ros.messages.compressed import rgb_to_compressed
    from m4sam_ros.messages.compressed_depth import numpy_to_compressed_depth

    node = bench.start(
        "image_transport:=compressed", "depth_transport:=compressedDepth", ros_args=("-r", "rgb/image:=/cam/color")
    )
    masks = bench.masks()
    camera = bench.camera(matched=False)
    rgb_publisher = bench.ros.create_publisher(CompressedImage, "/cam/color/compressed", 5)
    depth_publisher = bench.ros.create_publisher(CompressedImage, "/saliency/depth/image/compressedDepth", 5)
    publishers = (rgb_publisher, depth_publisher)
    bench.until(lambda: all(p.get_subscription_count() for p in publishers), "the node to subscribe")
    for i, depth in enumerate((camera.depth, camera.depth / np.float32(1000))):
        stamp = header(1.0 + i / 10, "optical")
        rgb_publisher.publish(rgb_to_compressed(camera.rgb, stamp))
        depth_publisher.publish(numpy_to_compressed_depth(depth, stamp))
        bench.until(lambda stamp=stamp: masks and masks[-1].header.stamp == stamp.stamp, "the mask")
        assert (np.asarray(masks[-1].data).reshape(48, 64)[camera.square] == 255).all()
    stamp = header(1.5, "optical")
    depth_publisher.publish(numpy_to_compressed_depth(camera.depth, stamp))
    rgb_publisher.publish(CompressedImage(header=stamp, format="jpeg", data=b"no picture"))
    bench.until(lambda: "/cam/color/compressed data: expected a JPEG or PNG file" in node.log, "the warning")


def test_depth_that_is_not_registered_is_named_and_comes_back(bench, nano_weights):
    """The whole way, from messages to the log: things whose depth lies 18 pixels beside them, and then does not."""
    from diagnostic_msgs.msg import DiagnosticStatus

    node = bench.start("watchdog_period_s:=1.0", model=str(nano_weights))
    masks = bench.masks()
    states = bench.listen(DiagnosticStatus, "/saliency/state")
    camera = bench.camera(width=320, height=240)
    for row, column in ((20, 60), (30, 200), (130, 90), (150, 210)):
        box = np.s_[row : row + 70, column : column + 60]
        camera.rgb[box], camera.depth[box] = (250, row, column), 1500
    aligned, shifted = camera.depth, np.roll(camera.depth, 18, axis=1)
    stamps = iter(10 + i / 10 for i in range(10_000))

    def shows(depth, condition):
        camera.depth = depth
        bench.step(camera, masks, next(stamps))
        return condition()

    warning = "/saliency/depth/image: depth: its outlines keep missing those of rgb (they fit better about 18 px away)"
    bench.until(lambda: shows(shifted, lambda: warning in node.log), "the node to notice")
    line = "masks from rgb alone: the model cannot use /saliency/depth/image: depth: its outlines keep missing"
    bench.until(lambda: shows(shifted, lambda: line in node.log), "the watchdog's line")
    used = [pair.value for pair in states[-1].values if pair.key == "rgb_only"]
    assert used == ["true"]
    again = lambda: [pair.value for pair in states[-1].values if pair.key == "rgb_only"] == ["false"]  # noqa: E731
    bench.until(lambda: shows(aligned, again), "the node to trust depth again")
    assert node.log.count(line) == 1
