# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Inputs that can be read and cannot be meant: no number is made of them without a word."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from m4sam_core.rgbd.encodings import image_to_numpy
from tests.ros.kit import report_of
from tests.ros.node.objects.test_outputs import FOCAL_PX, calibrate

pytestmark = pytest.mark.ros


class Stream:
    """A node that is fed until something holds, and its target."""

    def __init__(self, bench, *parameters, model="identity", **size):
        from geometry_msgs.msg import PoseStamped

        self.bench = bench
        self.node = bench.start("watchdog_period_s:=0.5", *parameters, model=model)
        self.masks, self.camera = bench.masks(), bench.camera(**size)
        self.tell = calibrate(bench, **size)
        self.targets = bench.listen(PoseStamped, "/saliency/target")
        self._stamps = itertools.count(15)

    def shoot(self, *messages):
        self.tell()
        stamp = next(self._stamps) / 15
        for publisher, make in messages or ((self.camera.rgb_publisher, self.camera.rgb_msg),):
            publisher.publish(make(stamp))
        if len(messages) < 2:
            self.camera.depth_publisher.publish(self.camera.depth_msg(stamp))
        self.bench.spin(0.05)

    def until(self, condition, what, *messages):
        def shot():
            self.shoot(*messages)
            return condition()

        self.bench.until(shot, what)


def test_float_millimetres_give_masks_and_no_target(bench, values):
    stream = Stream(bench)
    camera = stream.camera
    millimetres = camera.depth.astype(np.float32)
    feed = (
        (camera.rgb_publisher, camera.rgb_msg),
        (camera.depth_publisher, lambda stamp: camera.depth_msg(stamp, "32FC1", millimetres)),
    )
    stream.until(lambda: "float depth is not in metres: median 3000" in stream.node.log, "the line", *feed)
    assert stream.masks
    assert not stream.targets
    assert "objects have no position" in report_of(bench, values)["objects_note"]


def test_calibration_of_another_frame_and_a_frame_without_name_are_named(bench):
    stream = Stream(bench)
    stream.camera.frame_id = "camera_optical"
    tell, stream.tell = stream.tell, lambda: None
    publisher = bench.ros.create_publisher(type_of_info(), "/saliency/rgb/camera_info", 5)
    bench.until(publisher.get_subscription_count, "the node")
    tell()
    info = calibrated("depth_optical")
    stream.until(
        lambda: publisher.publish(info) or "got 'depth_optical'; remap the camera_info" in stream.node.log, "it"
    )
    stream.camera.frame_id = ""
    stream.until(
        lambda: publisher.publish(info) or "expected one for positions, got none" in stream.node.log, "the other line"
    )


def type_of_info():
    from sensor_msgs.msg import CameraInfo

    return CameraInfo


def calibrated(frame_id):
    from std_msgs.msg import Header

    info = type_of_info()(header=Header(frame_id=frame_id), width=64, height=48, distortion_model="plumb_bob")
    info.k = [60.0, 0.0, 31.5, 0.0, 60.0, 23.5, 0.0, 0.0, 1.0]
    return info


def test_twelve_bits_in_sixteen_and_left_over_rows_are_named(bench):
    stream = Stream(bench, width=160, height=120)
    camera = stream.camera
    grey = (camera.rgb.mean(axis=2) * 16).astype(np.uint16)
    few = (camera.rgb_publisher, lambda stamp: camera.rgb_msg(stamp, "mono16", grey))
    stream.until(lambda: "/saliency/rgb/image encoding mono16: expected samples up to" in stream.node.log, "bits", few)

    def mono(stamp):
        msg = camera.rgb_msg(stamp)
        msg.encoding = "mono8"
        return msg

    named = "/saliency/rgb/image step: expected 160 bytes for 160 px of mono8, got 3 times that"
    stream.until(lambda: named in stream.node.log, "the step", (camera.rgb_publisher, mono))


def test_confidence_is_none_where_nobody_looked(bench, nano_weights):
    from sensor_msgs.msg import Image

    stream = Stream(bench, "roi.x:=16", "roi.width:=32", model=str(nano_weights))
    heard = bench.listen(Image, "/saliency/confidence")
    stream.until(lambda: heard, "a confidence")
    sure = image_to_numpy(heard[-1])
    assert not sure[:, :16].any()
    assert not sure[:, 48:].any()
    assert sure[:, 16:48].all()
    stream.camera.rgb[:] = 0
    stream.camera.depth_publisher = bench.ros.create_publisher(Image, "/elsewhere", 5)  # black, and no depth
    stream.until(lambda: not image_to_numpy(heard[-1]).any(), "a black picture's")


def test_masked_depth_has_the_size_that_its_calibration_is_for(bench):
    from sensor_msgs.msg import Image

    stream = Stream(bench)
    camera = stream.camera
    camera.depth = camera.depth[::2, ::2].copy()
    heard = bench.listen(Image, "/saliency/depth_masked")
    stream.until(lambda: heard, "a masked depth")
    masked = image_to_numpy(heard[-1])
    assert masked.shape == camera.depth.shape
    np.testing.assert_array_equal(masked, np.where(camera.depth == 1000, camera.depth, 0))


def test_a_calibration_published_once_and_kept_is_had(bench):
    from rclpy.qos import DurabilityPolicy, QoSProfile

    publisher = bench.ros.create_publisher(
        type_of_info(), "/saliency/rgb/camera_info", QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    )
    publisher.publish(calibrated("camera_optical"))
    stream = Stream(bench)
    stream.tell = lambda: None
    stream.until(lambda: stream.targets, "a target")


def test_depth_that_misses_the_pictures_outlines_measures_nothing(bench, nano_weights):
    """Late or not registered: whoever joins it with the mask would get distances of something else."""
    from sensor_msgs.msg import Image, PointCloud2
    from std_srvs.srv import Trigger

    from tests.core.vision.test_alignment import HEIGHT, WIDTH, scene

    stream = Stream(bench, "threshold:=0.01", model=str(nano_weights), width=WIDTH, height=HEIGHT)
    camera = stream.camera
    camera.rgb, metres = scene()
    sound = (metres * 1000).astype(np.uint16)
    kinds = {"points": PointCloud2, "bundle/depth": Image, "depth_masked": Image, "depth_background": Image}
    heard = {name: bench.listen(kind, f"/saliency/{name}") for name, kind in kinds.items()}
    labels = bench.listen(Image, "/saliency/labels")
    camera.depth = sound
    stream.until(lambda: stream.targets and all(heard.values()), "all of it while depth is sound")

    camera.depth = np.roll(sound, 18, 1)
    stream.until(lambda: "its outlines keep missing those of rgb" in stream.node.log, "the line")
    for _ in range(3):
        stream.shoot()
    bench.spin(0.3)
    for messages in (stream.targets, labels, *heard.values()):
        messages.clear()
    stream.until(lambda: len(labels) > 5, "objects, of colour alone")
    assert image_to_numpy(labels[-1]).any()
    assert not stream.targets
    assert [name for name, messages in heard.items() if messages] == []

    client = bench.ros.create_client(Trigger, "/saliency/m4sam/capture")
    bench.until(client.service_is_ready, "the service")
    answer = client.call_async(Trigger.Request())
    stream.until(answer.done, "the answer")
    assert "without position" in answer.result().message
    assert "its outlines keep missing" in answer.result().message
    camera.depth = sound
    stream.until(lambda: stream.targets and all(heard.values()), "all of it again")


def test_depth_of_another_lens_is_where_the_model_and_the_mask_have_it(bench):
    from sensor_msgs.msg import Image

    stream = Stream(bench, "outputs.background_margin_px:=0")
    camera = stream.camera
    told = calibrate(bench, topic="/saliency/depth/camera_info", focal_px=FOCAL_PX / 2)
    tell, stream.tell = stream.tell, lambda: (tell(), told())
    camera.depth[:] = 3000
    camera.depth[18:24, 24:32] = 1000  # the square of colour, seen half as large about the middle
    heard = {name: bench.listen(Image, f"/saliency/{name}") for name in ("depth_masked", "depth_background")}
    square = np.zeros(camera.depth.shape, bool)
    square[camera.square] = True

    def in_place():
        return stream.masks and np.array_equal(image_to_numpy(stream.masks[-1]) > 0, square)

    stream.until(in_place, "the mask to be that of the square")
    for messages in heard.values():
        messages.clear()
    stream.until(lambda: all(len(messages) > 1 for messages in heard.values()), "depth with and without it")
    masked, background = (image_to_numpy(messages[-1]) for messages in heard.values())
    np.testing.assert_array_equal(masked, np.where(camera.depth == 1000, 1000, 0))
    np.testing.assert_array_equal(background, np.where(camera.depth == 1000, 0, 3000))
