# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""What the node writes into its report is what listeners read back."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.ros


def message(*statuses):
    from diagnostic_msgs.msg import DiagnosticArray

    array = DiagnosticArray(status=list(statuses))
    array.header.stamp.sec = 7
    return array


def test_a_report_is_read_back_as_it_was_written():
    from m4sam_ros.report import drop_values, report_status, reports_in

    values = {"rgb_in": 9, "latency_ms_p50": 1.5, "rate": float("nan"), **drop_values({"busy": 3, "late": 0})}
    (report,) = reports_in(message(report_status("/front/m4sam", "no depth", values)))
    assert (report.node, report.stamp_s, report.problem) == ("/front/m4sam", 7.0, "no depth")
    assert (report.count("rgb_in"), report.count("never")) == (9, 0)
    assert (report.number("latency_ms_p50"), report.number("rate")) == (1.5, None)
    assert report.drops == {"busy": 3}


def test_only_reports_of_the_namespace_are_taken():
    from diagnostic_msgs.msg import DiagnosticStatus

    from m4sam_ros.report import report_status, reports_in, state_status

    foreign = DiagnosticStatus(name="motor: saliency of torque")
    mixed = message(
        report_status("/front/m4sam", None, {}),
        report_status("/frontal/m4sam", None, {}),
        state_status("/front/m4sam", "scene 1", {}),
        foreign,
    )
    assert [report.node for report in reports_in(mixed, "/front")] == ["/front/m4sam"]
    assert len(reports_in(mixed)) == 2
    assert all(report.problem == "" for report in reports_in(mixed))


def test_a_state_makes_a_caption():
    from m4sam_ros.report import scene_caption, state_status

    assert scene_caption(state_status("/m4sam", "", {"scene_id": 3, "rgb_only": True})) == "scene 3   rgb only"
    assert scene_caption(state_status("/m4sam", "", {"lifecycle": "active"})) == ""
