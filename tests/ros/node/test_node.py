# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""The saliency node over real DDS, in a process of its own: what arrives, and how it ends."""

from __future__ import annotations

import signal
import time

import numpy as np
import pytest

pytestmark = pytest.mark.ros


def test_masks_carry_the_rgb_header_at_native_size(bench, nano_weights):
    bench.start(model=str(nano_weights))
    masks = bench.masks()
    camera = bench.camera(width=101, height=67)
    for i in range(3):
        stamp = 1000 + i / 15
        mask = bench.step(camera, masks, stamp, depth_stamp=stamp + 0.004)
        assert mask.header.frame_id == camera.frame_id
        assert (mask.encoding, mask.height, mask.width, mask.step) == ("mono8", 67, 101, 101)
        assert set(np.unique(np.asarray(mask.data))) <= {0, 255}
    assert len(masks) == 3
    # Another resolution in mid-stream.
    camera.rgb, camera.depth = np.zeros((50, 90, 3), np.uint8), np.full((50, 90), 2000, np.uint16)
    mask = bench.step(camera, masks, 1000.3)
    assert (mask.height, mask.width) == (50, 90)


def test_every_output_of_the_table_once_somebody_listens(bench, nano_weights):
    from sensor_msgs.msg import CompressedImage, Image

    from m4sam_core.rgbd.compressed import compressed_to_rgb
    from m4sam_core.rgbd.encodings import image_to_numpy

    bench.start()
    masks = bench.masks()
    camera = bench.camera()
    bench.step(camera, masks, 10.0)
    heard = {name: bench.listen(Image, f"/saliency/{name}") for name in ("probability", "overlay", "depth_masked")}
    heard["overlay/compressed"] = bench.listen(CompressedImage, "/saliency/overlay/compressed")
    stamps = iter(10.5 + i / 15 for i in range(1000))

    def all_heard():
        camera.shoot(next(stamps))
        bench.spin(0.05)
        return all(heard.values())

    bench.until(all_heard, "every output")
    probability, overlay, depth = (
        image_to_numpy(heard[name][-1]) for name in ("probability", "overlay", "depth_masked")
    )
    assert heard["probability"][-1].encoding == "32FC1"
    assert probability.max() <= 1
    assert heard["overlay"][-1].encoding == "rgb8"
    assert overlay.shape == camera.rgb.shape
    assert compressed_to_rgb(heard["overlay/compressed"][-1]).shape == camera.rgb.shape
    # The identity model marks the near square: its depth stays, the wall's goes.
    assert heard["depth_masked"][-1].encoding == "16UC1"
    expected = np.zeros_like(camera.depth)
    expected[camera.square] = 1000
    np.testing.assert_array_equal(depth, expected)
    for messages in heard.values():
        assert messages[-1].header.frame_id == camera.frame_id


def test_two_namespaces_at_once(bench):
    for side in ("left", "right"):
        bench.start(ros_args=("-r", f"__ns:=/{side}/saliency"))
    masks = {side: bench.masks(f"/{side}/saliency") for side in ("left", "right")}
    cameras = {
        side: bench.camera(namespace=f"/{side}/saliency", width=width) for side, width in (("left", 64), ("right", 80))
    }
    for i in range(5):
        for side, camera in cameras.items():
            camera.frame_id = side
            mask = bench.step(camera, masks[side], 50 + i / 10)
            assert (mask.header.frame_id, mask.width) == (side, camera.rgb.shape[1])
    assert [len(heard) for heard in masks.values()] == [5, 5]


def test_a_bag_that_loops_goes_on_within_a_second(bench):
    bench.start()
    masks = bench.masks()
    camera = bench.camera()
    for i in range(10):
        bench.step(camera, masks, 100 + i / 15)
    masks.clear()
    started = time.monotonic()
    for i in range(10):
        camera.shoot(100 + i / 15)
        bench.spin(0.05)
        if masks:
            break
    assert masks
    assert time.monotonic() - started < 1
    for i in range(1, 5):
        bench.step(camera, masks, 101 + i / 15)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("fault", ["sleepy", "computing"])
def test_signals_end_it_while_a_frame_is_inferred(bench, fault, number):
    node = bench.start(fault=fault)
    camera = bench.camera()
    camera.shoot(5.0)
    bench.until(lambda: "inferring" in node.log, "the inference to begin")
    code, seconds = node.stop(number)
    assert code == 0
    assert seconds < 2
    assert "Traceback" not in node.log


def test_a_burst_of_signals_is_as_clean(bench):
    node = bench.start()
    bench.camera()
    for number in (signal.SIGINT, signal.SIGINT, signal.SIGTERM, signal.SIGINT):
        node.send(number)
    code, seconds = node.stop(signal.SIGTERM)
    assert code == 0
    assert seconds < 2
    assert "Traceback" not in node.log


def test_a_signal_while_the_model_loads_is_clean(bench, nano_weights):
    node = bench.start(model=str(nano_weights))
    bench.until(lambda: bench.ros.count_publishers("/diagnostics"), "the node to appear")
    code, seconds = node.stop(signal.SIGINT)
    assert code == 0
    assert seconds < 2
    assert "Traceback" not in node.log


def test_depth_of_another_frame_is_said_to_be_taken_for_registered(bench):
    node = bench.start()
    masks, camera = bench.masks(), bench.camera()
    bench.step(camera, masks, 1.0)
    assert "taken for registered" not in node.log
    depth = camera.depth_msg(1.1)
    depth.header.frame_id = "depth_optical"
    camera.rgb_publisher.publish(camera.rgb_msg(1.1))
    camera.depth_publisher.publish(depth)
    bench.until(lambda: "depth is in frame 'depth_optical', rgb in 'camera_optical'" in node.log, "the warning")
    bench.until(lambda: masks[-1].header.stamp.nanosec == 100_000_000, "the mask all the same")


def test_smaller_depth_is_resized_where_it_is_registered_and_left_out_where_it_is_not(bench):
    node = bench.start()
    masks = bench.masks()
    camera = bench.camera()
    bench.step(camera, masks, 1.0)
    for stamp, frame_id in ((1.2, ""), (1.4, "depth_optical_frame")):
        smaller = camera.depth_msg(stamp, pixels=camera.depth[::2, ::2].copy())
        smaller.header.frame_id = frame_id
        camera.depth_publisher.publish(smaller)
        camera.rgb_publisher.publish(camera.rgb_msg(stamp))
        wanted = round(stamp % 1 * 1e9)
        bench.until(lambda wanted=wanted: masks[-1].header.stamp.nanosec == wanted, f"the mask of {stamp}")
    assert "depth is 32x24, rgb 64x48; it is resized, and has to be registered" in node.log
    assert "depth of 'depth_optical_frame' is 32x24, rgb 64x48 of" in node.log


def test_bad_input_is_a_counted_warning_and_the_node_lives(bench, values):
    from diagnostic_msgs.msg import DiagnosticArray
    from sensor_msgs.msg import Image

    node = bench.start()
    masks = bench.masks()
    camera = bench.camera()
    reports = bench.listen(DiagnosticArray, "/diagnostics")
    bench.step(camera, masks, 1.0)

    wrong_encoding = camera.rgb_msg(1.1, "32FC1", np.zeros((48, 64), np.float32))
    truncated = camera.rgb_msg(1.2)
    truncated.data = truncated.data[:-7]
    small_step = camera.rgb_msg(1.3)
    small_step.step = 10
    for msg in (wrong_encoding, truncated, small_step, Image()):
        camera.rgb_publisher.publish(msg)
    bad_depth = camera.depth_msg(1.4, "8UC1", np.zeros((48, 64), np.uint8))
    camera.depth_publisher.publish(bad_depth)
    bench.until(lambda: "depth/image encoding" in node.log, "the warning about depth")
    assert "/saliency/rgb/image encoding: expected one of" in node.log

    mismatch = camera.depth_msg(1.5, pixels=np.full((30, 60), 1500, np.uint16))
    camera.rgb_publisher.publish(camera.rgb_msg(1.5))
    camera.depth_publisher.publish(mismatch)
    bench.until(lambda: masks[-1].header.stamp.nanosec == 500_000_000, "a mask without depth")
    assert "depth is 60x30, rgb 64x48; going on from rgb alone" in node.log

    nan = camera.depth_msg(1.6, "32FC1", np.full((48, 64), np.nan, np.float32))
    camera.rgb_publisher.publish(camera.rgb_msg(1.6))
    camera.depth_publisher.publish(nan)
    bench.until(lambda: masks[-1].header.stamp.nanosec == 600_000_000, "a mask with NaN depth")

    bench.step(camera, masks, 1.7)
    reports.clear()
    bench.until(lambda: reports, "a report")
    report = values(reports[-1].status[0])
    assert (report["bad_rgb_messages"], report["bad_depth_messages"]) == ("4", "1")
    assert (report["drops.bad_rgb"], report["depth_unusable_frames"]) == ("4", "1")


def test_services_state_and_live_parameters(bench, values):
    from diagnostic_msgs.msg import DiagnosticStatus
    from rclpy.qos import QoSDurabilityPolicy, QoSProfile
    from std_srvs.srv import SetBool, Trigger

    bench.start()
    masks = bench.masks()
    camera = bench.camera()
    bench.step(camera, masks, 1.0)
    # Latched: a late subscriber hears the last state.
    states = bench.listen(
        DiagnosticStatus, "/saliency/state", QoSProfile(depth=10, durability=QoSDurabilityPolicy.TRANSIENT_LOCAL)
    )
    known = {"scene_id": "0", "lifecycle": "active"}
    bench.until(lambda: states and known.items() <= values(states[-1]).items(), "the latched state")

    assert bench.call(Trigger, "/saliency/m4sam/reset", Trigger.Request()).success
    bench.step(camera, masks, 1.1)
    bench.until(lambda: values(states[-1]).get("reset_reason") == "requested", "the reason of the reset")
    assert values(states[-1])["scene_id"] == "1"

    assert bench.call(SetBool, "/saliency/m4sam/enable", SetBool.Request(data=False)).success
    count = len(masks)
    camera.shoot(1.2)
    bench.spin(0.5)
    assert len(masks) == count
    assert bench.call(SetBool, "/saliency/m4sam/enable", SetBool.Request(data=True)).success
    bench.step(camera, masks, 1.3)

    assert bench.set_parameter("threshold", 0.7).successful
    rejected = bench.set_parameter("threshold", 1.0)
    assert not rejected.successful
    assert "threshold" in rejected.reason
    rejected = bench.set_parameter("stream.bank.recent", 20)
    assert not rejected.successful
    assert "capacity must be at least" in rejected.reason
    rejected = bench.set_parameter("model", "edge")
    assert not rejected.successful
    assert "expected the node to be unconfigured, got active" in rejected.reason
    assert bench.set_parameter("sync.missing_depth", "drop").successful
    bench.step(camera, masks, 1.4)


def test_a_new_scene_begins_when_the_camera_changes(bench, values):
    from diagnostic_msgs.msg import DiagnosticStatus
    from sensor_msgs.msg import CameraInfo

    bench.start()
    masks = bench.masks()
    camera = bench.camera()
    states = bench.listen(DiagnosticStatus, "/saliency/state")
    info_publisher = bench.ros.create_publisher(CameraInfo, "/saliency/rgb/camera_info", 5)
    bench.until(info_publisher.get_subscription_count, "the node to subscribe to camera_info")
    bench.step(camera, masks, 1.0)

    stamps = iter(1.1 + i / 10 for i in range(1000))

    def scene_after(focal_px, reason):
        info = CameraInfo(width=64, height=48)
        info.k[0] = info.k[4] = focal_px

        def seen():
            info_publisher.publish(info)
            bench.step(camera, masks, next(stamps))
            return any(values(state).get("reset_reason") == reason for state in states)

        bench.until(seen, reason)

    info_publisher.publish(CameraInfo(width=64, height=48))
    bench.step(camera, masks, next(stamps))
    scene_after(500.0, "camera calibration changed")
    camera.frame_id = "another_camera"
    bench.step(camera, masks, next(stamps))
    bench.until(lambda: values(states[-1]).get("reset_reason") == "camera changed", "the reason")


def test_the_robots_own_body_is_never_marked(bench):
    from m4sam_ros.messages.convert import numpy_to_image

    bench.start()
    masks = bench.masks()
    camera = bench.camera()
    assert np.asarray(bench.step(camera, masks, 10.0).data).any()
    body = np.full(camera.depth.shape, 255, np.uint8)
    body[: len(body) // 8] = 0
    arm = bench.ros.create_publisher(type(masks[0]), "/saliency/ignore_mask", 1)
    bench.until(arm.get_subscription_count, "the node to listen for the robot's body")
    stamps = iter(10.1 + i / 15 for i in range(1000))

    def left_alone():
        arm.publish(numpy_to_image(body, "mono8"))
        mask = np.asarray(bench.step(camera, masks, next(stamps)).data).reshape(camera.depth.shape)
        return not mask[body > 0].any()

    bench.until(left_alone, "a mask without the robot")
