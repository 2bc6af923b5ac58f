# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Several cameras: each has its names, in a process of its own or in one for all."""

from __future__ import annotations

import itertools

import yaml

from m4sam_ros.environment import split_cameras
from tests.ros.launch.recorded import actions_of, nodes_of


def test_several_cameras_get_a_namespace_each(launch_file):
    nodes = nodes_of(
        actions_of(launch_file, cameras="front,rear", rgb_topic="/{name}/rgb", depth_topic="/{name}/depth")
    )
    assert [node["namespace"] for node in nodes] == ["front/saliency", "rear/saliency"]
    assert [dict(node["remappings"])["rgb/image"] for node in nodes] == ["/front/rgb", "/rear/rgb"]


def test_cameras_with_presets_use_the_topics_of_a_named_driver(launch_file):
    nodes = nodes_of(actions_of(launch_file, cameras="front:oak,rear:oak"))
    assert [dict(node["remappings"])["rgb/image"] for node in nodes] == ["/front/rgb/image_raw", "/rear/rgb/image_raw"]


def test_several_cameras_feed_a_consumer_under_their_names(launch_file):
    nodes = nodes_of(actions_of(launch_file, **{"for": "follow", "cameras": "front:oak,rear:oak"}))
    assert [dict(node["remappings"])["target"] for node in nodes] == ["/front/dynamic_pose", "/rear/dynamic_pose"]


def test_cameras_that_share_a_process_keep_their_names_topics_and_parameters(launch_file):
    arguments = {"cameras": "front:oak,rear:realsense", "model": "/w b.safetensors", "use_sim_time": "true"}
    separate = nodes_of(actions_of(launch_file, **arguments))
    (shared,) = nodes_of(actions_of(launch_file, **arguments, process="shared"))
    assert (shared["package"], shared["executable"]) == ("m4sam_ros", "saliency_node")
    assert not {"namespace", "remappings", "parameters"} & set(shared)
    common, cameras = split_cameras(shared["arguments"])
    assert common == separate[0]["arguments"]
    for words, node in zip(cameras, separate, strict=True):
        pairs = list(itertools.pairwise(words))
        remaps = dict(value.split(":=", 1) for flag, value in pairs if flag == "-r")
        assert remaps == {"__ns": f"/{node['namespace']}", **dict(node["remappings"])}
        assert [value for flag, value in pairs if flag == "--params-file"] == node["parameters"][:1]
        given = dict(value.split(":=", 1) for flag, value in pairs if flag == "-p")
        assert {name: yaml.safe_load(value) for name, value in given.items()} == node["parameters"][1]


def test_viewers_of_cameras_that_share_a_process_are_processes(launch_file):
    nodes = nodes_of(actions_of(launch_file, cameras="front:oak,rear:oak", process="shared", viewer="rqt"))
    assert [node["executable"] for node in nodes] == ["rqt_image_view", "rqt_image_view", "saliency_node"]
