# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""What the node answers and reports is so: settings that are refused change nothing, one that is off is said to be."""

from __future__ import annotations

import pytest

from tests.ros.kit import report_of, streaming

pytestmark = pytest.mark.ros


def set_at_once(bench, **settings):
    from rcl_interfaces.srv import SetParametersAtomically
    from rclpy.parameter import Parameter

    request = SetParametersAtomically.Request(
        parameters=[Parameter(name, value=value).to_parameter_msg() for name, value in settings.items()]
    )
    return bench.call(SetParametersAtomically, "/saliency/m4sam/set_parameters_atomically", request).result


def test_settings_refused_together_change_nothing(bench, nano_weights):
    bench.start(model=str(nano_weights))
    masks, camera = bench.masks(), bench.camera()
    bench.step(camera, masks, 1.0)
    refused = set_at_once(bench, enabled=False, ignore_mask="/no/such.png")
    assert not refused.successful
    assert "/no/such.png" in refused.reason
    bench.step(camera, masks, 1.1)


def test_enabling_a_node_that_is_not_active_says_that_no_mask_comes(bench):
    from std_srvs.srv import SetBool

    bench.start("autostart:=false")
    answer = bench.call(SetBool, "/saliency/m4sam/enable", SetBool.Request(data=True))
    assert answer.success
    assert answer.message == "enabled; no masks before the node is active, it is unconfigured"


def test_a_node_that_is_off_is_reported_as_off(bench, values):
    from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus

    streaming(bench, "watchdog_period_s:=0.5")
    assert bench.set_parameter("enabled", False).successful
    reports = bench.listen(DiagnosticArray, "/diagnostics")
    bench.until(lambda: reports and reports[-1].status[0].message.startswith("disabled: no masks until"), "the report")
    assert reports[-1].status[0].level == DiagnosticStatus.OK
    assert bench.set_parameter("enabled", True).successful
    bench.until(lambda: not reports[-1].status[0].message.startswith("disabled"), "the next report")
    assert int(report_of(bench, values)["masks_out"]) >= 5
