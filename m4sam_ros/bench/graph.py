"""Starts the ROS executables as processes and reads what they print; the tools know them by name only."""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from m4sam_core.errors import M4SamError
from m4sam_core.host.tied import tied

NODE_CODE = "import sys; from m4sam_ros.node import main; sys.exit(main())"
DDS_PROFILE = Path("config") / "dds" / "fastdds_shm.xml"
_DDS_VARIABLES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
# The upper range whose ports no operating system hands out; tests and users take the lower one.
DOMAINS = range(221, 233)
_STOP = ((signal.SIGINT, 10.0), (signal.SIGKILL, 5.0))


class GraphError(M4SamError):
    """A ROS process could not start, died, or took too long."""


class GraphProcess:
    """One ROS executable in a session of its own; it ends with this process, also by SIGKILL."""

    def __init__(self, name: str, command: list[str], env: Mapping[str, str], log: Path) -> None:
        self.name = name
        self._log = log
        with log.open("w") as output:
            self._popen = subprocess.Popen(
                tied(command), env=dict(env), stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                start_new_session=True,
            )  # fmt: skip

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self._popen.poll() is None

    @property
    def output(self) -> str:
        """Everything it has printed."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def cpu_s(self) -> float:
        """Processor time it has used, seconds, all threads."""
        fields = Path(f"/proc/{self._popen.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def rss_bytes(self) -> int:
        """Resident memory."""
        return int(Path(f"/proc/{self._popen.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def result(self, timeout_s: float) -> dict[str, Any]:
        """Wait for its end; the JSON object on its last line.

        Raises:
            GraphError: it failed, hung, or printed something else.
        """
        try:
            code = self._popen.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise GraphError(
                f"{self.name}: expected to end within {timeout_s:g} s, still runs\n{self._tail()}"
            ) from None
        lines = [line for line in self.output.splitlines() if line.startswith("{")]
        if code != 0 or not lines:
            raise GraphError(f"{self.name}: expected figures, got exit code {code}\n{self._tail()}")
        return dict(json.loads(lines[-1]))

    def wait_for(self, text: str, timeout_s: float) -> None:
        """Wait until it has printed `text`.

        Raises:
            GraphError: it ended or took too long.
        """
        deadline = time.monotonic() + timeout_s
        while text not in self.output:
            if not self.alive or time.monotonic() > deadline:
                raise GraphError(f"{self.name}: expected {text!r} within {timeout_s:g} s, got\n{self._tail()}")
            time.sleep(0.05)

    def stop(self) -> int:
        """SIGINT, and SIGKILL when that is not followed; the exit code."""
        for number, patience_s in _STOP:
            if self.alive:
                os.killpg(self._popen.pid, number)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._popen.wait(patience_s)
        return self._popen.wait()

    def _tail(self) -> str:
        return "\n".join(self.output.splitlines()[-15:])


class Graph:
    """Processes of one graph; see `running_graph`."""

    def __init__(self, folder: Path, env: Mapping[str, str]) -> None:
        self._folder = folder
        self._env = env
        self.processes: list[GraphProcess] = []

    def node(self, model: str, **parameters: object) -> GraphProcess:
        """The saliency node, once it is active."""
        node = self.start("node", [sys.executable, "-c", NODE_CODE, *ros_arguments({"model": model, **parameters})])
        node.wait_for("active: ", 180.0)
        return node

    def play(self, source: Path, parameters: dict[str, object]) -> GraphProcess:
        """The player."""
        arguments = ros_arguments({"source": source, **parameters})
        return self.start("player", [sys.executable, "-m", "m4sam_ros.player", *arguments])

    def measure(self, *arguments: str) -> GraphProcess:
        """`python -m m4sam_ros.bench.probes ...`."""
        return self.start(arguments[0], [sys.executable, "-m", "m4sam_ros.bench.probes", *arguments])

    def start(self, name: str, command: list[str]) -> GraphProcess:
        """Any command."""
        process = GraphProcess(name, command, self._env, self._folder / f"{len(self.processes)}_{name}.log")
        self.processes.append(process)
        return process


@contextlib.contextmanager
def running_graph(dds_profile: bool = True) -> Iterator[Graph]:
    """A graph of its own on this machine; every process is gone afterwards.

    Args:
        dds_profile: with config/dds/fastdds_shm.xml, else with Fast DDS as it comes.

    Raises:
        GraphError: ROS is not there.
    """
    if importlib.util.find_spec("rclpy") is None:
        raise GraphError("rclpy: expected ROS 2, got none; source its setup.bash, or see `m4sam doctor`")
    env = {name: value for name, value in os.environ.items() if name not in _DDS_VARIABLES}
    env |= {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST", "PYTHONUNBUFFERED": "1"}
    if dds_profile:
        known_as = _DDS_VARIABLES[os.environ.get("ROS_DISTRO", "") in ("humble", "iron", "jazzy")]
        env[known_as] = str(_profile_path())
    with own_domain() as domain, tempfile.TemporaryDirectory(prefix="m4sam_graph_") as folder:
        graph = Graph(Path(folder), {**env, "ROS_DOMAIN_ID": str(domain)})
        try:
            yield graph
        finally:
            for process in reversed(graph.processes):
                process.stop()


@contextlib.contextmanager
def own_domain(domains: Iterable[int] = DOMAINS) -> Iterator[int]:
    """The first of these DDS domains that nobody on this machine holds in this way.

    Raises:
        GraphError: all are held.
    """
    folder = Path(tempfile.gettempdir()) / "m4sam_ros_domains"
    folder.mkdir(exist_ok=True)
    for domain in domains:
        with (folder / str(domain)).open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            yield domain
            return
    raise GraphError("ROS_DOMAIN_ID: expected a free one, got all taken; end other benchmarks or test runs first")


def ros_arguments(parameters: Mapping[str, object]) -> list[str]:
    """Parameters as a ROS command line."""
    pairs = ((name, str(value).lower() if isinstance(value, bool) else value) for name, value in parameters.items())
    return ["--ros-args", *(word for name, value in pairs for word in ("-p", f"{name}:={value}"))]


def _profile_path() -> Path:
    prefixes = [sys.prefix, *filter(None, os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep))]
    places = [Path(__file__).resolve().parents[2], *(Path(prefix) / "share" / "m4sam_ros" for prefix in prefixes)]
    for place in places:
        if (place / DDS_PROFILE).is_file():
            return place / DDS_PROFILE
    raise GraphError(f"{DDS_PROFILE}: expected in the checkout or in share/m4sam_ros, found nowhere; reinstall")
