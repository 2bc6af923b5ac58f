# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""The measurement of several cameras starts what it says and counts each camera."""

from __future__ import annotations

import pytest

from m4sam_ros.bench.cameras import bench_cameras, evenness


def test_evenness_is_the_least_over_the_most():
    assert evenness([{"masks": 30}, {"masks": 40}]) == 0.75


@pytest.mark.ros
def test_each_camera_is_counted_in_each_case(ros_env):
    result = bench_cameras(2, "identity", "torch", masks=3, fps=5.0, on_step=lambda _: None)
    assert [(case["cameras"], case["process"]) for case in result["cases"]] == [
        (1, "separate"),
        (2, "shared"),
        (2, "separate"),
    ]
    for case in result["cases"]:
        assert len({one["node"] for one in case["each"]}) == case["cameras"]
        assert all(one["masks"] >= 3 for one in case["each"])
    assert result["shared_to_one"] < result["separate_to_one"]
    assert result["separate_to_one"] > 1.5
