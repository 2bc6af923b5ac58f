# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Starts the saliency node for one camera or several.

    ros2 launch m4sam_ros saliency.launch.py camera:=realsense
    ros2 launch m4sam_ros saliency.launch.py rgb_topic:=/cam/rgb depth_topic:=/cam/depth
    ros2 launch m4sam_ros saliency.launch.py cameras:=front:realsense,rear:orbbec
    ros2 launch m4sam_ros saliency.launch.py cameras:=front:realsense,rear:orbbec process:=shared
    ros2 launch m4sam_ros saliency.launch.py camera:=realsense for:=foundationpose
    ros2 launch m4sam_ros saliency.launch.py --show-args

An empty argument leaves the matter to the camera preset, then to the parameter file, then to the node's default.
Only actions that every launch implementation knows are used; bringing the node up (autostart) is the node's business.
"""

import difflib
import json
import os
import re
from pathlib import Path

import yaml
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, LogInfo, OpaqueFunction, SetEnvironmentVariable
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

SHARE = Path(__file__).resolve().parents[1]
PRESETS = SHARE / "config" / "cameras"
CONSUMERS = SHARE / "config" / "consumers"
DDS_VARIABLES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
PROCESSES = ("separate", "shared")
TRUE, FALSE = ("true", "1", "yes", "on"), ("false", "0", "no", "off")
LOG_LEVELS = ("debug", "info", "warn", "error", "fatal")
LEGAL_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
FAST_DDS_2 = ("humble", "iron", "jazzy")  # know the second name only; later distributions warn at it

ARGUMENTS = {
    "camera": ("", "Preset in config/cameras/: realsense, orbbec, oak, zed, azure_kinect, gazebo, tum."),
    "cameras": ("", "Several cameras, name:preset,... Each gets a node in /<name>/<namespace>."),
    "process": ("separate", "shared: all cameras in one process, on one set of weights; separate: a process each."),
    "for": ("", "Who listens: follow, nvblox, foundationpose, grasp, costmap or slam (docs/integrations.md)."),
    "namespace": ("saliency", "Namespace of the node; the mask appears on /<namespace>/mask."),
    "model": ("", "Weights: a name (default: the packaged small model), or a file."),
    "rgb_topic": ("", "Colour image topic; {name} stands for the camera's name. Empty: the preset's."),
    "depth_topic": ("", "Depth image topic, registered to colour. Empty: the preset's."),
    "camera_info_topic": ("", "CameraInfo of the colour image. Empty: the preset's."),
    "params_file": (str(SHARE / "config" / "saliency.yaml"), "ROS parameter file."),
    "use_sim_time": ("", "true: time from /clock."),
    "image_transport": ("", "raw, or compressed for <rgb_topic>/compressed."),
    "depth_transport": ("", "raw, compressedDepth for <depth_topic>/compressedDepth, or compressed (PNG)."),
    "executor": ("", "events: rclpy's EventsExecutor, which needs less processor time (Kilted and later)."),
    "autostart": ("", "false: leave the lifecycle transitions to a manager."),
    "viewer": ("none", "rqt, rviz, rerun or foxglove: what to watch the masks with (docs/viewers.md)."),
    "dds_profile": ("auto", "auto: config/dds/fastdds_shm.xml unless one is set already; none; or an XML file."),
    "respawn": ("false", "true: start the node again when it dies."),
    "log_level": ("info", "debug, info, warn, error."),
}


def start(context):
    """The actions, once every argument has its value."""
    given = {name: LaunchConfiguration(name).perform(context).strip() for name in ARGUMENTS}
    check(given)
    notes = [LogInfo(msg=line) for line in strangers(context)]
    # What is missing ends the launch before anything has been started.
    actions = [OpaqueFunction(function=look_for, args=[VIEWER_PACKAGES.get(given["viewer"], "")])]
    actions += notes + dds_actions(given["dds_profile"])
    read, sharing = {}, []
    for name, preset_name in camera_list(given):
        preset, note = load_preset(preset_name) if preset_name else ({}, "")
        topics = remappings(name, driver_topics(name, preset), given)
        twin = read.setdefault(dict(topics).get("rgb/image", name), name)
        if twin != name:
            raise RuntimeError(
                f"cameras: {twin} and {name} would both read {dict(topics)['rgb/image']}; "
                "give rgb_topic:=/{name}/... and depth_topic:=/{name}/..."
            )
        notes = [note, f"{preset_name}: {preset['driver_note']}" if preset.get("driver_note") else ""]
        actions += [LogInfo(msg=text) for text in notes if text]
        camera = camera_of(name, preset, topics, given)
        if given["process"] == "shared":
            sharing.append(camera)
        else:
            actions.append(node_of(camera, given))
        actions += viewer_actions(name, camera["namespace"], preset, topics, given)
    return [*actions, *([shared_node_of(sharing, given)] if sharing else [])]


def strangers(context):
    """One line for each argument that nobody reads: one like ours, or one that was typed.

    A launch file that includes this one has arguments of its own, which are here as well.
    """
    typed = {word.partition(":=")[0] for word in getattr(context, "argv", ())}
    lines = []
    for name in sorted(set(getattr(context, "launch_configurations", ())) - set(ARGUMENTS)):
        near = difflib.get_close_matches(name, ARGUMENTS, 1, cutoff=0.75)
        if near or name in typed:
            hint = f"did you mean {near[0]}:=?" if near else "--show-args lists those there are"
            lines.append(f"argument {name}:= is not one of saliency.launch.py; {hint}")
    return lines


def check(given):
    """Say in one line what cannot be meant, before anything is started."""
    if given["viewer"] not in ("none", *VIEWERS):
        raise RuntimeError(f"viewer: expected one of none, {', '.join(VIEWERS)}, got {given['viewer']!r}")
    if given["process"] not in PROCESSES:
        raise RuntimeError(f"process: expected {' or '.join(PROCESSES)}, got {given['process']!r}")
    if given["log_level"].lower() not in LOG_LEVELS:
        raise RuntimeError(f"log_level: expected one of {', '.join(LOG_LEVELS)}, got {given['log_level']!r}")
    if given["params_file"] and not Path(given["params_file"]).expanduser().is_file():
        raise RuntimeError(f"params_file: expected a ROS parameter file, got {given['params_file']!r}: no such file")
    names = [name for name, _ in camera_list(given) if name]
    for name in names:
        if not LEGAL_NAME.fullmatch(name):
            raise RuntimeError(f"cameras: expected names of letters, digits and _, got {name!r}, which ROS refuses")
        if names.count(name) > 1:
            raise RuntimeError(
                f"cameras: expected another name for each camera, got {name!r} {names.count(name)} times"
            )
    for part in namespace_of("", given).strip("/").split("/"):
        if part and not LEGAL_NAME.fullmatch(part):
            raise RuntimeError(f"namespace: expected letters, digits, _ and /, got {given['namespace']!r}")


def look_for(_context, package):
    """End the launch when a package is not installed; empty: nothing is needed."""
    try:
        from ament_index_python.packages import PackageNotFoundError, get_package_prefix
    except ImportError:
        return
    try:
        if package:
            get_package_prefix(package)
    except PackageNotFoundError:
        name = f"ros-{os.environ.get('ROS_DISTRO', '<distro>')}-{package.replace('_', '-')}"
        raise RuntimeError(
            f"viewer: the package {package} is not installed; sudo apt install {name}, or leave viewer:= out"
        ) from None


def is_true(name, given):
    """The words that launch, YAML and people use."""
    word = given[name].lower()
    if word not in (*TRUE, *FALSE):
        raise RuntimeError(f"{name}: expected {' or '.join((*TRUE, *FALSE))}, got {given[name]!r}")
    return word in TRUE


def camera_list(given):
    """(name, preset) pairs; the name is empty for the single camera."""
    if not given["cameras"]:
        return [("", given["camera"])]
    pairs = [item.strip().partition(":") for item in given["cameras"].split(",") if item.strip()]
    return [(name.strip().strip("/"), preset.strip() or given["camera"]) for name, _, preset in pairs]


def namespace_of(name, given):
    """With or without slashes, as it was given: saliency, /saliency and saliency/ are one."""
    asked = given["namespace"] or "saliency"
    parts = [part for part in (name, *asked.split("/")) if part]
    return ("/" if asked.startswith("/") else "") + "/".join(parts)


def camera_of(name, preset, topics, given):
    """What tells the node of one camera from the others."""
    overrides = parameters(preset, given)
    files = [given["params_file"]] if given["params_file"] else []
    return {
        "namespace": namespace_of(name, given),
        "parameters": [*files, *([overrides] if overrides else [])],
        "remappings": topics + consumer_remappings(name, given),
    }


def node_of(camera, given):
    """A process for one camera."""
    return Node(**camera, **process_of(given), arguments=["--ros-args", "--log-level", given["log_level"]])


def shared_node_of(cameras, given):
    """One process for all cameras; the ROS arguments of each stand between --camera and --."""
    words = []
    for camera in cameras:
        remaps = [("__ns", "/" + camera["namespace"].strip("/")), *camera["remappings"]]
        words += ["--camera", "--ros-args", *(word for pair in remaps for word in ("-r", f"{pair[0]}:={pair[1]}"))]
        for values in camera["parameters"]:
            if isinstance(values, str):
                words += ["--params-file", values]
            else:
                words += [word for key in values for word in ("-p", f"{key}:={json.dumps(values[key])}")]
        words.append("--")
    return Node(**process_of(given), arguments=[*words, "--ros-args", "--log-level", given["log_level"]])


def process_of(given):
    """How the node's executable is run."""
    return {
        "package": "m4sam_ros",
        "executable": "saliency_node",
        "output": "screen",
        "emulate_tty": True,
        "respawn": is_true("respawn", given),
        "respawn_delay": 2.0,
    }


def viewer_actions(name, namespace, preset, topics, given):
    """The viewer of one camera; everything listens on this machine only."""
    if given["viewer"] == "none":
        return []
    make = VIEWERS[given["viewer"]]
    index = [camera for camera, _ in camera_list(given)].index(name)
    action = make("/" + namespace.strip("/") if namespace.strip("/") else "", index)
    if given["viewer"] != "rerun":
        return [Node(namespace=namespace, **action)]
    wanted = parameters(preset, given)
    shared = {key: wanted[key] for key in ("image_transport", "depth_transport", "use_sim_time") if key in wanted}
    action["parameters"][0].update(shared)
    return [Node(namespace=namespace, remappings=topics, **action)]


def rqt(namespace, _index):
    """The overlay in rqt_image_view."""
    return {"package": "rqt_image_view", "executable": "rqt_image_view", "arguments": [f"{namespace}/overlay"]}


def rviz(namespace, _index):
    """RViz with config/rviz/saliency.rviz, its topics moved to this camera's namespace."""
    topics = ("overlay", "mask", "probability", "depth_masked", "markers", "points", "target")
    return {
        "package": "rviz2",
        "executable": "rviz2",
        "arguments": ["-d", str(SHARE / "config" / "rviz" / "saliency.rviz")],
        "remappings": [(f"/saliency/{topic}", f"{namespace}/{topic}") for topic in topics],
    }


def rerun(_namespace, index):
    """Our own stream to Rerun; each camera its own ports."""
    settings = {"port": 9876 + index, "web_port": 9090 + index}
    return {"package": "m4sam_ros", "executable": "viewer", "output": "screen", "parameters": [settings]}


def foxglove(_namespace, index):
    """Foxglove's bridge; open ws://localhost:8765 in Foxglove and import config/foxglove/saliency.json."""
    settings = {"address": "127.0.0.1", "port": 8765 + index}
    return {"package": "foxglove_bridge", "executable": "foxglove_bridge", "parameters": [settings]}


VIEWERS = {"rqt": rqt, "rviz": rviz, "rerun": rerun, "foxglove": foxglove}
VIEWER_PACKAGES = {"rqt": "rqt_image_view", "rviz": "rviz2", "foxglove": "foxglove_bridge"}


def load_preset(name):
    """The camera preset `name`, a mapping, and a line to print.

    The schema is that of m4sam_ros.cameras. `ros2 launch` may run on another Python than the node, the system's, which
    does not see the package; then the file is taken as it is.
    """
    path = PRESETS / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in PRESETS.glob("*.yaml")))
        raise RuntimeError(f"camera: expected one of {known}, got {name!r}; or give rgb_topic:= and depth_topic:=")
    try:
        from m4sam_core.errors import ConfigError
        from m4sam_ros.cameras import load_camera
    except ImportError as error:
        note = f"{name}: the preset is not checked, this Python lacks what checks it ({error})"
        return yaml.safe_load(path.read_text(encoding="utf-8")), note
    try:
        return load_camera(name, PRESETS).model_dump(exclude_unset=True), ""
    except ConfigError as error:
        raise RuntimeError(f"camera: {error}") from None


def load_consumer(name):
    """The consumer preset `name`, a YAML mapping; empty without a name."""
    if not name:
        return {}
    path = CONSUMERS / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in CONSUMERS.glob("*.yaml")))
        raise RuntimeError(f"for: expected one of {known}, got {name!r}")
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def consumer_remappings(name, given):
    """The node's outputs onto the consumer's inputs; among several cameras, each under its name."""
    prefix = f"/{name}" if name else ""
    topics = load_consumer(given["for"]).get("topics", {})
    return [(inner, f"{prefix}{topic}") for inner, topic in topics.items()]


def parameters(preset, given):
    """What overrides the parameter file: the camera's values, the consumer's, then the arguments that were given."""
    values = {**preset.get("parameters", {}), **load_consumer(given["for"]).get("parameters", {})}
    for name in ("model", "image_transport", "depth_transport", "executor"):
        if given[name] or name in preset:
            values[name] = given[name] or preset[name]
    for name in ("autostart", "use_sim_time"):
        if given[name]:
            values[name] = is_true(name, given)
    return values


def driver_topics(name, preset):
    """Where the preset's driver publishes; among several cameras, each under its name where the driver can do that."""
    return preset.get("named_topics" if name and "named_topics" in preset else "topics", {})


def remappings(name, topics, given):
    """The node's inputs onto the camera's topics."""
    inputs = {"rgb/image": "rgb", "depth/image": "depth", "rgb/camera_info": "camera_info"}
    pairs = []
    for inner, key in inputs.items():
        topic = given[f"{key}_topic"] or topics.get(key, "")
        if topic:
            pairs.append((inner, topic.replace("{name}", name)))
    return pairs


def dds_actions(choice):
    """Large shared-memory buffers for Fast DDS; what the user has set stays."""
    if choice == "none" or (choice == "auto" and any(os.environ.get(name) for name in DDS_VARIABLES)):
        return []
    path = str(SHARE / "config" / "dds" / "fastdds_shm.xml") if choice == "auto" else choice
    if not Path(path).is_file():
        raise RuntimeError(f"dds_profile: expected auto, none or an XML file, got {choice!r}, which does not exist")
    variable = DDS_VARIABLES[os.environ.get("ROS_DISTRO", "") in FAST_DDS_2]
    return [SetEnvironmentVariable(variable, path)]


def generate_launch_description():
    """Called by the launch system."""
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=text)
        for name, (default, text) in ARGUMENTS.items()
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=start)])
