# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""What `m4sam doctor` looks at where there is ROS."""

from __future__ import annotations

import importlib
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

from m4sam_core.cli.finding import Check, import_problem
from m4sam_core.host.dds import (
    MIB,
    PROFILE_VARIABLES,
    SHARED_MEMORY,
    discovery_problem,
    domain_problem,
    participants,
    profile,
    profile_numbers,
    rclpy_problem,
    refused_domain,
    refused_middleware,
    shared_memory_problem,
)

LEAST_SEGMENT_BYTES = 16 * MIB
LEAST_SHM_BYTES = 256 * MIB
PACKAGE = "m4sam_ros"
LAUNCH_FILE = "saliency.launch.py"
EXECUTABLES = ("m4sam", "saliency_node", "play", "record", "viewer")
INDEX = Path("share") / "ament_index" / "resource_index" / "packages"


def ros() -> list[Check]:
    """rclpy, its messages and middleware, and whether `ros2` finds this package."""
    distro = os.environ.get("ROS_DISTRO", "")
    deadly = rclpy_problem() or refused_middleware() or refused_domain() or _end_of_rclpy()
    if deadly:
        found, _, advice = deadly.partition("; ")
        return [Check("ROS 2", "fail", found, advice)]
    problem = import_problem("rclpy")
    if problem:
        if distro:
            advice = "Python or numpy differ from those ROS was built with? Make the venv with --system-site-packages"
            return [Check("ROS 2", "fail", f"{distro}: {problem}", advice)]
        advice = (
            "source /opt/ros/<distro>/setup.bash, or pip install 'm4sam_ros[ros-wheels]'; m4sam itself works without"
        )
        return [Check("ROS 2", "note", problem, advice)]
    findings = [Check("ROS 2", "ok", distro or "from Python wheels")]
    problem = import_problem("sensor_msgs.msg")
    if problem:
        advice = "ROS's messages want the NumPy they were built with: numpy<2 on Ubuntu 22.04 and 24.04, 2 in RoboStack"
        return [*findings, Check("ROS messages", "fail", problem, advice)]
    return [*findings, _rmw(), _optional_ros(), _found_by_ros2(), *_ros_settings()]


def _end_of_rclpy() -> str | None:
    """Why importing rclpy would end this process, rather than raise; None when it does not."""
    tried = subprocess.run([sys.executable, "-c", "import rclpy"], capture_output=True, text=True, check=False)
    if tried.returncode in (0, 1):
        return None
    last = tried.stderr.strip().splitlines()[-1:] or ["without a word"]
    return f"loading rclpy ends the process ({tried.returncode}): {last[0]}; mend what it names, or reinstall ROS"


def _rmw() -> Check:
    # By name: the core imports no ROS, not even here.
    name = importlib.import_module("rclpy").get_rmw_implementation_identifier()
    if name != "rmw_fastrtps_cpp":
        return Check(
            "RMW", "note", name, "config/dds/ has a profile for Fast DDS only; give this one large buffers, too"
        )
    return Check("RMW", "ok", name)


def _optional_ros() -> Check:
    uses = {
        "launch_ros": "ros2 launch",
        "message_filters": "sync.backend:=message_filters",
        "vision_msgs": "detections",
    }
    missing = [f"{name} ({use})" for name, use in uses.items() if importlib.util.find_spec(name) is None]
    if missing:
        return Check("ROS extras", "note", f"without {', '.join(missing)}", "they come with a ROS 2 installation")
    return Check("ROS extras", "ok", ", ".join(uses))


def _found_by_ros2() -> Check:
    """Looks as `ros2 launch` and `ros2 run` do: in the prefixes of AMENT_PREFIX_PATH."""
    name = "ros2 launch, run"
    sourced = [Path(prefix) for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if prefix]
    home = next((prefix for prefix in [*sourced, Path(sys.prefix)] if (prefix / INDEX / PACKAGE).is_file()), None)
    if home is None:
        advice = "make setup, pip install . or colcon build; then put its prefix into AMENT_PREFIX_PATH"
        return Check(name, "warn", f"{PACKAGE} is in no prefix", advice)
    problems = missing_for_ros2(home)
    if problems:
        return Check(name, "warn", f"{home}: {'; '.join(problems)}", "make setup, or pip install --force-reinstall .")
    if home not in sourced:
        advice = f"ros2 looks there after: export AMENT_PREFIX_PATH={home}:$AMENT_PREFIX_PATH"
        return Check(name, "note", f"{home} is not in AMENT_PREFIX_PATH", advice)
    return Check(name, "ok", str(home))


def missing_for_ros2(prefix: Path) -> list[str]:
    """What `ros2 launch` and `ros2 run` would not find in the prefix of an installation.

    ros2launch walks through share/<package> without entering folders that are links; ros2run takes the executable files
    of lib/<package>.
    """
    problems = []
    share = prefix / "share" / PACKAGE
    seen = {name for _, _, files in os.walk(share) for name in files}
    if LAUNCH_FILE not in seen:
        problems.append(f"no {LAUNCH_FILE} under {share}, linked folders not counted")
    libexec = prefix / "lib" / PACKAGE
    lacking = [name for name in EXECUTABLES if not os.access(libexec / name, os.X_OK)]
    if lacking:
        problems.append(f"not executable in {libexec}: {', '.join(lacking)}")
    return problems


def _ros_settings() -> list[Check]:
    domain = int(os.environ.get("ROS_DOMAIN_ID", "").strip() or 0)
    reach = os.environ.get("ROS_AUTOMATIC_DISCOVERY_RANGE", "SUBNET")
    found = f"domain {domain}, {len(participants(domain))} participant(s) on this machine, discovery {reach}"
    problem = domain_problem(domain) or discovery_problem()
    findings = [Check("ROS network", "warn" if problem else "ok", found, problem or "")]
    if os.environ.get("ROS_PYTHON_CHECK_FIELDS") == "1":
        advice = "publishing one image takes 40 ms and more with it: unset ROS_PYTHON_CHECK_FIELDS"
        findings.append(Check("ROS_PYTHON_CHECK_FIELDS", "warn", "1", advice))
    return findings


def dds_profile() -> list[Check]:
    """How much shared memory the DDS profile gives a participant."""
    path = profile()
    if path is None:
        advice = "launch file and demo set config/dds/fastdds_shm.xml; your camera driver wants it too (docs/dds.md)"
        return [Check("DDS profile", "note", "Fast DDS defaults (512 kB of shared memory)", advice)]
    if not path.is_file():
        return [Check("DDS profile", "fail", f"{path} does not exist", f"correct or unset {PROFILE_VARIABLES[0]}")]
    sizes = profile_numbers("segment_size")
    if not sizes or max(sizes) < LEAST_SEGMENT_BYTES:
        advice = f"depth frames get lost below {LEAST_SEGMENT_BYTES // MIB} MB; compare config/dds/fastdds_shm.xml"
        return [Check("DDS profile", "warn", f"{path}: shared memory {max(sizes, default=0)} bytes", advice)]
    return [Check("DDS profile", "ok", f"{path}: {max(sizes) // MIB} MB of shared memory")]


def shared_memory() -> list[Check]:
    """Room in /dev/shm."""
    if not SHARED_MEMORY.is_dir():
        return [Check("/dev/shm", "warn", "missing", "DDS falls back to UDP and loses large images")]
    usage = shutil.disk_usage(SHARED_MEMORY)
    segments = len([*SHARED_MEMORY.glob("fastrtps_*"), *SHARED_MEMORY.glob("fastdds_*")])
    found = f"{usage.total // MIB} MB, {usage.free // MIB} MB free, {segments} Fast DDS files"
    problem = shared_memory_problem()
    if problem:
        return [Check("/dev/shm", "warn", found, problem.partition("; ")[2])]
    if usage.free < LEAST_SHM_BYTES:
        advice = "in Docker: --ipc=host or --shm-size=1g; left-overs of killed nodes: fastdds shm clean"
        return [Check("/dev/shm", "warn", found, advice)]
    return [Check("/dev/shm", "ok", found)]
