# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""One schema for ROS parameters and their documentation; what is allowed when."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from m4sam_core.config import PipelineConfig
from m4sam_core.errors import ConfigError
from m4sam_core.host.plain_yaml import nest
from m4sam_ros.parameters import INACTIVE, LIVE, UNCONFIGURED, NodeParameters, leaves, markdown
from m4sam_ros.settings import NodeConfig

REPO = Path(__file__).resolve().parents[2]
LEAVES = {leaf.name: leaf for leaf in leaves()}


def test_docs_are_what_the_schema_says():
    assert (REPO / "docs" / "parameters.md").read_text() == markdown(), (
        "regenerate: python -m m4sam_ros.parameters > docs/parameters.md"
    )


def test_every_parameter_is_described_and_its_default_allowed():
    assert NodeConfig.parse(nest({name: leaf.default for name, leaf in LEAVES.items()})) == NodeConfig()
    for leaf in LEAVES.values():
        assert leaf.description.endswith("."), leaf.name
        assert leaf.kind in (bool, int, float, str), leaf.name
        assert type(leaf.default) is leaf.kind, leaf.name
        if leaf.kind in (int, float):
            assert leaf.low is not None, leaf.name
            assert leaf.high is not None, leaf.name
        if leaf.name.endswith("_s"):
            assert "Seconds" in leaf.description, leaf.name


def test_bounds_are_told_as_they_are():
    assert LEAVES["threshold"].range_text == "(0, 1)"
    assert LEAVES["depth.max_m"].range_text == "(0, 10000]"
    assert LEAVES["sync.backend"].range_text == "nearest, message_filters"
    assert LEAVES["model"].change == UNCONFIGURED
    assert LEAVES["qos.reliability"].change == INACTIVE
    assert LEAVES["stream.scene.sensitivity"].change == LIVE


def test_the_pipeline_gets_exactly_its_part():
    given = {"threshold": 0.7, "dtype": "float32", "threads": 2, "depth": {"max_m": 4.0}}
    cfg = NodeConfig.parse({**given, "sync": {"queue_size": 3}})
    assert cfg.pipeline_config() == PipelineConfig.parse(given)


@pytest.fixture
def ros_node(ros_env):
    rclpy = pytest.importorskip("rclpy")
    from rclpy.context import Context

    context = Context()
    made = []

    def make(*overrides):
        node = rclpy.create_node("m", context=context, cli_args=["--ros-args", *overrides])
        made.append(node)
        return node

    rclpy.init(context=context, domain_id=int(ros_env["ROS_DOMAIN_ID"]))
    yield make
    for node in made:
        node.destroy_node()
    context.try_shutdown()


@pytest.mark.ros
def test_declared_with_description_range_and_state(ros_node):
    node = ros_node()
    NodeParameters(node)
    described = node.describe_parameter("stream.bank.capacity")
    assert described.description
    assert (described.integer_range[0].from_value, described.integer_range[0].to_value) == (2, 256)
    described = node.describe_parameter("threshold")
    assert (described.floating_point_range[0].from_value, described.floating_point_range[0].to_value) == (0.0, 1.0)
    assert "in (0, 1)" in described.additional_constraints
    assert "only while unconfigured" in node.describe_parameter("model").additional_constraints
    assert "one of auto, reliable" in node.describe_parameter("qos.reliability").additional_constraints


@pytest.mark.ros
def test_start_up_values_and_whole_numbers_for_floats_and_texts(ros_node):
    from rclpy.parameter import Parameter

    node = ros_node(
        "-p", "depth.max_m:=8", "-p", "affinity:=1", "-p", "sync.missing_depth:=drop",
        "-p", "stream.scene.enabled:=false",
    )  # fmt: skip
    parameters = NodeParameters(node)
    assert parameters.config.affinity == node.get_parameter("affinity").value == "1"
    later = parameters.as_meant([Parameter("affinity", value=0), Parameter("depth.max_m", value=9)])
    assert [parameter.value for parameter in later] == ["0", 9.0]
    assert parameters.config.depth.max_m == 8.0
    assert node.get_parameter("depth.max_m").value == 8.0
    assert parameters.config.sync.missing_depth == "drop"
    assert not parameters.config.stream.scene.enabled


@pytest.mark.ros
@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("threshold", "1.0", r"threshold: expected \(0, 1\), got 1.0"),
        ("threshold", "high", "threshold: expected float"),
        ("stream.bank.capacity", "0", "capacity: expected .2, 256., got 0"),
        ("stream.bank.capacity", "2.5", "capacity: expected int"),
        ("sync.backend", "best", "sync.backend: expected nearest, message_filters, got 'best'"),
        ("autostart", "1", "autostart: expected bool"),
        ("affinity", "true", "affinity: expected str, got True"),
        ("depth.max_m", "0.1", "max_m must be greater than min_m"),
        ("depth.max_m", ".nan", "depth.max_m"),
    ],
)
def test_bad_start_up_values_are_refused_with_the_reason(ros_node, name, value, reason):
    node = ros_node("-p", f"{name}:={value}")
    with pytest.raises(ConfigError, match=reason):
        NodeParameters(node)


@pytest.mark.ros
def test_changes_depend_on_the_state(ros_node):
    parameters = NodeParameters(ros_node())
    assert parameters.check({"threshold": 0.3}, "active").threshold == 0.3
    assert parameters.config.threshold == 0.5
    for name, value in (("model", "edge"), ("device", "cpu")):
        for state in ("inactive", "active"):
            with pytest.raises(ConfigError, match=f"{name}: expected the node to be unconfigured, got {state}"):
                parameters.check({name: value}, state)
        assert getattr(parameters.check({name: value}, "unconfigured"), name) == value
    with pytest.raises(ConfigError, match="expected the node to be inactive, got active"):
        parameters.check({"image_transport": "compressed"}, "active")
    assert parameters.check({"image_transport": "compressed"}, "inactive").image_transport == "compressed"
    # The same value is no change.
    assert parameters.check({"model": "default"}, "active") == parameters.config


@pytest.mark.ros
def test_fuzz_every_value_is_taken_or_refused_with_a_reason(ros_node):
    rng = random.Random(0)
    parameters = NodeParameters(ros_node())
    pool = [
        0,
        1,
        -1,
        2**31,
        0.5,
        -0.5,
        1e9,
        float("nan"),
        float("inf"),
        "",
        "auto",
        "drop",
        "sliding",
        True,
        False,
        None,
        [1],
        "x" * 300,
    ]
    taken = refused = told = 0
    for _ in range(3000):
        changes = {name: rng.choice(pool) for name in rng.sample(sorted(LEAVES), rng.randint(1, 3))}
        state = rng.choice(["unconfigured", "inactive", "active"])
        try:
            config = parameters.check(changes, state)
            parameters.accept(changes, config)
            taken += 1
        except ConfigError as error:
            told += any(name.split(".")[-1] in str(error) or name.split(".")[0] in str(error) for name in changes)
            refused += 1
    assert taken > 100
    assert refused > 1000
    assert told == refused
