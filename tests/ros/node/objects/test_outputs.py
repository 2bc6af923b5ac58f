# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""The objects' topics over real DDS: what they say, and that everything of a frame carries its header."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from m4sam_core.rgbd.encodings import image_to_numpy
from tests.ros.kit import accounted, report_of

pytestmark = pytest.mark.ros

FOCAL_PX = 60.0


@pytest.fixture
def kinds():
    from geometry_msgs.msg import PoseStamped
    from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2
    from visualization_msgs.msg import MarkerArray

    return {
        "labels": Image,
        "confidence": Image,
        "mask/compressed": CompressedImage,
        "markers": MarkerArray,
        "target": PoseStamped,
        "points": PointCloud2,
        "depth_background": Image,
        "bundle/image": Image,
        "bundle/depth": Image,
        "bundle/mask": Image,
        "bundle/camera_info": CameraInfo,
    }


def calibrate(bench, width=64, height=48, d=(), topic="/saliency/rgb/camera_info", focal_px=FOCAL_PX):
    """Tell the node its camera, again and again, until it listens."""
    from sensor_msgs.msg import CameraInfo

    publisher = bench.ros.create_publisher(CameraInfo, topic, 5)
    bench.until(publisher.get_subscription_count, "the node to subscribe to camera_info")
    info = CameraInfo(width=width, height=height, distortion_model="plumb_bob", d=list(d))
    info.k[0] = info.k[4] = focal_px
    info.k[2], info.k[5] = (width - 1) / 2, (height - 1) / 2
    info.k[8] = 1.0
    return lambda: publisher.publish(info)


def header_of(message):
    return message.markers[0].header if hasattr(message, "markers") else message.header


def until_all(bench, camera, heard, tell, stamps: Iterator[float]):
    """Frames until every topic has spoken."""

    def all_heard():
        tell()
        camera.shoot(next(stamps))
        bench.spin(0.1)
        return all(heard.values())

    bench.until(all_heard, "every output")


def test_every_output_says_where_the_object_is(bench, kinds):
    bench.start()
    masks, camera, tell = bench.masks(), bench.camera(), calibrate(bench)
    heard = {name: bench.listen(kind, f"/saliency/{name}") for name, kind in kinds.items()}
    until_all(bench, camera, heard, tell, iter(1 + i / 15 for i in range(1000)))
    stamp, z = masks[-1].header.stamp, 1.0
    last = {name: messages[-1] for name, messages in heard.items()}
    labels = image_to_numpy(last["labels"])
    assert (last["labels"].encoding, labels.dtype) == ("mono16", np.uint16)
    inside = np.zeros(labels.shape, bool)
    inside[camera.square] = True
    np.testing.assert_array_equal(labels > 0, inside)
    assert image_to_numpy(last["confidence"]).min() == 255  # the identity model is sure of everything

    rows, columns = np.nonzero(inside)
    centre = [(columns.mean() - 31.5) / FOCAL_PX * z, (rows.mean() - 23.5) / FOCAL_PX * z, z]
    position = last["target"].pose.position
    np.testing.assert_allclose([position.x, position.y, position.z], centre, atol=1e-3)
    text = next(marker.text for marker in last["markers"].markers if marker.text)
    assert text.startswith(f"{labels.max()}*") and "1.0" in text  # noqa: PT018 (one text)

    cloud = last["points"]
    points = np.frombuffer(bytes(cloud.data), np.dtype("<f4,<f4,<f4,<u4,<u4"))
    assert len(points) == cloud.width == np.count_nonzero(inside)
    np.testing.assert_allclose([points[name].mean() for name in ("f0", "f1", "f2")], centre, atol=1e-3)
    assert set(points["f4"]) == {labels.max()}
    assert hex(points["f3"][0]) == "0xfa2828"

    background = image_to_numpy(last["depth_background"])
    assert last["depth_background"].encoding == "16UC1"
    top, left = camera.square[0].start - 8, camera.square[1].start - 8
    assert (background[top:32, left:40] == 0).all()
    assert (background[:top] == 3000).all()
    assert background[top - 1, left] == 3000

    bundle = [last[f"bundle/{name}"] for name in ("image", "depth", "mask", "camera_info")]
    assert [message.encoding for message in bundle[:3]] == ["rgb8", "32FC1", "mono8"]
    np.testing.assert_array_equal(image_to_numpy(bundle[0]), camera.rgb)
    np.testing.assert_allclose(image_to_numpy(bundle[1])[inside], z)
    assert (bundle[3].width, bundle[3].k[0], bundle[3].p[0]) == (64, FOCAL_PX, FOCAL_PX)
    for name, message in last.items():
        assert header_of(message).frame_id == camera.frame_id, name
    assert stamp.sec >= 1


def test_without_calibration_it_says_what_is_missing(bench, kinds, values):
    from diagnostic_msgs.msg import DiagnosticArray

    bench.start()
    masks, camera = bench.masks(), bench.camera()
    heard = {name: bench.listen(kinds[name], f"/saliency/{name}") for name in ("labels", "target", "bundle/image")}
    reports = bench.listen(DiagnosticArray, "/diagnostics")
    stamps = iter(1 + i / 15 for i in range(1000))

    def said():
        bench.step(camera, masks, next(stamps))
        return any("no camera_info" in report.status[0].message for report in reports)

    bench.until(said, "the diagnostics to say so")
    assert "no camera_info" in values(reports[-1].status[0])["objects_note"]
    assert heard["labels"] and not heard["target"] and not heard["bundle/image"]  # noqa: PT018 (one claim)


def test_no_mask_waits_for_other_outputs_and_those_passed_over_are_counted(bench, kinds, values):
    bench.start(fault="slow_outputs")
    masks, camera, tell = bench.masks(), bench.camera(), calibrate(bench)
    heard = {name: bench.listen(kinds[name], f"/saliency/{name}") for name in ("labels", "points", "bundle/depth")}
    instants = iter(1 + i / 15 for i in range(1000))
    until_all(bench, camera, heard, tell, instants)
    bench.until(lambda: heard["bundle/depth"][-1].header == masks[-1].header, "the last frame")
    bench.spin(0.2)
    before = int(report_of(bench, values)["outputs_behind"])
    for messages in heard.values():
        messages.clear()
    masks.clear()
    for _ in range(6):
        bench.step(camera, masks, next(instants))
    assert len(heard["labels"]) <= 3, "masks came no faster than the outputs of a frame, one a second"
    bench.until(lambda: heard["points"] and heard["points"][-1].header == masks[-1].header, "the newest frame")
    report = report_of(bench, values)
    assert int(report["outputs_behind"]) - before == len(masks) - len(heard["labels"]) > 0
    assert accounted(report)
    stamps = {name: [message.header.stamp for message in messages] for name, messages in heard.items()}
    assert stamps["labels"] == stamps["points"] == stamps["bundle/depth"]  # all of a frame, or nothing


def test_a_capture_is_answered_though_outputs_are_behind(bench, kinds):
    from std_srvs.srv import Trigger

    bench.start(fault="slow_outputs")
    masks, camera = bench.masks(), bench.camera()
    labels = bench.listen(kinds["labels"], "/saliency/labels")
    client = bench.ros.create_client(Trigger, "/saliency/m4sam/capture")
    bench.until(client.service_is_ready, "the service")
    stamps = iter(1 + i / 15 for i in range(1000))
    bench.step(camera, masks, next(stamps))
    answer = client.call_async(Trigger.Request())

    def answered():
        camera.shoot(next(stamps))
        bench.spin(0.07)
        return answer.done()

    bench.until(answered, "the answer")
    assert answer.result().success, answer.result().message
    spoken = {f"stamp {label.header.stamp.sec}.{label.header.stamp.nanosec:09}" for label in labels}
    assert answer.result().message.split(":")[0] in spoken


def test_capture_while_disabled_publishes_one_frame_of_everything(bench, kinds):
    from std_srvs.srv import Trigger

    bench.start("enabled:=false")
    masks, camera, tell = bench.masks(), bench.camera(), calibrate(bench)
    heard = {name: bench.listen(kinds[name], f"/saliency/{name}") for name in ("labels", "points")}
    client = bench.ros.create_client(Trigger, "/saliency/m4sam/capture")
    bench.until(client.service_is_ready, "the service")
    stamps = iter(1 + i / 15 for i in range(1000))

    def shot():
        tell()
        camera.shoot(next(stamps))
        bench.spin(0.05)

    for _ in range(5):
        shot()
    assert not masks
    answer = client.call_async(Trigger.Request())
    bench.until(lambda: shot() or answer.done(), "the answer")
    bench.spin(0.3)
    assert answer.result().success
    (mask,) = masks
    stamp = mask.header.stamp
    assert f"stamp {stamp.sec}.{stamp.nanosec:09}: 1 object(s): id 1 at 1.0" in answer.result().message
    assert [len(messages) for messages in heard.values()] == [1, 1]
    assert heard["points"][0].header == mask.header


def test_capture_says_so_when_no_frame_comes_or_the_node_sleeps(bench):
    from std_srvs.srv import Trigger

    bench.start("autostart:=false")
    answer = bench.call(Trigger, "/saliency/m4sam/capture", Trigger.Request())
    assert (answer.success, answer.message) == (False, "nothing to capture, the node is unconfigured")
