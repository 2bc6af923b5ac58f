# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""What the launch file would start. The launch packages come with a ROS installation only.

Without them a recorder of the few classes the file uses stands in, so that every argument is still exercised; with them
the real `ros2 launch` reads the file too.
"""

from __future__ import annotations

import importlib.util
import itertools
import os
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import yaml

from m4sam_ros.environment import split_cameras

REPO = Path(__file__).resolve().parents[2]
LAUNCH_FILE = REPO / "launch" / "saliency.launch.py"
DDS_VARIABLES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")


class Recorded:
    """Keeps how an action was made."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.args, self.kwargs = args, kwargs


class LaunchConfiguration:
    def __init__(self, name: str) -> None:
        self.name = name

    def perform(self, context: dict[str, str]) -> str:
        return context[self.name]


@pytest.fixture
def launch_file(monkeypatch):
    """The launch file as a module, on recorders of the launch API."""
    kinds = {
        name: type(name, (Recorded,), {})
        for name in (
            "LaunchDescription",
            "DeclareLaunchArgument",
            "LogInfo",
            "OpaqueFunction",
            "SetEnvironmentVariable",
            "Node",
        )
    }
    for module_name in ("launch", "launch.actions", "launch.substitutions", "launch_ros", "launch_ros.actions"):
        module = types.ModuleType(module_name)
        vars(module).update(kinds, LaunchConfiguration=LaunchConfiguration)
        monkeypatch.setitem(sys.modules, module_name, module)
    for name in (*DDS_VARIABLES, "ROS_DISTRO"):
        monkeypatch.delenv(name, raising=False)
    spec = importlib.util.spec_from_file_location("saliency_launch", LAUNCH_FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def actions_of(launch_file, **arguments: str) -> list[Recorded]:
    (description,) = [launch_file.generate_launch_description()]
    *declared, opaque = description.args[0]
    defaults = {action.args[0]: action.kwargs["default_value"] for action in declared}
    assert set(arguments) <= set(defaults)
    return opaque.kwargs["function"]({**defaults, **arguments})


def nodes_of(actions: list[Recorded]) -> list[dict[str, Any]]:
    return [action.kwargs for action in actions if type(action).__name__ == "Node"]


def environment_of(actions: list[Recorded]) -> dict[str, str]:
    return dict(action.args for action in actions if type(action).__name__ == "SetEnvironmentVariable")


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


def test_several_cameras_get_a_namespace_each(launch_file):
    nodes = nodes_of(
        actions_of(launch_file, cameras="front,rear", rgb_topic="/{name}/rgb", depth_topic="/{name}/depth")
    )
    assert [node["namespace"] for node in nodes] == ["front/saliency", "rear/saliency"]
    assert [dict(node["remappings"])["rgb/image"] for node in nodes] == ["/front/rgb", "/rear/rgb"]


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


def test_cameras_with_presets_use_the_topics_of_a_named_driver(launch_file):
    nodes = nodes_of(actions_of(launch_file, cameras="front:oak,rear:oak"))
    assert [dict(node["remappings"])["rgb/image"] for node in nodes] == ["/front/rgb/image_raw", "/rear/rgb/image_raw"]


@pytest.mark.parametrize("preset", sorted(file.stem for file in (REPO / "config" / "cameras").glob("*.yaml")))
def test_every_camera_preset_names_its_topics(launch_file, preset):
    (node,) = nodes_of(actions_of(launch_file, camera=preset))
    remapped = dict(node["remappings"])
    assert remapped["rgb/image"].startswith("/")
    assert remapped["depth/image"].startswith("/")


CONSUMERS = sorted(file.stem for file in (REPO / "config" / "consumers").glob("*.yaml"))


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


def test_several_cameras_feed_a_consumer_under_their_names(launch_file):
    nodes = nodes_of(actions_of(launch_file, **{"for": "follow", "cameras": "front:oak,rear:oak"}))
    assert [dict(node["remappings"])["target"] for node in nodes] == ["/front/dynamic_pose", "/rear/dynamic_pose"]


def test_unknown_consumer_lists_the_known_ones(launch_file):
    with pytest.raises(RuntimeError, match=r"for: expected one of costmap, follow.*got 'fun'"):
        actions_of(launch_file, **{"for": "fun"})


def test_an_argument_wins_over_the_preset(launch_file):
    (node,) = nodes_of(actions_of(launch_file, camera="realsense", rgb_topic="/other"))
    assert dict(node["remappings"])["rgb/image"] == "/other"


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


def test_unknown_viewer_lists_the_known_ones(launch_file):
    with pytest.raises(RuntimeError, match="none, rqt, rviz, rerun, foxglove"):
        actions_of(launch_file, viewer="television")


def test_unknown_preset_lists_the_known_ones(launch_file):
    with pytest.raises(RuntimeError, match=r"camera: expected one of .*realsense.*got 'nope'"):
        actions_of(launch_file, camera="nope")


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


def test_parameter_file_fits_any_namespace():
    content = yaml.safe_load((REPO / "config" / "saliency.yaml").read_text())
    assert list(content) == ["/**"]
    assert content["/**"]["ros__parameters"]["model"] == "default"


@pytest.mark.needs_ros_install("launch", "launch_ros", "ros2launch")
def test_real_ros2_launch_prints_the_description(ros_env):
    env = {**ros_env, "AMENT_PREFIX_PATH": f"{sys.prefix}:{os.environ.get('AMENT_PREFIX_PATH', '')}"}
    command = ["ros2", "launch", str(LAUNCH_FILE), "--show-args"]
    shown = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=True)
    assert "camera" in shown.stdout


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


REFUSED = {
    "autostart": ({"autostart": "maybe"}, "autostart: expected true or 1 or .* got 'maybe'"),
    "hyphen": ({"cameras": "front-left:oak"}, "cameras: expected names of letters, digits and _, got 'front-left'"),
    "no name": ({"cameras": "1st:oak"}, "got '1st'"),
    "two of one name": ({"cameras": "front:oak,front:oak"}, "got 'front' 2 times"),
    "one stream twice": ({"cameras": "front:tum,rear:tum"}, "front and rear would both read /"),
    "process": ({"process": "joint"}, "process: expected separate or shared, got 'joint'"),
    "namespace": ({"namespace": "my-robot"}, "namespace: expected letters"),
    "params_file": (
        {"params_file": "/no/such.yaml"},
        "params_file: expected a ROS parameter file, got '/no/such.yaml'",
    ),
    "log_level": ({"log_level": "loud"}, "log_level: expected one of debug, info"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_meant_is_named_before_anything_starts(launch_file, case):
    arguments, text = REFUSED[case]
    with pytest.raises(RuntimeError, match=text):
        actions_of(launch_file, **arguments)


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
