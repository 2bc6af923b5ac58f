# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Presets of cameras and consumers, all of them: what they set, what wins over them, and what is wrong with one."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from tests.ros.launch.recorded import REPO, actions_of, nodes_of

CONSUMERS = sorted(file.stem for file in (REPO / "config" / "consumers").glob("*.yaml"))


@pytest.mark.parametrize("preset", sorted(file.stem for file in (REPO / "config" / "cameras").glob("*.yaml")))
def test_every_camera_preset_names_its_topics(launch_file, preset):
    (node,) = nodes_of(actions_of(launch_file, camera=preset))
    remapped = dict(node["remappings"])
    assert remapped["rgb/image"].startswith("/")
    assert remapped["depth/image"].startswith("/")


def test_an_argument_wins_over_the_preset(launch_file):
    (node,) = nodes_of(actions_of(launch_file, camera="realsense", rgb_topic="/other"))
    assert dict(node["remappings"])["rgb/image"] == "/other"


def test_a_preset_that_breaks_the_schema_is_refused(launch_file, monkeypatch, tmp_path):
    broken = (REPO / "config/cameras/orbbec.yaml").read_text().replace("millimetres", "inches")
    (tmp_path / "orbbec.yaml").write_text(broken)
    monkeypatch.setattr(launch_file, "PRESETS", tmp_path)
    with pytest.raises(RuntimeError, match=r"camera: .*orbbec\.yaml: depth_unit"):
        actions_of(launch_file, camera="orbbec")


def test_a_python_without_the_package_takes_the_preset_unchecked_and_says_so(launch_file, monkeypatch):
    checked = nodes_of(actions_of(launch_file, camera="gazebo"))
    monkeypatch.setitem(sys.modules, "m4sam_ros.cameras", None)
    actions = actions_of(launch_file, camera="gazebo")
    assert nodes_of(actions) == checked
    texts = [action.kwargs["msg"] for action in actions if type(action).__name__ == "LogInfo"]
    assert any("the preset is not checked" in text for text in texts)


@pytest.mark.parametrize("consumer", CONSUMERS)
def test_every_consumer_preset_sets_parameters_and_topics_that_exist(launch_file, consumer):
    from m4sam_ros import names
    from m4sam_ros.parameters import leaves
    from m4sam_ros.settings import NodeConfig

    (node,) = nodes_of(actions_of(launch_file, **{"for": consumer, "camera": "realsense"}))
    wanted = node["parameters"][1]
    assert wanted
    assert set(wanted) <= {leaf.name for leaf in leaves()}
    nested: dict[str, Any] = {}
    for name, value in wanted.items():
        group, _, leaf = name.partition(".")
        nested.setdefault(group, {})[leaf] = value
    NodeConfig.parse(nested)
    outputs = dict(node["remappings"][3:])
    assert set(outputs) <= {*names.BUNDLE, names.TARGET}
    assert all(topic.startswith("/") for topic in outputs.values())


def test_the_consumers_are_those_of_the_argument_and_the_page(launch_file):
    assert CONSUMERS == ["costmap", "follow", "foundationpose", "grasp", "nvblox", "slam"]
    page = (REPO / "docs" / "integrations.md").read_text()
    for consumer in CONSUMERS:
        assert consumer in launch_file.ARGUMENTS["for"][1]
        assert f"for:={consumer}" in page
