# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""docs/node.md against the live graph: names, types, QoS, services, parameters."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from m4sam_ros.parameters import leaves

pytestmark = pytest.mark.ros

NODE_MD = (Path(__file__).resolve().parents[2] / "docs" / "node.md").read_text()
NAMESPACE, NAME = "/saliency", "m4sam"
# What rclpy gives every node.
BUILT_IN = {"/rosout", "/parameter_events", "/saliency/m4sam/transition_event"}
OPTIONAL = {
    "/saliency/detections": "vision_msgs/msg/Detection2DArray",
    "/saliency/objects": "vision_msgs/msg/Detection3DArray",
    "/saliency/label_info": "vision_msgs/msg/LabelInfo",
}


def rows(columns: int) -> list[list[str]]:
    """Rows of the document's tables that have so many columns and a name in backquotes."""
    found = []
    for line in NODE_MD.splitlines():
        cells = [cell.strip() for cell in line.strip("| ").split(" | ")]
        if len(cells) == columns and any(cell.startswith("`/") for cell in cells[:2]):
            found.append([cell.strip("`") for cell in cells])
    return found


def graph(names_and_types) -> dict[str, str]:
    return {name: types[0] for name, types in names_and_types if name not in BUILT_IN}


def test_topics_services_and_qos_are_as_documented(bench):
    bench.start()
    bench.camera()
    bench.until(lambda: (NAME, NAMESPACE) in bench.ros.get_node_names_and_namespaces(), "the node's name in the graph")
    documented = rows(5)
    inputs = {name: kind for direction, name, kind, *_ in documented if direction == "in"}
    outputs = {name: kind for direction, name, kind, *_ in documented if direction == "out"}
    assert len(inputs) == 5
    assert len(outputs) == 18
    bench.until(
        lambda: graph(bench.ros.get_subscriber_names_and_types_by_node(NAME, NAMESPACE)) == inputs,
        f"the node to subscribe to {inputs} and nothing else",
    )
    published: dict[str, str] = {}

    def announced():
        published.update(graph(bench.ros.get_publisher_names_and_types_by_node(NAME, NAMESPACE)))
        return {name: kind for name, kind in published.items() if name not in OPTIONAL} == outputs

    bench.until(announced, f"the node to announce {outputs} and nothing else")
    assert all(published[name] == OPTIONAL[name] for name in set(published) & set(OPTIONAL))

    for _, name, _, qos, _ in [row for row in documented if row[0] == "out"]:
        infos = [info for info in bench.ros.get_publishers_info_by_topic(name) if info.node_name == NAME]
        profile = infos[0].qos_profile
        words = [profile.reliability.name.lower().replace("_", " ")]
        if profile.durability.name == "TRANSIENT_LOCAL":
            words.append("transient local")
        assert ", ".join(words) == qos, name

    bench.until(
        lambda: "/saliency/m4sam/change_state" in graph(bench.ros.get_service_names_and_types_by_node(NAME, NAMESPACE)),
        "the services",
    )
    services = graph(bench.ros.get_service_names_and_types_by_node(NAME, NAMESPACE))
    own = {name: kind for name, kind in services.items() if kind.startswith("std_srvs")}
    assert own == {name: kind for name, kind, _ in rows(3)}


def test_parameters_are_as_documented(bench):
    from rcl_interfaces.srv import ListParameters

    bench.start("autostart:=false")
    result = bench.call(ListParameters, f"{NAMESPACE}/{NAME}/list_parameters", ListParameters.Request()).result
    foreign = ("use_sim_time", "qos_overrides.", "start_type_description_service")
    own = {name for name in result.names if not name.startswith(foreign)}
    assert own == {leaf.name for leaf in leaves()}


def test_diagnostics_keys_are_documented_and_frames_accounted_for(bench, values):
    from diagnostic_msgs.msg import DiagnosticArray

    bench.start()
    masks = bench.masks()
    camera = bench.camera()
    for i in range(5):
        bench.step(camera, masks, 1 + i / 10)
    camera.rgb_publisher.publish(camera.rgb_msg(1.39))
    reports = bench.listen(DiagnosticArray, "/diagnostics")
    bench.until(lambda: reports and "drops.late" in values(reports[-1].status[0]), "a report")
    report = values(reports[-1].status[0])
    section = NODE_MD.split("## Diagnostics")[1]
    named = set(re.findall(r"`([a-z_0-9.]+)`", section))
    causes = {name.removeprefix("drops.") for name in report if name.startswith("drops.")}
    assert {name for name in report if not name.startswith("drops.")} <= named
    assert causes <= named
    drops = sum(int(value) for name, value in report.items() if name.startswith("drops."))
    assert int(report["rgb_in"]) == int(report["masks_out"]) + drops
    assert reports[-1].status[0].message == "ok"
