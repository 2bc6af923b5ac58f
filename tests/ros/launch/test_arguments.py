# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""What becomes of the arguments of one camera: parameters, topics, the environment."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.ros.launch.recorded import DDS_VARIABLES, LAUNCH_FILE, REPO, actions_of, environment_of, nodes_of


def test_plain_start_is_one_node_on_the_parameter_file(launch_file):
    actions = actions_of(launch_file)
    (node,) = nodes_of(actions)
    assert (node["package"], node["executable"], node["namespace"]) == ("m4sam_ros", "saliency_node", "saliency")
    assert node["parameters"] == [str(REPO / "config" / "saliency.yaml")]
    assert node["remappings"] == []
    assert Path(environment_of(actions)["FASTDDS_DEFAULT_PROFILES_FILE"]).is_file()


def test_arguments_become_parameters_and_remappings(launch_file):
    (node,) = nodes_of(
        actions_of(
            launch_file,
            model="/w.safetensors",
            rgb_topic="/c/rgb",
            depth_topic="/c/depth",
            camera_info_topic="/c/info",
            use_sim_time="true",
            autostart="false",
            image_transport="compressed",
            depth_transport="compressedDepth",
            namespace="eyes",
        )
    )
    assert node["parameters"][1] == {
        "model": "/w.safetensors",
        "image_transport": "compressed",
        "depth_transport": "compressedDepth",
        "use_sim_time": True,
        "autostart": False,
    }
    assert dict(node["remappings"]) == {
        "rgb/image": "/c/rgb",
        "depth/image": "/c/depth",
        "rgb/camera_info": "/c/info",
    }
    assert node["namespace"] == "eyes"


@pytest.mark.parametrize("word", ["true", "True", "1", "yes", "on"])
@pytest.mark.parametrize("name", ["autostart", "use_sim_time"])
def test_every_word_for_true_means_true(launch_file, name, word):
    (node,) = nodes_of(actions_of(launch_file, **{name: word}))
    assert node["parameters"][1] == {name: True}
    (node,) = nodes_of(actions_of(launch_file, respawn=word))
    assert node["respawn"] is True


@pytest.mark.parametrize("word", ["false", "FALSE", "0", "no", "off"])
def test_every_word_for_false_means_false(launch_file, word):
    (node,) = nodes_of(actions_of(launch_file, autostart=word))
    assert node["parameters"][1] == {"autostart": False}


@pytest.mark.parametrize("namespace", ["saliency", "/saliency", "saliency/", "/saliency/"])
def test_slashes_of_the_namespace_do_not_matter(launch_file, namespace):
    node, viewer = nodes_of(actions_of(launch_file, namespace=namespace, viewer="rqt"))
    assert node["namespace"].strip("/") == "saliency"
    assert not node["namespace"].endswith("/")
    assert viewer["arguments"] == ["/saliency/overlay"]
    first, *_ = nodes_of(actions_of(launch_file, namespace=namespace, cameras="front:oak"))
    assert first["namespace"].strip("/") == "front/saliency"


def test_parameter_file_fits_any_namespace():
    content = yaml.safe_load((REPO / "config" / "saliency.yaml").read_text())
    assert list(content) == ["/**"]
    assert content["/**"]["ros__parameters"]["model"] == "default"


def test_the_users_dds_profile_stays(launch_file, monkeypatch):
    monkeypatch.setenv("FASTRTPS_DEFAULT_PROFILES_FILE", "/my.xml")
    assert environment_of(actions_of(launch_file)) == {}


@pytest.mark.parametrize(("distro", "variable"), [("humble", 1), ("jazzy", 1), ("kilted", 0), ("", 0)])
def test_the_dds_variable_is_the_one_the_distribution_reads(launch_file, monkeypatch, distro, variable):
    monkeypatch.setenv("ROS_DISTRO", distro)
    assert list(environment_of(actions_of(launch_file))) == [DDS_VARIABLES[variable]]


def test_dds_profile_can_be_chosen_or_left_out(launch_file, tmp_path):
    profile = tmp_path / "mine.xml"
    profile.write_text("<dds/>")
    assert set(environment_of(actions_of(launch_file, dds_profile=str(profile))).values()) == {str(profile)}
    assert environment_of(actions_of(launch_file, dds_profile="none")) == {}
    with pytest.raises(RuntimeError, match="does not exist"):
        actions_of(launch_file, dds_profile="/nonexistent.xml")


@pytest.mark.needs_ros_install("launch", "launch_ros", "ros2launch")
def test_real_ros2_launch_prints_the_description(ros_env):
    env = {**ros_env, "AMENT_PREFIX_PATH": f"{sys.prefix}:{os.environ.get('AMENT_PREFIX_PATH', '')}"}
    command = ["ros2", "launch", str(LAUNCH_FILE), "--show-args"]
    shown = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=True)
    assert "camera" in shown.stdout


def test_arguments_that_nobody_reads_are_named(launch_file):
    def notes(*typed, **arguments):
        actions = actions_of(launch_file, typed, **arguments)
        return [action.kwargs["msg"] for action in actions if "msg" in action.kwargs]

    misspelt = "argument camra:= is not one of saliency.launch.py; did you mean camera:=?"
    assert notes(camra="realsense", robot="a") == [misspelt]  # robot: of a launch file that includes ours
    assert notes("camra:=realsense", "fps:=abc", camra="realsense", fps="abc") == [
        misspelt,
        "argument fps:= is not one of saliency.launch.py; --show-args lists those there are",
    ]
    assert notes("model:=edge", model="edge") == []
