# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""What cannot be meant is named in one line, before anything starts."""

from __future__ import annotations

import pytest

from tests.ros.launch.recorded import actions_of

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


def test_unknown_preset_lists_the_known_ones(launch_file):
    with pytest.raises(RuntimeError, match=r"camera: expected one of .*realsense.*got 'nope'"):
        actions_of(launch_file, camera="nope")


def test_unknown_consumer_lists_the_known_ones(launch_file):
    with pytest.raises(RuntimeError, match=r"for: expected one of costmap, follow.*got 'fun'"):
        actions_of(launch_file, **{"for": "fun"})


def test_unknown_viewer_lists_the_known_ones(launch_file):
    with pytest.raises(RuntimeError, match="none, rqt, rviz, rerun, foxglove"):
        actions_of(launch_file, viewer="television")
