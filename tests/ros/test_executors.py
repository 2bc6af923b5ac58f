# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""The node under rclpy's EventsExecutor does what it does under the usual one."""

from __future__ import annotations

import signal
import sys

import pytest

from m4sam_core.errors import ConfigError
from tests.ros.kit import accounted, needs_events, report_of

pytestmark = pytest.mark.ros


@needs_events
@pytest.mark.parametrize("reliability", ["reliable", "best_effort"])
def test_every_kind_of_callback_is_called(bench, values, reliability):
    """Messages with their info, timers, services, parameters, transitions; publishers that come, and another worker."""
    from std_srvs.srv import Trigger

    node = bench.start("executor:=events")
    masks = bench.masks()
    camera = bench.camera(reliability=reliability)
    for index in range(20):
        bench.step(camera, masks, 1 + index / 15)
    assert bench.call(Trigger, "/saliency/m4sam/reset", Trigger.Request()).success
    assert bench.set_parameter("threshold", 0.6).successful
    assert not bench.set_parameter("executor", "single").successful
    assert bench.transition("deactivate")
    assert bench.transition("activate")
    camera.wait_matched()
    bench.step(camera, masks, 10.0)
    assert accounted(report_of(bench, values))
    bench.until(lambda: bench.sees("m4sam"), "the node in the graph")
    code, _ = node.stop(signal.SIGINT)
    assert (code, "Traceback" in node.log) == (0, False), node.log
    bench.until(lambda: bench.misses("m4sam"), "the node to leave the graph", 10)


@needs_events
def test_it_begins_once_however_long_loading_takes(bench):
    """Two cameras of a process: each one's timer counts on while the other one's thread loads."""
    cameras = ("/front/saliency", "/rear/saliency")
    node = bench.start_shared(*((name, "executor:=events", "backend:=torch") for name in cameras), model="default")
    for name in cameras:
        masks = bench.masks(name)
        bench.step(bench.camera(namespace=name), masks, 1.0)
    assert "[ERROR]" not in node.log, node.log


def test_a_release_without_it_is_one_line(monkeypatch):
    from m4sam_ros.runner import make_executor

    monkeypatch.setitem(sys.modules, "rclpy.experimental", None)
    with pytest.raises(ConfigError, match=r"executor: expected single, got events; .* no EventsExecutor"):
        make_executor("events")
