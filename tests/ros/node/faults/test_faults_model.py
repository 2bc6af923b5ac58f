# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Models that fail, are slow, or leave the node no processor: what comes out is never old."""

from __future__ import annotations

import re
import time
from bisect import bisect

import numpy as np
import pytest

from tests.ros.kit import quiet, report_of, seconds, starved

pytestmark = pytest.mark.ros


@pytest.mark.parametrize(
    ("fault", "text", "traceback"),
    [
        ("raising", "frame lost, the model failed: RuntimeError: the convolution went wrong", True),
        ("out_of_memory", "frame lost, the model failed: cuda:0: out of memory; use a smaller model", False),
    ],
)
def test_a_model_that_fails_in_mid_stream(bench, values, fault, text, traceback):
    node = bench.start(fault=fault)
    masks = bench.masks()
    camera = bench.camera()
    bench.step(camera, masks, 1.0)
    bench.step(camera, masks, 1.1)
    for i in range(3):
        camera.shoot(1.2 + i / 10)
        bench.spin(0.1)
    bench.step(camera, masks, 1.5)
    assert text in node.log
    assert ("Traceback" in node.log) is traceback
    assert node.log.count("frame lost") == 1
    report = report_of(bench, values)
    assert report["model_errors"] == report["drops.model_error"] == "3"
    assert report["scene_resets"] == "1"


def test_a_slow_model_always_gets_the_newest_frame(bench, values):
    bench.start(fault="slow")
    masks = bench.masks()
    camera = bench.camera()
    bench.step(camera, masks, 10 - 1 / 30)
    lags, seen = [], 1
    for i in range(75):
        stamp = 10 + i / 30
        camera.shoot(stamp)
        bench.spin(1 / 30)
        if len(masks) > seen:
            seen = len(masks)
            lags.append(stamp - seconds(masks[-1]))
    assert len(lags) >= 6
    # A frame waits for no other: its mask lags by the model's 0.2 s and a frame or two of transport.
    assert np.median(lags) < 0.35
    quiet(bench, masks)
    report = report_of(bench, values)
    drops = sum(int(value) for name, value in report.items() if name.startswith("drops."))
    assert int(report["rgb_in"]) == len(masks) + drops
    assert int(report["drops.busy"]) > 20


@pytest.mark.parametrize(("depth_every", "depth_late"), [(1, 0), (2, 0), (1, 2)])
def test_what_a_starved_node_publishes_is_not_old(bench, values, depth_every, depth_late):
    # It has a history of 100 messages, a third of the time, and a model that keeps its other threads waiting.
    node = bench.start(fault="hogging")
    masks = bench.masks()
    camera = bench.camera(width=640, height=480)
    bench.step(camera, masks, 10 - 1 / 30)
    published = []
    with starved(node, share=0.3):
        for i in range(180):
            camera.shoot(10 + i / 30, depth=i % depth_every == 0, depth_stamp=10 + (i - depth_late) / 30)
            published.append(time.time())
            bench.spin(1 / 30)
    quiet(bench, masks)
    begun = [(float(stamp), float(at)) for stamp, at in re.findall(r"inferring (\S+) at (\S+)", node.log)[1:]]
    old = [bisect(published, at) - 1 - round((stamp - 10) * 30) for stamp, at in begun if at < published[-1]]
    print(f"{len(old)} frames inferred; when each began there were {np.percentile(old, [0, 50, 90, 100])} newer ones")
    assert len(old) >= 5
    # One, what depth is late by, and, if it just stood still, one more.
    assert np.median(old) <= depth_late + 1
    assert np.percentile(old, 90) <= depth_late + 2
    report = report_of(bench, values)
    assert int(report["pairs"]) + int(report["pairs_held_depth"]) >= 0.9 * int(report["rgb_in"])


def test_a_frame_that_waited_too_long_is_not_begun(bench, values):
    node = bench.start("max_frame_age_s:=0.5", fault="second")
    masks = bench.masks()
    camera = bench.camera()
    bench.step(camera, masks, 1.0)
    camera.shoot(20.0)
    bench.until(lambda: "inferring 20.0" in node.log, "the first to begin")
    camera.shoot(20.1)
    bench.until(lambda: int(report_of(bench, values).get("drops.too_old", 0)) == 1, "the second to be dropped")
    assert "inferring 20.1" not in node.log
    assert seconds(masks[-1]) == 20
