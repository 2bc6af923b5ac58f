# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""The soak with faults in short: cameras that lose, delay and die."""

from __future__ import annotations

import pytest

from m4sam_ros.bench.node import write_clip
from m4sam_ros.bench.soak import SoakPlan, _growth, _slope_per_hour, soak

pytestmark = pytest.mark.ros


def test_no_frame_is_unexplained_and_no_ghost_stays(tmp_path):
    write_clip(tmp_path / "clip", 48, 64)
    plan = SoakPlan("identity", 80, 30.0, tmp_path / "clip", period_s=0.5, faults=True, restart_s=1.2)
    result = soak(plan, lambda _: None)
    assert result["unexplained"] == 0, result
    assert result["frames_in"] == result["masks_out"] + sum(result["drops"].values()) + result["waiting_for_depth"]
    assert result["frames_in"] >= 80
    ends = [camera["ended_by"] for camera in result["cameras"]]
    assert ends[:2] == ["SIGINT", "SIGKILL"]
    assert result["camera_restarts"] == len(ends) - 1 >= 1
    assert all((camera["published"] is None) == (camera["ended_by"] == "SIGKILL") for camera in result["cameras"])
    assert [look["ghosts"] for look in result["ghosts"].values()] == [[], []]
    assert result["shared_memory_left"]["segments"] == 0


def test_growth_and_slope_leave_the_warm_up_out():
    trace = [{"seconds": 10.0 * i, "rss_mb": 100.0 + min(i, 10) * 5 + i} for i in range(100)]
    assert _slope_per_hour(trace, "rss_mb") == pytest.approx(360)
    assert _growth(trace, "rss_mb") == pytest.approx(100 * (244.5 / 174.5 - 1), abs=0.01)
    assert _slope_per_hour(trace[:2], "rss_mb") is None
