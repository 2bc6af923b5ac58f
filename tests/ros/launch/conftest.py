# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""The launch file as the tests here read it."""

from __future__ import annotations

import importlib.util
import sys
import types

import pytest

from tests.ros.launch.recorded import DDS_VARIABLES, LAUNCH_FILE, LaunchConfiguration, Recorded


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
