# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Consumers join by exact stamps: each output of each frame has the colour image's, with drops and late depth too."""

from __future__ import annotations

import pytest

from tests.ros.kit import quiet, report_of
from tests.ros.node.objects.test_outputs import calibrate, header_of, kinds  # noqa: F401 (a fixture)
from tests.ros.synchronisers import ApproximateTime, ExactTime, stamp_ns

pytestmark = pytest.mark.ros

BUNDLE = ("bundle/image", "bundle/depth", "bundle/mask", "bundle/camera_info")
IN_SPACE = ("target", "points", *BUNDLE)
RATE_HZ = 30.0


@pytest.mark.parametrize("frames", [60, pytest.param(500, marks=pytest.mark.slow)])
def test_every_output_of_every_frame_has_the_stamp_of_its_colour_image(bench, kinds, frames, values):  # noqa: F811
    from rclpy.qos import QoSProfile

    bench.start("qos.output_depth:=100", "outputs.points_layout:=organised")
    masks, camera, tell = bench.masks(), bench.camera(), calibrate(bench)
    deep = QoSProfile(depth=1000)
    heard = {name: bench.listen(kind, f"/saliency/{name}", deep) for name, kind in kinds.items()}
    stamps = iter(1 + i / 30 for i in range(1000))

    def all_heard():
        tell()
        camera.shoot(next(stamps))
        bench.spin(0.1)
        return all(heard.values())

    bench.until(all_heard, "every output")
    quiet(bench, heard["points"])  # the last of a frame's outputs
    passed_over = report_of(bench, lambda status: int(values(status)["outputs_behind"]))
    for messages in (masks, *heard.values()):
        messages.clear()

    sent, late = set(), None
    for i in range(frames):
        stamp = 1000 + i / RATE_HZ + 1e-9 * (i * 7919 % 1000)
        rgb = camera.rgb_msg(stamp)
        if i % 11:
            camera.rgb_publisher.publish(rgb)
            sent.add((rgb.header.stamp.sec, rgb.header.stamp.nanosec))
        if late is not None:
            camera.depth_publisher.publish(late)
        late = None
        if i % 7 == 3:
            late = camera.depth_msg(stamp + 0.004)  # comes after the next colour image
        elif i % 7 != 5:
            camera.depth_publisher.publish(camera.depth_msg(stamp - 0.002))
        bench.spin(1 / RATE_HZ)
    bench.until(lambda: header_of(heard["labels"][-1]).stamp == masks[-1].header.stamp, "the last frame", 10)
    bench.spin(0.5)
    passed_over = report_of(bench, lambda status: int(values(status)["outputs_behind"])) - passed_over

    seen = [(mask.header.stamp.sec, mask.header.stamp.nanosec) for mask in masks]
    assert len(seen) > 0.4 * len(sent)  # a loaded machine may pass frames over, never give one another's stamp
    assert set(seen) <= sent
    said = [header_of(message).stamp for message in heard["labels"]]
    said = [(stamp.sec, stamp.nanosec) for stamp in said]
    assert said == [stamp for stamp in seen if stamp in set(said)]
    assert len(seen) - len(said) == passed_over  # on a loaded machine; with all of their outputs, and counted
    for name, messages in heard.items():
        headers = [header_of(message) for message in messages]
        stamped = [(header.stamp.sec, header.stamp.nanosec) for header in headers]
        if name == "depth_background":  # of every pair, segmented or not
            assert len(stamped) > 0.8 * len(said)
            assert stamped == sorted(set(stamped) & sent)
        elif name in IN_SPACE:  # a frame without depth has none of these
            assert len(stamped) > 0.8 * len(said)
            assert stamped == [stamp for stamp in said if stamp in set(stamped)], name
        else:
            assert stamped == said, name
        assert {header.frame_id for header in headers} == {camera.frame_id}, name

    # foundationpose_selector joins the four with ExactTime(20), nvblox with ApproximateTime(10), two of them twice;
    # semantic_segmentation_layer joins mask, confidence and points with TimeSynchronizer, which is exact.
    bundle = {name: heard[name] for name in BUNDLE}
    costmap = {"mask": masks, "confidence": heard["confidence"], "points": heard["points"]}
    for policy, topics, expected in (
        (ExactTime, bundle, len(heard["bundle/image"])),
        (ApproximateTime, bundle, len(heard["bundle/image"])),
        (ExactTime, costmap, len(heard["points"])),
    ):
        assert len(joined(policy, topics)) == expected
    cloud = heard["points"][-1]
    assert (cloud.height, cloud.width) == (masks[-1].height, masks[-1].width)


def joined(policy, topics):
    """The sets that a policy makes of topics whose messages come frame by frame."""
    synchroniser = policy(topics)
    for _, name, message in sorted(
        ((stamp_ns(message), name, message) for name, messages in topics.items() for message in messages),
        key=lambda arrival: arrival[:2],
    ):
        synchroniser.add(name, message)
    return synchroniser.sets
