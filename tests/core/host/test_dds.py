# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""What Fast DDS needs of a machine, told from /dev/shm, /proc and the environment."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from types import SimpleNamespace

import pytest

from m4sam_core.cli import doctor_ros
from m4sam_core.host import dds

SMALL = dds.MIB
DOMAIN = 3


@pytest.fixture(autouse=True)
def _usual(monkeypatch):
    for name in (*dds.PROFILE_VARIABLES, "RMW_IMPLEMENTATION", "ROS_LOCALHOST_ONLY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")


@pytest.fixture
def with_room(monkeypatch, tmp_path):
    """Shared memory of that many free bytes."""

    def set_free(free):
        monkeypatch.setattr(dds, "SHARED_MEMORY", tmp_path)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(total=free, used=0, free=free))

    return set_free


@pytest.fixture
def with_profile(monkeypatch, tmp_path):
    def write(text):
        (tmp_path / "profile.xml").write_text(text)
        monkeypatch.setenv("FASTDDS_DEFAULT_PROFILES_FILE", str(tmp_path / "profile.xml"))

    return write


@pytest.fixture
def with_ports(monkeypatch, tmp_path):
    """These ports are bound on this machine."""

    def bind(ports):
        lines = [f" {i}: 0100007F:{port:04X} 00000000:0000 07 00000000:00000000" for i, port in enumerate(ports)]
        (tmp_path / "udp").write_text("\n".join(["  sl  local_address rem_address   st", *lines]) + "\n")
        monkeypatch.setattr(dds, "_UDP", tmp_path / "udp")

    return bind


def ports(places, domain=DOMAIN):
    """Of participants: one to be found by, one for data."""
    return [7400 + 250 * domain + offset + 2 * place for place in places for offset in (10, 11)]


def test_room_is_judged_by_the_profile(with_room, with_profile):
    with_room(SMALL)
    assert dds.shared_memory_problem() is None  # 512 kB without a profile
    with_profile("<dds><segment_size>33554432</segment_size></dds>")
    assert dds.shared_memory_problem().startswith(f"{dds.SHARED_MEMORY}: expected 36.2 MB for DDS, got 1.0 MB; images")
    with_room(64 * dds.MIB)
    assert dds.shared_memory_problem() is None


@pytest.mark.parametrize("text", ["no XML", "<dds><segment_size>much</segment_size></dds>"])
def test_a_broken_profile_counts_as_none(with_room, with_profile, text):
    with_profile(text)
    with_room(SMALL)
    assert dds.shared_memory_problem() is None
    with_room(100_000)
    assert "expected 0.8 MB for DDS, got 0.1 MB" in dds.shared_memory_problem()


def test_other_middleware_has_needs_of_its_own(with_room, with_ports, monkeypatch):
    monkeypatch.setenv("RMW_IMPLEMENTATION", "rmw_cyclonedds_cpp")
    with_room(0)
    with_ports(ports(range(40)))
    assert dds.shared_memory_problem() is None
    assert dds.domain_problem(DOMAIN) is None


def test_a_full_memory_is_deadly_only_where_loading_ros_dies(with_room, monkeypatch):
    ends_with = 0
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: SimpleNamespace(returncode=ends_with))
    with_room(0)
    assert dds.rclpy_problem() is None
    ends_with = -signal.SIGBUS
    assert "expected some room, got none, and loading ROS ends in a bus error" in dds.rclpy_problem()
    (finding,) = doctor_ros.ros()
    assert (finding.status, "bus error" in finding.found) == ("fail", True)
    assert "--ipc=host" in finding.advice
    with_room(SMALL)
    assert dds.rclpy_problem() is None


def test_places_of_a_domain_are_read_from_its_ports(with_ports):
    others = [*ports([5], domain=2), *ports([9], domain=4), 53, 65535]
    with_ports([*ports([0, 3, 119]), *others])
    assert dds.participants(DOMAIN) == {0, 3, 119}


def test_a_crowded_domain_is_named_where_places_are_called_at(with_ports, with_profile, monkeypatch):
    with_ports(ports(range(31)))
    assert dds.domain_problem(DOMAIN) is None
    with_ports(ports(range(32)))
    problem = dds.domain_problem(DOMAIN)
    assert problem.startswith("ROS_DOMAIN_ID: 32 processes of this machine are in domain 3 already")
    with_profile("<dds><maxInitialPeersRange>100</maxInitialPeersRange></dds>")
    assert dds.domain_problem(DOMAIN) is None
    with_ports(ports(range(100)))
    assert "beyond the first 100 do not find each other" in dds.domain_problem(DOMAIN)
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "SUBNET")
    assert dds.domain_problem(DOMAIN) is None
    monkeypatch.setenv("ROS_LOCALHOST_ONLY", "1")
    assert dds.domain_problem(DOMAIN) is not None


@pytest.mark.parametrize(
    ("reach", "distro", "words"),
    [
        ("SUBNET", "", None),
        ("OFF", "jazzy", "got 'OFF', so nobody is found"),
        ("subnet", "", "got 'subnet', so ROS takes it for LOCALHOST"),
        ("OFF", "humble", None),
    ],
)
def test_a_reach_in_which_nobody_is_found_is_named(reach, distro, words, monkeypatch):
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", reach)
    monkeypatch.setenv("ROS_DISTRO", distro)
    problem = dds.discovery_problem()
    assert problem is None if words is None else words in problem


def test_the_ports_of_this_machine():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
        domain, rest = divmod(port - 7410, 250)
        assert (rest // 2 in dds.participants(domain)) or rest % 2 or rest >= 240
    if not os.path.exists("/proc/net/udp"):
        assert dds.participants(0) == set()
