# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""A ROS graph of its own on this machine: a free domain, the package's executables as processes."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import socket
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from m4sam_core.errors import M4SamError
from m4sam_core.host.dds import PROFILE_VARIABLES
from m4sam_core.host.processes import ManagedProcess, ProcessGroup, running
from m4sam_ros.share import dds_profile

NODE_CODE = "import sys; from m4sam_ros.node import main; sys.exit(main())"
# The upper range whose ports no operating system hands out; tests and users take the lower one.
DOMAINS = range(221, 233)
_START_TIMEOUT_S = 180.0


class GraphError(M4SamError):
    """There is no ROS, or no domain left."""


class Graph:
    """Processes of one graph; see `running_graph`."""

    def __init__(self, group: ProcessGroup) -> None:
        self._group = group

    def node(self, model: str, **parameters: object) -> ManagedProcess:
        """The saliency node, once it is active."""
        node = self.start("node", [sys.executable, "-c", NODE_CODE, *ros_arguments({"model": model, **parameters})])
        node.wait_for("active: ", _START_TIMEOUT_S)
        return node

    def play(self, source: Path, parameters: dict[str, object], name: str = "play") -> ManagedProcess:
        """The player, as a node of this name."""
        arguments = ros_arguments({"source": source, **parameters}, {"__node": name} if name != "play" else None)
        return self.start("player", [sys.executable, "-m", "m4sam_ros.player", *arguments])

    def measure(self, *arguments: str) -> ManagedProcess:
        """`python -m m4sam_ros.bench.probes ...`."""
        return self.start(arguments[0], [sys.executable, "-m", "m4sam_ros.bench.probes", *arguments])

    def wait_until(self, condition: Callable[[], bool], what: str, timeout_s: float) -> None:
        """See `ProcessGroup.wait_until`."""
        self._group.wait_until(condition, what, timeout_s)

    def start(self, name: str, command: list[str]) -> ManagedProcess:
        """Any command."""
        return self._group.start(name, command)


@contextlib.contextmanager
def running_graph(large_buffers: bool = True) -> Iterator[Graph]:
    """A graph that nobody else hears; every process is gone afterwards.

    Args:
        large_buffers: with config/dds/fastdds_shm.xml, else with Fast DDS as it comes.

    Raises:
        GraphError: ROS is not there, or every domain is taken.
    """
    if importlib.util.find_spec("rclpy") is None:
        raise GraphError("rclpy: expected ROS 2, got none; source its setup.bash, or see `m4sam doctor`")
    env = {name: value for name, value in os.environ.items() if name not in PROFILE_VARIABLES}
    env |= {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST", "PYTHONUNBUFFERED": "1"}
    if large_buffers:
        env |= dds_profile()
    with own_domain() as domain, tempfile.TemporaryDirectory(prefix="m4sam_graph_") as folder:
        env["ROS_DOMAIN_ID"] = str(domain)
        with running(env, Path(folder)) as group:
            yield Graph(group)


@contextlib.contextmanager
def own_domain(domains: Iterable[int] = DOMAINS) -> Iterator[int]:
    """The first of these DDS domains that nobody on this machine holds in this way.

    It is held by a socket in Linux's abstract namespace: no file that another user could plant, gone with the process,
    and as wide as the loopback network on which the domain would be shared.

    Raises:
        GraphError: all are held.
    """
    for domain in domains:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as held:
            try:
                held.bind(f"\0m4sam_ros_domain_{domain}")
            except OSError:
                continue
            yield domain
            return
    raise GraphError("ROS_DOMAIN_ID: expected a free one, got all taken; end other benchmarks or test runs first")


def ros_arguments(
    parameters: Mapping[str, object] | None = None,
    remappings: Mapping[str, str] | None = None,
    parameter_file: Path | None = None,
) -> list[str]:
    """A ROS command line.

    Args:
        parameters: name to value; they win over the file.
        remappings: from name to name, `__ns` and `__node` too.
        parameter_file: a ROS parameter file.
    """
    words = ["--ros-args"]
    for name, target in (remappings or {}).items():
        words += ["-r", f"{name}:={target}"]
    if parameter_file is not None:
        words += ["--params-file", str(parameter_file)]
    for name, value in (parameters or {}).items():
        words += ["-p", f"{name}:={str(value).lower() if isinstance(value, bool) else value}"]
    return words
