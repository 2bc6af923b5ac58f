# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""A viewer for each camera, that watches what its node reads; one that is not there ends the launch."""

from __future__ import annotations

import sys

import pytest

from tests.ros.launch.recorded import actions_of, nodes_of


@pytest.mark.parametrize("viewer", ["rqt", "rviz", "rerun", "foxglove"])
def test_each_camera_gets_a_viewer_of_its_own(launch_file, viewer):
    nodes = nodes_of(actions_of(launch_file, cameras="front:realsense,rear:realsense", viewer=viewer))
    assert [node["namespace"] for node in nodes] == [
        "front/saliency",
        "front/saliency",
        "rear/saliency",
        "rear/saliency",
    ]
    front, rear = nodes[1], nodes[3]
    assert front != rear
    shown = str(front)
    assert "/front/" in shown or "8765" in shown
    assert "0.0.0.0" not in shown


def test_rerun_watches_the_topics_the_node_reads(launch_file):
    node, viewer = nodes_of(actions_of(launch_file, camera="gazebo", viewer="rerun", image_transport="compressed"))
    assert viewer["remappings"] == node["remappings"]
    shared = {"image_transport": "compressed", "use_sim_time": True}
    assert viewer["parameters"] == [{"port": 9876, "web_port": 9090, **shared}]


def test_a_viewer_that_is_not_installed_ends_the_launch_before_the_node_starts(launch_file, monkeypatch):
    actions = actions_of(launch_file, viewer="foxglove")
    look = next(action for action in actions if type(action).__name__ == "OpaqueFunction")
    first_node = next(action for action in actions if type(action).__name__ == "Node")
    assert actions.index(look) < actions.index(first_node)
    pytest.importorskip("ament_index_python")
    monkeypatch.setenv("AMENT_PREFIX_PATH", sys.prefix)
    with pytest.raises(RuntimeError, match=r"foxglove_bridge is not installed; sudo apt install ros-"):
        look.kwargs["function"]({}, *look.kwargs["args"])
    launch_file.look_for({}, "")
