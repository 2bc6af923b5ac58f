# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Reads the launch file on recorders of the launch API, which comes with a ROS installation only.

Every argument is exercised so, and what it would start can be looked at.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

REPO = Path(__file__).resolve().parents[3]
LAUNCH_FILE = REPO / "launch" / "saliency.launch.py"
DDS_VARIABLES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")


class Recorded:
    """Keeps how an action was made."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.args, self.kwargs = args, kwargs


class LaunchConfiguration:
    def __init__(self, name: str) -> None:
        self.name = name

    def perform(self, context: Context) -> str:
        return context.launch_configurations[self.name]


class Context:
    """Values of arguments, and those that were typed."""

    def __init__(self, values: dict[str, str], argv: tuple[str, ...]) -> None:
        self.launch_configurations, self.argv = values, argv


def actions_of(launch_file, typed: tuple[str, ...] = (), **arguments: str) -> list[Recorded]:
    (description,) = [launch_file.generate_launch_description()]
    *declared, opaque = description.args[0]
    defaults = {action.args[0]: action.kwargs["default_value"] for action in declared}
    return opaque.kwargs["function"](Context({**defaults, **arguments}, typed))


def nodes_of(actions: list[Recorded]) -> list[dict[str, Any]]:
    return [action.kwargs for action in actions if type(action).__name__ == "Node"]


def environment_of(actions: list[Recorded]) -> dict[str, str]:
    return dict(action.args for action in actions if type(action).__name__ == "SetEnvironmentVariable")
