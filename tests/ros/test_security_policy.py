# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""The SROS 2 policy allows what the node does, and nothing that it does not."""

from __future__ import annotations

import shutil
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

pytestmark = pytest.mark.ros

POLICY = Path(__file__).resolve().parents[2] / "config" / "sros2" / "saliency.policy.xml"
NODE, NAMESPACE = "m4sam", "/saliency"


def allowed(kind: str, action: str) -> set[str]:
    """Fully qualified names."""
    found = {
        str(item.text)
        for group in ET.parse(POLICY).iter(f"{kind}s")
        if group.get(action) == "ALLOW"
        for item in group.iter(kind)
    }
    return {name if name.startswith("/") else f"{NAMESPACE}/{name.replace('~', NODE)}" for name in found}


def test_a_running_node_has_no_more_than_the_policy_allows(bench):
    node = bench.start()
    bench.until(lambda: "active:" in node.log, "the node")
    bench.masks()
    bench.until(lambda: (NODE, NAMESPACE) in bench.ros.get_node_names_and_namespaces(), "the node's name in the graph")

    def names(query):
        return {name for name, _ in query(NODE, NAMESPACE)}

    def serves_reset():
        return f"{NAMESPACE}/{NODE}/reset" in names(bench.ros.get_service_names_and_types_by_node)

    bench.until(serves_reset, "the node's services in the graph")
    assert names(bench.ros.get_publisher_names_and_types_by_node) <= allowed("topic", "publish")
    assert names(bench.ros.get_subscriber_names_and_types_by_node) <= allowed("topic", "subscribe")
    assert names(bench.ros.get_service_names_and_types_by_node) <= allowed("service", "reply")


def test_every_name_of_the_node_is_in_the_policy():
    from m4sam_ros import names

    everything = allowed("topic", "publish") | allowed("topic", "subscribe") | allowed("service", "reply")
    own = [value for key, value in vars(names).items() if key.isupper() and isinstance(value, str)]
    for name in set(own) - {names.NAMESPACE, names.NODE}:
        assert (name if name.startswith("/") else f"{NAMESPACE}/{name.replace('~', NODE)}") in everything, name


@pytest.mark.skipif(shutil.which("ros2") is None, reason="needs a ROS installation (ros2 security)")
def test_ros2_security_takes_the_policy(tmp_path):
    store = str(tmp_path / "store")
    for words in (["create_keystore", store], ["create_enclave", store, "/saliency/m4sam"]):
        subprocess.run(["ros2", "security", *words], check=True, timeout=120)
    words = ["create_permission", store, "/saliency/m4sam", str(POLICY)]
    subprocess.run(["ros2", "security", *words], check=True, timeout=120)
