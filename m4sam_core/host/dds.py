# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""What ROS and Fast DDS need of this machine and may not get, told without them.

They go on without, or end the process, and say nothing that a user could act on.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

from m4sam_core.host.share import ament_prefixes

SHARED_MEMORY = Path("/dev/shm")
PROFILE_VARIABLES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
MIB = 1 << 20
_FREE_IT = "remove what fills it (fastdds shm clean), or give it more: in Docker --ipc=host or --shm-size=1g"
_CRAMPED_BYTES = 64 << 10
_STOCK_SEGMENT_BYTES = 512 << 10
_PORTS_BYTES = 256 << 10  # mailboxes of one process
# rmw_fastrtps's, for discovery within a machine.
_STOCK_PLACES = 32
# Of the RTPS standard: the first participant's port in domain 0, and what a domain and a participant add.
_FIRST_PORT, _PORTS_OF_DOMAIN, _PORTS_OF_PARTICIPANT = 7410, 250, 2
_MOST_PLACES = 120
_UDP = Path("/proc/net/udp")
_HIGHEST_DOMAIN = 232
_REACHES = ("", "SUBNET", "LOCALHOST", "SYSTEM_DEFAULT")


def profile() -> Path | None:
    """The profile that Fast DDS is told to read, there or not; None for its defaults."""
    named = next((os.environ[name] for name in PROFILE_VARIABLES if os.environ.get(name)), None)
    return None if named is None else Path(named)


def profile_numbers(element: str) -> list[int]:
    """The numbers in every such element of the profile in force, e.g. `segment_size`; none without a readable one."""
    path = profile()
    try:
        found = [node.text or "" for node in ET.parse(path).iter() if node.tag.endswith(element)] if path else []
        return [int(text) for text in found]
    except (OSError, ValueError, ET.ParseError):
        return []


def shared_memory_problem() -> str | None:
    """One line when /dev/shm has no room for another process of this profile; None otherwise."""
    if not _is_fast_dds() or not SHARED_MEMORY.is_dir():
        return None
    segment = max(profile_numbers("segment_size"), default=_STOCK_SEGMENT_BYTES)
    needed, free = segment * 9 // 8 + _PORTS_BYTES, shutil.disk_usage(SHARED_MEMORY).free
    if free >= needed:
        return None
    return (
        f"{SHARED_MEMORY}: expected {needed / MIB:.1f} MB for DDS, got {free / MIB:.1f} MB; "
        f"images go over UDP, which is slower and loses large ones: {_FREE_IT}"
    )


def rclpy_problem() -> str | None:
    """One line when /dev/shm is so full that rclpy's libraries end the process as they are loaded; None otherwise.

    They keep a page of their own there (LTTng), and touching one that the system cannot give is a bus error.
    """
    if not SHARED_MEMORY.is_dir() or shutil.disk_usage(SHARED_MEMORY).free >= _CRAMPED_BYTES:
        return None
    tried = subprocess.run([sys.executable, "-c", "import rclpy"], capture_output=True, check=False)
    if tried.returncode != -signal.SIGBUS:
        return None
    return f"{SHARED_MEMORY}: expected some room, got none, and loading ROS ends in a bus error; {_FREE_IT}"


def refused_domain() -> str | None:
    """One line when ROS_DOMAIN_ID is no domain; None otherwise."""
    domain = os.environ.get("ROS_DOMAIN_ID", "").strip()
    if not domain or (domain.isascii() and domain.isdigit() and int(domain) <= _HIGHEST_DOMAIN):
        return None
    return f"ROS_DOMAIN_ID: expected 0 to {_HIGHEST_DOMAIN}, got {domain!r}; correct or unset it"


def refused_middleware() -> str | None:
    """One line when RMW_IMPLEMENTATION is not installed, with which rclpy ends the process; None otherwise."""
    index = Path("share") / "ament_index" / "resource_index" / "rmw_typesupport"
    there = {path.name for prefix in ament_prefixes() for path in (prefix / index).glob("*")} - {"rmw_implementation"}
    wanted = os.environ.get("RMW_IMPLEMENTATION", "")
    if not wanted or not there or wanted in there:
        return None
    return (
        f"RMW_IMPLEMENTATION: expected one of {', '.join(sorted(there))}, got {wanted!r}, which is not installed; "
        "install its package, or unset the variable"
    )


def discovery_problem() -> str | None:
    """One line when ROS_AUTOMATIC_DISCOVERY_RANGE keeps others from being found unasked; None otherwise."""
    reach = os.environ.get("ROS_AUTOMATIC_DISCOVERY_RANGE", "")
    if reach in _REACHES or os.environ.get("ROS_DISTRO") == "humble":  # which does not read it
        return None
    effect = "nobody is found" if reach == "OFF" else "ROS takes it for LOCALHOST and finds no other machine"
    name = "ROS_AUTOMATIC_DISCOVERY_RANGE"
    return f"{name}: expected SUBNET or LOCALHOST, got {reach!r}, so {effect}; correct or unset it"


def participants(domain: int) -> set[int]:
    """The places in a domain, from 0, that processes of this machine hold; empty where that cannot be told."""
    first = _FIRST_PORT + _PORTS_OF_DOMAIN * domain
    try:
        lines = _UDP.read_text(encoding="ascii").splitlines()[1:]
    except OSError:
        return set()
    ports = (int(line.split()[1].rpartition(":")[2], 16) for line in lines)
    places = (divmod(port - first, _PORTS_OF_PARTICIPANT) for port in ports)
    return {place for place, rest in places if rest == 0 and 0 <= place < _MOST_PLACES}


def domain_problem(domain: int) -> str | None:
    """One line when another process of this machine may not be found in the domain; None otherwise.

    Within a machine, Fast DDS calls at a fixed number of places; those beyond do not find each other.
    """
    reach, older = (os.environ.get(name) for name in ("ROS_AUTOMATIC_DISCOVERY_RANGE", "ROS_LOCALHOST_ONLY"))
    within = reach == "LOCALHOST" or older == "1"
    if not _is_fast_dds() or not within:
        return None
    places, taken = max(profile_numbers("maxInitialPeersRange"), default=_STOCK_PLACES), participants(domain)
    if not taken.issuperset(range(places)):
        return None
    return (
        f"ROS_DOMAIN_ID: {len(taken)} processes of this machine are in domain {domain} already, and those beyond the "
        f"first {places} do not find each other: end some, take another domain, or raise maxInitialPeersRange in the "
        "DDS profile (docs/dds.md)"
    )


def _is_fast_dds() -> bool:
    return os.environ.get("RMW_IMPLEMENTATION", "rmw_fastrtps_cpp").startswith(("rmw_fastrtps", "rmw_fastdds"))
