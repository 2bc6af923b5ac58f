# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""A parameter file of which nothing reaches the node is said to be one."""

from __future__ import annotations

import pytest

from m4sam_ros.parameter_files import files_for_others

NODE = "/saliency/m4sam"
SECTION = "{key}:\n  ros__parameters:\n    threshold: 0.3\n    depth:\n      max_m: 4.0\n"
FOR_OTHERS = {
    "no namespace": "m4sam",
    "another namespace": "/camera/m4sam",
    "the executable's name": "/saliency/saliency_node",
}
FOR_US = {
    "every node": ("/**", {}),
    "full name": (NODE, {}),
    "a pattern that reached it": ("/*/m4sam", {"depth.max_m": 4.0}),
}


def said(tmp_path, text, given):
    path = tmp_path / "params.yaml"
    path.write_text(text)
    return files_for_others(["node", "--ros-args", "--params-file", str(path)], NODE, given)


@pytest.mark.parametrize("case", FOR_OTHERS)
def test_a_file_for_other_nodes(tmp_path, case):
    (line,) = said(tmp_path, SECTION.format(key=FOR_OTHERS[case]), {"threshold": 0.5})
    assert f"nothing in it is for {NODE}" in line
    assert f"it has parameters of /{FOR_OTHERS[case].lstrip('/')}" in line


@pytest.mark.parametrize("case", FOR_US)
def test_a_file_for_this_node(tmp_path, case):
    key, given = FOR_US[case]
    assert said(tmp_path, SECTION.format(key=key), given) == []


def test_namespaces_may_be_nested(tmp_path):
    nested = "saliency:\n  m4sam:\n    ros__parameters:\n      threshold: 0.3\n"
    assert said(tmp_path, nested, {}) == []
    assert "parameters of /other/m4sam" in said(tmp_path, nested.replace("saliency", "other"), {})[0]


def test_an_empty_file_and_one_that_is_no_plain_yaml_say_nothing(tmp_path):
    assert said(tmp_path, "", {}) == []
    assert said(tmp_path, "a: &a 1\nb: *a\n", {}) == []


@pytest.mark.ros
def test_every_executable_says_it(bench, tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text("m4sam:\n  ros__parameters:\n    threshold: 0.3\nplay:\n  ros__parameters:\n    fps: 3.0\n")
    node = bench.start(ros_args=("--params-file", str(path)))
    bench.until(lambda: "nothing in it is for /saliency/m4sam, it has parameters of /m4sam, /play" in node.log, "it")
    words = ("--ros-args", "-p", f"out:={tmp_path / 'out'}", "--params-file", str(path))
    recorder = bench.run_script("m4sam_ros/recorder/__main__.py", *words)
    bench.until(lambda: "nothing in it is for /saliency/record" in recorder.log, "the recorder's line")
