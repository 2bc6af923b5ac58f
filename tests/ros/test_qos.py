# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Publishers of every reliability are heard; mismatches are told; overrides are honoured."""

from __future__ import annotations

import re

import pytest

pytestmark = pytest.mark.ros


@pytest.mark.parametrize("reliability", ["reliable", "best_effort"])
def test_auto_matches_what_publishers_offer(bench, reliability):
    bench.start()
    masks = bench.masks()
    camera = bench.camera(reliability=reliability)
    for i in range(3):
        bench.step(camera, masks, 1 + i / 10)
    infos = bench.ros.get_subscriptions_info_by_topic("/saliency/rgb/image")
    bench.until(
        lambda: (
            [
                info.qos_profile.reliability.name.lower()
                for info in bench.ros.get_subscriptions_info_by_topic("/saliency/rgb/image")
            ]
            == [reliability]
        ),
        f"a {reliability} subscription instead of {infos}",
    )


def test_a_camera_replaced_by_one_of_another_reliability(bench):
    bench.start()
    masks = bench.masks()
    for i, reliability in enumerate(("reliable", "best_effort", "reliable")):
        camera = bench.camera(reliability=reliability)
        bench.step(camera, masks, 10.0 * i + 1)
        bench.step(camera, masks, 10.0 * i + 1.1)
        camera.close()


def test_a_fixed_reliability_that_cannot_match_is_told(bench):
    node = bench.start("qos.reliability:=reliable", "watchdog_period_s:=1.0")
    camera = bench.camera(reliability="best_effort", matched=False)
    bench.until(lambda: "a publisher's reliability does not satisfy the node's QoS" in node.log, "the event")
    camera.shoot(1.0)
    bench.until(lambda: "no mask: QoS mismatch on /saliency/rgb/image" in node.log, "the watchdog")


def test_qos_overrides_win(bench):
    topic = "/saliency/rgb/image"
    bench.start(
        ros_args=(
            "-p",
            f"qos_overrides.{topic}.subscription.reliability:=best_effort",
            "-p",
            f"qos_overrides.{topic}.subscription.depth:=3",
            "-p",
            "qos_overrides./saliency/mask.publisher.depth:=4",
        )
    )
    masks = bench.masks()
    camera = bench.camera(reliability="reliable")
    bench.step(camera, masks, 1.0)
    bench.spin(1.5)
    (info,) = bench.ros.get_subscriptions_info_by_topic(topic)
    assert info.qos_profile.reliability.name.lower() == "best_effort"
    bench.step(camera, masks, 1.2)


def test_a_subscriber_that_cannot_be_matched_is_told(bench):
    from rclpy.qos import QoSDurabilityPolicy, QoSProfile
    from sensor_msgs.msg import Image

    node = bench.start()
    profile = QoSProfile(depth=1, durability=QoSDurabilityPolicy.TRANSIENT_LOCAL)
    bench.listen(Image, "/saliency/mask", profile)
    bench.until(lambda: "/saliency/mask: a subscriber asks for a durability" in node.log, "the warning")


@pytest.mark.parametrize("reliability", ["reliable", "best_effort"])
def test_a_camera_that_comes_after_the_node_loses_no_frame(bench, reliability):
    """And the one that replaces it, of either reliability; nothing is warned about, and nothing comes twice."""
    node = bench.start()
    masks = bench.masks()
    for number, kind in enumerate((reliability, "best_effort", "reliable")):
        camera = bench.camera(reliability=kind)
        bench.spin(0.2)  # a best-effort image is lost while only the publisher knows of the match
        masks.clear()
        for i in range(40):  # over the moment at which the node settles on a reliability
            camera.shoot(100.0 * number + 1 + i / 20)
            bench.spin(0.05)
        bench.until(lambda: len(masks) >= 40, "every mask")
        camera.close()
        bench.spin(1.5)
    assert "does not satisfy" not in node.log
    assert len({mask.header.stamp.nanosec + 10**9 * mask.header.stamp.sec for mask in masks}) == len(masks)


def test_an_override_that_nothing_takes_is_named(bench):
    name = "qos_overrides./saliency/mask.publisher.relability"
    node = bench.start(f"{name}:=best_effort", "qos_overrides./saliency/mask.publisher.depth:=4")
    bench.until(lambda: "active:" in node.log, "the node")
    assert f"parameter {name}: nobody reads it" in node.log
    assert node.log.count("nobody reads it") == 1


@pytest.mark.parametrize(
    ("override", "value", "said"),
    [
        ("/saliency/mask.publisher.reliability", "sometimes", "expected one of .*best_effort.*, got 'sometimes'"),
        ("/saliency/rgb/image.subscription.depth", "-3", "expected messages, 0 or more, got -3"),
    ],
)
def test_an_override_that_cannot_be_meant_is_one_line(bench, override, value, said):
    node = bench.start(f"qos_overrides.{override}:={value}")
    bench.until(lambda: "failed: " in node.log, "the line")
    assert re.search(rf"qos_overrides\.{override}: {said}", node.log), node.log
    assert "Traceback" not in node.log
