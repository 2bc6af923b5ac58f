# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Random messages and random parameters: nothing kills the node, everything is answered."""

from __future__ import annotations

import random
import time

import pytest

from m4sam_ros.parameters import leaves
from tests.ros.rig.camera import header

pytestmark = pytest.mark.ros

ENCODINGS = [
    "rgb8",
    "bgra8",
    "mono16",
    "16UC1",
    "32FC1",
    "bayer_rggb8",
    "uyvy",
    "nv12",
    "",
    "RGB8",
    "h264",
    "8UC7",
    "\u2603" * 30,
]


def malformed(rng: random.Random, stamp: float):
    """An Image whose fields rarely agree."""
    from sensor_msgs.msg import Image

    def number():
        return rng.choice([0, 1, 2, 7, 48, 64, 65, 640, 2**16, 2**31, 2**32 - 1, rng.randrange(200)])

    msg = Image(header=header(stamp, rng.choice(["", "a", "x" * 200])))
    msg.encoding = rng.choice(ENCODINGS)
    msg.height, msg.width, msg.step = number(), number(), number()
    msg.is_bigendian = rng.choice([0, 1, 2, 255])
    msg.data = bytes(
        rng.getrandbits(8) for _ in range(rng.choice([0, 1, 63, 64 * 48, 64 * 48 * 2, rng.randrange(4000)]))
    )
    return msg


def recovers(bench, camera, masks, stamp: float) -> None:
    """A sound camera's frames, until one has its mask: whatever came before, it costs frames and never the stream.

    Stamps jump here with every burst, and messages of two topics pass each other. A depth map that comes before the
    colour image of an older time is forgotten with it, and its own colour image is answered when the next one comes.
    """
    before, shots, again_at = len(masks), 0, time.monotonic()

    def answer():
        nonlocal shots, again_at
        if time.monotonic() >= again_at:
            camera.shoot(stamp + 0.1 * shots)
            shots, again_at = shots + 1, time.monotonic() + 0.5
        return any(mask.header.stamp.sec >= int(stamp) for mask in masks[before:])

    bench.until(answer, f"a mask from {stamp} on")


@pytest.mark.parametrize("count", [600, pytest.param(10_000, marks=pytest.mark.slow)])
def test_malformed_messages(bench, values, count):
    from diagnostic_msgs.msg import DiagnosticArray

    rng = random.Random(3)
    node = bench.start()
    masks = bench.masks()
    camera = bench.camera()
    reports = bench.listen(DiagnosticArray, "/diagnostics")
    bench.step(camera, masks, 1.0)
    for i in range(count):
        stamp = 2.0 + i * 0.01
        camera.rgb_publisher.publish(malformed(rng, stamp))
        camera.depth_publisher.publish(malformed(rng, stamp + rng.choice([0, 0.001, -5, 50])))
        if i % 5 == 0:
            bench.spin(0.001)
        if i % 100 == 99:
            recovers(bench, camera, masks, stamp + 100 + i)
    recovers(bench, camera, masks, 1e5)
    assert node.alive
    reports.clear()
    bench.until(lambda: reports, "a report")
    report = values(reports[-1].status[0])
    assert int(report["bad_rgb_messages"]) > 0.3 * count
    assert int(report["bad_depth_messages"]) > 0.3 * count
    assert "Traceback" not in node.log
    assert node.stop()[0] == 0


@pytest.mark.parametrize("count", [60, pytest.param(500, marks=pytest.mark.slow)])
def test_random_parameters(bench, nano_weights, count):
    from rcl_interfaces.srv import SetParametersAtomically
    from rclpy.parameter import Parameter

    rng = random.Random(4)
    node = bench.start(model=str(nano_weights))
    masks = bench.masks()
    camera = bench.camera()
    known = {leaf.name: leaf for leaf in leaves()}

    def value(leaf):
        if leaf.choices:
            return rng.choice([*leaf.choices, "nonsense"])
        low, high = (0 if leaf.low is None else leaf.low), (1 if leaf.high is None else leaf.high)
        ranged = rng.choice([low, high, (low + high) / 2, low - 1, high + 1, float("nan")])
        plain = {bool: rng.random() < 0.5, str: rng.choice(["", "identity", "nowhere"]), float: float(ranged)}
        if leaf.kind is int:
            return int(ranged) if ranged == ranged else 0
        return rng.choice([plain[leaf.kind]] * 5 + ["text", 1, True])

    accepted = rejected = 0
    for i in range(count):
        names = [name for name in rng.sample(sorted(known), rng.randint(1, 3)) if name not in ("enabled", "threads")]
        request = SetParametersAtomically.Request(
            parameters=[Parameter(name, value=value(known[name])).to_parameter_msg() for name in names]
        )
        result = bench.call(SetParametersAtomically, "/saliency/m4sam/set_parameters_atomically", request).result
        if result.successful:
            accepted += 1
        else:
            rejected += 1
            assert result.reason, names
        if i % 20 == 0:
            camera.shoot(10 + i)
    assert accepted > 0.1 * count
    assert rejected > 0.1 * count
    assert bench.set_parameter("sync.missing_depth", "hold").successful
    assert bench.set_parameter("sync.backend", "nearest").successful
    assert bench.set_parameter("sync.depth_stamp_offset_s", 0.0).successful
    assert bench.set_parameter("max_frame_age_s", 0.0).successful
    for side in ("x", "y", "width", "height"):  # a rectangle outside the picture is refused with each frame
        assert bench.set_parameter(f"roi.{side}", 0).successful
    bench.step(camera, masks, 1e5)
    assert "Traceback" not in node.log
