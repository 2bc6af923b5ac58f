# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""What ROS takes from the environment and the command line, checked so that a mistake is one line and no traceback."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from m4sam_core.errors import ConfigError
from m4sam_core.host.dds import (
    discovery_problem,
    domain_problem,
    rclpy_problem,
    refused_domain,
    refused_middleware,
    shared_memory_problem,
)

EXIT_USAGE = 2
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""What ends an executable: Ctrl-C, a manager, a closed terminal."""
CAMERA = "--camera"
"""Begins the arguments of one of several nodes in a process."""
_END = "--"
_HINTS = {
    "params file": "mend the parameter file named above (docs/parameters.md has every name and range)",
    "parameter override": "write -p name:=value, value in YAML",
    "log level": "one of debug, info, warn, error, fatal",
    "remap": "write -r from:=to; names are letters, digits and _",
    "log directory": "set ROS_LOG_DIR to a folder that this user may write",
    "logging": "set ROS_LOG_DIR to a folder that this user may write",
    "SECURITY": "make the keystore (docs/security.md), or unset ROS_SECURITY_ENABLE",
}


def environment_problem() -> int:
    """Print what `check_environment` and `environment_notes` find; returns the exit code, 0 when ROS can start.

    To be called before rclpy is imported, which ends the process when the middleware is not there.
    """
    try:
        check_environment()
    except ConfigError as error:
        sys.stderr.write(f"error: {error}\n")
        return EXIT_USAGE
    sys.stderr.writelines(f"warning: {note}\n" for note in environment_notes())
    for number in SIGNALS:  # until the main loop takes them over; nothing has begun that would have to be ended
        if signal.getsignal(number) != signal.SIG_IGN:  # nohup has SIGHUP ignored, and means it
            signal.signal(number, lambda *_: os._exit(0))
    return 0


def environment_notes() -> list[str]:
    """What will be missing, one line each, of a process that starts now: shared memory, a place, peers."""
    domain = int(os.environ.get("ROS_DOMAIN_ID", "").strip() or 0)
    found = (shared_memory_problem(), domain_problem(domain), discovery_problem())
    return [problem for problem in found if problem]


def check_environment() -> None:
    """Look at what rclpy and the middleware would fail on without a word that helps.

    Raises:
        ConfigError: naming the variable, or the folder.
    """
    no_domain = refused_domain()
    if no_domain:
        raise ConfigError(no_domain)
    if not any(os.environ.get(name) for name in ("ROS_LOG_DIR", "ROS_HOME", "HOME")):
        raise ConfigError(
            "HOME: expected a home for ROS's log files, got none; set HOME, or ROS_LOG_DIR to a folder for them"
        )
    if os.environ.get("ROS_SECURITY_ENABLE", "").lower() == "true":
        keystore = os.environ.get("ROS_SECURITY_KEYSTORE", "")
        if not keystore or not Path(keystore).is_dir():
            raise ConfigError(
                f"ROS_SECURITY_KEYSTORE: expected a folder, as ROS_SECURITY_ENABLE is set, got {keystore!r}; "
                "make it with `ros2 security create_keystore`, or unset ROS_SECURITY_ENABLE"
            )
    deadly = rclpy_problem() or refused_middleware()
    if deadly:
        raise ConfigError(deadly)


def start_ros(args: Sequence[str] | None) -> None:
    """`rclpy.init`, without its own signal handlers.

    Args:
        args: command line with ROS arguments; None takes ``sys.argv``.

    Raises:
        ConfigError: an argument, a parameter file or a setting that ROS refuses, in one line.
    """
    import rclpy
    from rclpy.signals import SignalHandlerOptions

    try:
        rclpy.init(args=None if args is None else list(args), signal_handler_options=SignalHandlerOptions.NO)
    except Exception as error:  # noqa: BLE001 - rclpy's own kinds differ between distributions
        text = _readable(str(error))
        advice = next((hint for word, hint in _HINTS.items() if word in text), "see docs/troubleshooting.md")
        raise ConfigError(f"ROS refuses to start: {text}; {advice}") from None


def _readable(text: str) -> str:
    """Without places in C files."""
    text = re.sub(r",? at [^ ,]+\.(?:c|cpp|h|hpp):\d+", "", " ".join(text.split()))
    return re.sub(r"^failed to initialize \w+: ", "", text).rstrip(".,; ")


def split_cameras(args: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    """The arguments of a process with several nodes, and those of each.

        --camera --ros-args -r __ns:=/front -- --camera --ros-args -r __ns:=/rear -- --ros-args -p device:=cpu

    What stands between `--camera` and `--` is one node's; everything else is the process's and goes for every node.

    Args:
        args: a command line. A camera without `--` reaches to the next one, or to the end.

    Returns:
        what is left, and one list for each `--camera`; none for a process with one node.
    """
    process: list[str] = []
    cameras: list[list[str]] = []
    into = process
    for word in args:
        if word == CAMERA:
            into = []
            cameras.append(into)
        elif word == _END and into is not process:
            into = process
        else:
            into.append(word)
    return process, cameras
