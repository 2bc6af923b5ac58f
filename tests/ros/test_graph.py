# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""A graph of its own: domains that nobody shares, and no files that others could have planted."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from m4sam_ros.graph import GraphError, own_domain, ros_arguments

REPO = Path(__file__).resolve().parents[2]


def test_a_domain_is_held_once_on_this_machine():
    code = "from m4sam_ros.graph import own_domain\nwith own_domain((3001, 3002)) as domain: print(domain)"
    with own_domain((3001, 3002)) as domain:
        other = subprocess.run([sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True, check=True)
        assert (domain, int(other.stdout)) == (3001, 3002)
        with pytest.raises(GraphError, match="all taken"), own_domain((3001,)):
            pass
    with own_domain((3001,)) as again:
        assert again == 3001


def test_a_link_planted_in_the_shared_temporary_folder_is_not_followed(tmp_path, monkeypatch):
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "3005").write_text("precious")
    shared = tmp_path / "tmp"
    shared.mkdir()
    (shared / "m4sam_ros_domains").symlink_to(victim)
    monkeypatch.setattr(tempfile, "tempdir", str(shared))
    with own_domain((3005,)):
        assert (victim / "3005").read_text() == "precious"
        assert [path.name for path in shared.iterdir()] == ["m4sam_ros_domains"]


def test_a_ros_command_line():
    words = ros_arguments({"out": Path("/a b"), "video": False}, {"__ns": "/front"}, Path("p.yaml"))
    expected = "--ros-args|-r|__ns:=/front|--params-file|p.yaml|-p|out:=/a b|-p|video:=false"
    assert words == expected.split("|")
