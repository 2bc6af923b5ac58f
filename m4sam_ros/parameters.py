# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""The node's parameters: one pydantic schema, flattened to ROS parameters with ranges, units and descriptions.

The schema is `m4sam_ros.settings.NodeConfig`. Nested fields become dotted names (`stream.scene.sensitivity`).
`python -m m4sam_ros.parameters` prints docs/parameters.md.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic.fields import FieldInfo

from m4sam_core.config import Config
from m4sam_core.errors import ConfigError
from m4sam_core.host.plain_yaml import nest
from m4sam_ros.parameter_files import files_for_others
from m4sam_ros.settings import NodeConfig

AnyConfig = TypeVar("AnyConfig", bound=Config)

# When a change takes effect. Everything not listed is live.
UNCONFIGURED = "unconfigured"
INACTIVE = "inactive"
LIVE = "live"
START_UP = "start-up"
_CHANGE_START_UP = ("executor",)
_CHANGE_UNCONFIGURED = (
    "model",
    "device",
    "backend",
    "dtype",
    "threads",
    "affinity",
    "priority",
    "autostart",
    "qos.output_depth",
    "outputs.target_tf",
)
_CHANGE_INACTIVE = ("image_transport", "depth_transport", "qos.")


@dataclass(frozen=True)
class Leaf:
    """One ROS parameter.

    Attributes:
        name: dotted name.
        kind: bool, int, float or str.
        default: of that kind.
        low: smallest value, None without.
        high: largest value, None without.
        low_open: the smallest value itself is not allowed.
        high_open: the largest value itself is not allowed.
        choices: allowed strings, empty when any is.
        description: one or two sentences with the unit.
    """

    name: str
    kind: type
    default: Any
    low: float | None
    high: float | None
    low_open: bool
    high_open: bool
    choices: tuple[str, ...]
    description: str

    @property
    def change(self) -> str:
        """In which state it may change: LIVE (any), INACTIVE (not while active), UNCONFIGURED, or none: START_UP."""
        if self.name in _CHANGE_START_UP:
            return START_UP
        if self.name in _CHANGE_UNCONFIGURED:
            return UNCONFIGURED
        return INACTIVE if self.name.startswith(_CHANGE_INACTIVE) else LIVE

    @property
    def range_text(self) -> str:
        """The allowed values for people, e.g. "(0, 1]" or "auto, reliable"."""
        if self.choices:
            return ", ".join(self.choices)
        if self.kind is bool:
            return "true, false"
        if self.low is None and self.high is None:
            return ""
        low = "(-inf" if self.low is None else f"{'(' if self.low_open else '['}{self.low:g}"
        high = "inf)" if self.high is None else f"{self.high:g}{')' if self.high_open else ']'}"
        return f"{low}, {high}"


def leaves(schema: type[Config] = NodeConfig, prefix: str = "") -> Iterator[Leaf]:
    """Every parameter of the schema, in its order."""
    for name, field in schema.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Config):
            yield from leaves(kind, f"{prefix}{name}.")
        else:
            yield _leaf(prefix + name, field)


def _leaf(name: str, field: FieldInfo) -> Leaf:
    choices: tuple[str, ...] = ()
    kind: Any = field.annotation
    if get_origin(kind) is Literal:
        choices, kind = tuple(str(choice) for choice in get_args(kind)), str
    bounds: dict[type, float] = {
        type(item): getattr(item, type(item).__name__.lower())
        for item in field.metadata
        if isinstance(item, (Ge, Gt, Le, Lt))
    }
    return Leaf(
        name=name,
        kind=kind,
        default=field.default,
        low=bounds.get(Ge, bounds.get(Gt)),
        high=bounds.get(Le, bounds.get(Lt)),
        low_open=Gt in bounds,
        high_open=Lt in bounds,
        choices=choices,
        description=field.description or "",
    )


# ----------------------------------------------------------------------------------------------- ROS


class NodeParameters:
    """Declares the schema on a node and keeps a validated `NodeConfig`.

    Args:
        node: the rclpy node.
        words: its command line, for the parameter files there.

    Attributes:
        config: what is in force.
        strangers: see the function of that name.

    Raises:
        ConfigError: a value given at start-up is not allowed; the text names it and the bound.
    """

    def __init__(self, node: Any, words: Sequence[str] = ()) -> None:
        self._leaves = {leaf.name: leaf for leaf in leaves()}
        self._flat = {name: _declare(node, leaf, leaf.change == START_UP) for name, leaf in self._leaves.items()}
        self.config = NodeConfig.parse(nest(self._flat))
        self.strangers = strangers(node, self._leaves, words)

    def as_meant(self, parameters: list[Any]) -> list[Any]:
        """The same parameters, each of the kind it has to be: see `_meant`."""
        from rclpy.parameter import Parameter

        return [
            Parameter(given.name, value=_meant(self._leaves[given.name], given.value))
            if given.name in self._leaves and type(given.value) is int
            else given
            for given in parameters
        ]

    def ours(self, changes: dict[str, Any]) -> dict[str, Any]:
        """Those of `changes` that belong to the schema; use_sim_time and qos_overrides do not."""
        return {name: value for name, value in changes.items() if name in self._leaves}

    def check(self, changes: dict[str, Any], state: str) -> NodeConfig:
        """The configuration after `changes`, which are not applied yet.

        Args:
            changes: dotted names of the schema to values.
            state: label of the lifecycle state.

        Raises:
            ConfigError: not allowed, or not in this state.
        """
        for name, value in changes.items():
            change = self._leaves[name].change
            if value == self._flat[name] or change == LIVE or (change != START_UP and state == UNCONFIGURED):
                continue
            if change == START_UP:
                raise ConfigError(f"{name}: expected at start-up only, got a change; start the node with it")
            if change == UNCONFIGURED or state != INACTIVE:
                raise ConfigError(f"{name}: expected the node to be {change}, got {state}; {_REMEDY[change]} first")
        return NodeConfig.parse(nest({**self._flat, **changes}))

    def accept(self, changes: dict[str, Any], config: NodeConfig) -> None:
        """Put a checked change in force."""
        self._flat.update(changes)
        self.config = config


_REMEDY = {
    UNCONFIGURED: "`ros2 lifecycle set <node> deactivate`, then `cleanup`,",
    INACTIVE: "`ros2 lifecycle set <node> deactivate`",
}


def strangers(node: Any, known: Iterable[str], words: Sequence[str] = ()) -> list[str]:
    """One line for each value given at start-up that nobody reads: a misspelt parameter, a file for other nodes.

    Args:
        node: the rclpy node, its parameters declared.
        known: their names, for the nearest one.
        words: its command line.
    """
    given = getattr(node, "_parameter_overrides", {})  # rclpy has no public way to them
    lines = []
    for name in sorted(given):
        if not node.has_parameter(name) and not name.startswith(_OF_RCLPY):
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]}?" if near else "`ros2 param list` shows those there are"
            lines.append(f"parameter {name}: nobody reads it; {hint}")
    reached = {name: parameter.value for name, parameter in given.items()}
    return [*lines, *files_for_others(words, node.get_fully_qualified_name(), reached)]


def idle_overrides(node: Any) -> list[str]:
    """One line for each `qos_overrides` value that no publisher and no subscription of the node has taken.

    Args:
        node: the rclpy node, with all of them made.
    """
    given = sorted(name for name in node._parameter_overrides if name.startswith(_OVERRIDES))
    return [
        f"parameter {name}: nobody reads it; {_OVERRIDES}<topic>.<publisher|subscription>.<history|depth|reliability>"
        for name in given
        if not node.has_parameter(name)
    ]


_OVERRIDES = "qos_overrides."
_OF_RCLPY = (_OVERRIDES, "use_sim_time", "start_type_description_service")


def declare_fixed(node: Any, schema: type[AnyConfig]) -> AnyConfig:
    """Declare a schema as parameters that only the start-up may set, and return their validated values.

    Values given for parameters that are not in it are warned about.

    Raises:
        ConfigError: a value given at start-up is not allowed; the text names it and the bound.
    """
    values = {leaf.name: _declare(node, leaf, read_only=True) for leaf in leaves(schema)}
    for line in strangers(node, values, sys.argv):
        node.get_logger().warning(line)
    return schema.parse(nest(values))


def _declare(node: Any, leaf: Leaf, read_only: bool = False) -> Any:
    """Declare one parameter; its start-up value is taken as it is meant."""
    from rcl_interfaces.msg import ParameterDescriptor

    given = node.declare_parameter(leaf.name, leaf.default, ParameterDescriptor(dynamic_typing=True)).value
    node.undeclare_parameter(leaf.name)
    value = _coerce(leaf, given)
    described = descriptor(leaf)
    described.read_only = read_only
    return node.declare_parameter(leaf.name, value, described, ignore_override=True).value


def _meant(leaf: Leaf, given: Any) -> Any:
    """What YAML takes for a whole number, of the kind it is for: `depth.max_m: 8`, and the core of `affinity: 2`."""
    return leaf.kind(given) if type(given) is int and leaf.kind in (float, str) else given


def _coerce(leaf: Leaf, given: Any) -> Any:
    given = _meant(leaf, given)
    # YAML reads `off` as false; no string parameter of ours has such a choice, so it stays an error.
    if type(given) is not leaf.kind:
        wanted = f"{leaf.kind.__name__} {leaf.range_text}".strip()
        raise ConfigError(f"{leaf.name}: expected {wanted}, got {given!r}; mend the parameter file")
    value: Any = given  # of the leaf's kind, which only has bounds where it is a number
    too_low = leaf.low is not None and (value <= leaf.low if leaf.low_open else value < leaf.low)
    too_high = leaf.high is not None and (value >= leaf.high if leaf.high_open else value > leaf.high)
    if too_low or too_high or (leaf.choices and given not in leaf.choices) or given != given:
        raise ConfigError(f"{leaf.name}: expected {leaf.range_text}, got {given!r}; mend the parameter file")
    return given


def descriptor(leaf: Leaf) -> Any:
    """The `rcl_interfaces/ParameterDescriptor`: description, range, and when it may change."""
    from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor

    result = ParameterDescriptor(description=leaf.description)
    constraints = [f"one of {leaf.range_text}"] if leaf.choices else []
    if leaf.low_open or leaf.high_open:
        constraints.append(f"in {leaf.range_text}")
    if leaf.change == START_UP:
        constraints.append("given at start-up only")
    elif leaf.change != LIVE:
        constraints.append(f"changes only while {leaf.change}")
    result.additional_constraints = "; ".join(constraints)
    if leaf.low is not None and leaf.high is not None:
        if leaf.kind is int:
            result.integer_range = [IntegerRange(from_value=int(leaf.low), to_value=int(leaf.high), step=0)]
        elif leaf.kind is float:
            low, high = float(leaf.low), float(leaf.high)
            result.floating_point_range = [FloatingPointRange(from_value=low, to_value=high, step=0.0)]
    return result


# ---------------------------------------------------------------------------------------------- docs


def markdown() -> str:
    """docs/parameters.md."""
    lines = [
        "# Parameters of the saliency node",
        "",
        "Generated by `python -m m4sam_ros.parameters > docs/parameters.md` from the schema; a test keeps it true.",
        "",
        "Set them in a file (`--params-file`, see `config/saliency.yaml`), on the command line",
        "(`--ros-args -p threshold:=0.6`) or, where the last column says live, while the node runs",
        "(`ros2 param set /saliency/m4sam threshold 0.6`). The others need the node in the state named:",
        "`ros2 lifecycle set /saliency/m4sam deactivate` (inactive), then `cleanup` (unconfigured). Those of start-up",
        "never change.",
        "A value that is not allowed is rejected with the reason, and the old one stays.",
        "",
        "`use_sim_time` and `qos_overrides.<topic>.<publisher|subscription>.<history|depth|reliability>` work as",
        "everywhere in ROS 2.",
        "",
        "| Parameter | Type | Default | Allowed | Meaning | Change |",
        "|---|---|---|---|---|---|",
    ]
    names = {bool: "bool", int: "int", float: "double", str: "string"}
    for leaf in leaves():
        default = str(leaf.default).lower() if leaf.kind is bool else f"{leaf.default}"
        cells = [f"`{leaf.name}`", names[leaf.kind], f"`{default}`", leaf.range_text, leaf.description, leaf.change]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(markdown())
