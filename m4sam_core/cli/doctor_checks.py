"""What `m4sam doctor` looks at. Every check works where the thing it looks for is absent or broken."""

from __future__ import annotations

import glob
import importlib
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from m4sam_core.host.optional import SAM2_COMMAND

MIB = 1 << 20
LEAST_SEGMENT_BYTES = 16 * MIB
LEAST_SHM_BYTES = 256 * MIB


@dataclass(frozen=True)
class Check:
    """One finding.

    Attributes:
        name: what was looked at.
        status: ok; note (nothing wrong, worth knowing); warn (works, not well); fail (does not work).
        found: what there is.
        advice: what to do; empty when ok.
    """

    name: str
    status: Literal["ok", "note", "warn", "fail"]
    found: str
    advice: str = ""


def run_checks() -> list[Check]:
    """Every check, in the order a reader wants them. A check that breaks is itself a finding."""
    findings: list[Check] = []
    for check in CHECKS:
        try:
            findings.extend(check())
        except Exception as error:  # noqa: BLE001  # a broken installation raises anything; report it and go on
            found = f"{type(error).__name__}: {error}"
            findings.append(Check(check.__name__.removeprefix("_"), "fail", found, "reinstall, or report this text"))
    return findings


def _python() -> list[Check]:
    return [Check("Python", "ok", f"{platform.python_version()} at {sys.executable}")]


def _project() -> list[Check]:
    try:
        return [Check("m4sam_ros", "ok", importlib.metadata.version("m4sam_ros"))]
    except importlib.metadata.PackageNotFoundError:
        return [Check("m4sam_ros", "note", "not installed, running from the source tree", "make setup")]


def _torch() -> list[Check]:
    problem = _import_problem("torch")
    if problem:
        return [Check("torch", "fail", problem, "pip install 'torch>=2.5' (CPU-only builds: pytorch.org)")]
    import torch

    version = torch.__version__
    if _as_tuple(version) < (2, 5):
        return [Check("torch", "fail", version, "torch 2.5 or newer is needed: pip install --upgrade 'torch>=2.5'")]
    return [Check("torch", "ok", version), _device(), _threads(torch.get_num_threads())]


def _device() -> Check:
    import torch

    if torch.cuda.is_available():
        names = ", ".join(torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count()))
        return Check("device", "ok", f"cuda: {names}")
    if torch.version.cuda and shutil.which("nvidia-smi"):
        advice = "nvidia-smi is here but torch sees no GPU: the driver may be older than this torch's CUDA"
        return Check("device", "warn", f"cpu (torch built for CUDA {torch.version.cuda})", advice)
    return Check("device", "note", "cpu", "the default model is made for this; the large ones want a CUDA GPU")


def _threads(threads: int) -> Check:
    cores = len(os.sched_getaffinity(0))
    found = f"torch uses {threads} of {cores} cores"
    if threads > cores:
        return Check("threads", "warn", found, f"more threads than cores slow it down: export OMP_NUM_THREADS={cores}")
    return Check("threads", "ok", found)


def _libraries() -> list[Check]:
    wanted = {
        "numpy": ("numpy", (1, 22)),
        "opencv": ("cv2", (4, 5)),
        "pydantic": ("pydantic", (2, 5)),
        "safetensors": ("safetensors", (0, 4)),
    }
    return [_library(name, module, least) for name, (module, least) in wanted.items()]


def _library(name: str, module: str, least: tuple[int, int]) -> Check:
    package = "opencv-python-headless" if name == "opencv" else name
    needed = f"{least[0]}.{least[1]}"
    install = f"pip install '{package}>={needed}'"
    problem = _import_problem(module)
    if problem:
        if "libGL" in problem:
            install = "pip uninstall opencv-python && pip install opencv-python-headless"
        return Check(name, "fail", problem, install)
    version = str(importlib.import_module(module).__version__)
    if _as_tuple(version) < least:
        return Check(name, "fail", version, f"{needed} or newer is needed: {install}")
    return Check(name, "ok", version)


def _sam2() -> list[Check]:
    if importlib.util.find_spec("sam2") is None:
        return [Check("sam2", "note", "not installed", f"only the Hiera models need it: {SAM2_COMMAND}")]
    problem = _import_problem("sam2.modeling.backbones.hieradet")
    if problem:
        return [Check("sam2", "fail", problem, SAM2_COMMAND)]
    return [Check("sam2", "ok", importlib.metadata.version("sam2"))]


def _ros() -> list[Check]:
    distro = os.environ.get("ROS_DISTRO", "")
    problem = _import_problem("rclpy")
    if problem:
        if distro:
            advice = "Python or numpy differ from those ROS was built with? Make the venv with --system-site-packages"
            return [Check("ROS 2", "fail", f"{distro}: {problem}", advice)]
        advice = (
            "source /opt/ros/<distro>/setup.bash, or pip install 'm4sam_ros[ros-wheels]'; m4sam itself works without"
        )
        return [Check("ROS 2", "note", problem, advice)]
    findings = [Check("ROS 2", "ok", distro or "from Python wheels")]
    problem = _import_problem("sensor_msgs.msg")
    if problem:
        return [*findings, Check("ROS messages", "fail", problem, "numpy<2 is needed with ROS 2 Humble and Jazzy")]
    return [*findings, _rmw(), _optional_ros(), *_ros_settings()]


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


def _ros_settings() -> list[Check]:
    domain = os.environ.get("ROS_DOMAIN_ID", "0")
    reach = os.environ.get("ROS_AUTOMATIC_DISCOVERY_RANGE", "SUBNET")
    findings = [Check("ROS network", "ok", f"domain {domain}, discovery {reach}")]
    if os.environ.get("ROS_PYTHON_CHECK_FIELDS") == "1":
        advice = "publishing one image takes 40 ms and more with it: unset ROS_PYTHON_CHECK_FIELDS"
        findings.append(Check("ROS_PYTHON_CHECK_FIELDS", "warn", "1", advice))
    return findings


def _dds_profile() -> list[Check]:
    variables = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
    path = next((os.environ[name] for name in variables if os.environ.get(name)), "")
    if not path:
        advice = "launch file and demo set config/dds/fastdds_shm.xml; your camera driver wants it too (docs/dds.md)"
        return [Check("DDS profile", "note", "Fast DDS defaults (512 kB of shared memory)", advice)]
    if not Path(path).is_file():
        return [Check("DDS profile", "fail", f"{path} does not exist", f"correct or unset {variables[0]}")]
    sizes = [int(node.text or 0) for node in ET.parse(path).iter() if node.tag.endswith("segment_size")]
    if not sizes or max(sizes) < LEAST_SEGMENT_BYTES:
        advice = f"depth frames get lost below {LEAST_SEGMENT_BYTES // MIB} MB; compare config/dds/fastdds_shm.xml"
        return [Check("DDS profile", "warn", f"{path}: shared memory {max(sizes, default=0)} bytes", advice)]
    return [Check("DDS profile", "ok", f"{path}: {max(sizes) // MIB} MB of shared memory")]


def _shared_memory() -> list[Check]:
    if not Path("/dev/shm").is_dir():
        return [Check("/dev/shm", "warn", "missing", "DDS falls back to UDP and loses large images")]
    usage = shutil.disk_usage("/dev/shm")
    segments = len([*glob.glob("/dev/shm/fastrtps_*"), *glob.glob("/dev/shm/fastdds_*")])
    found = f"{usage.total // MIB} MB, {usage.free // MIB} MB free, {segments} Fast DDS files"
    if usage.free < LEAST_SHM_BYTES:
        advice = "in Docker: --ipc=host or --shm-size=1g; left-overs of killed nodes: fastdds shm clean"
        return [Check("/dev/shm", "warn", found, advice)]
    return [Check("/dev/shm", "ok", found)]


def _weights() -> list[Check]:
    from m4sam_core.errors import M4SamError
    from m4sam_core.model_files import resolve_model

    try:
        path = resolve_model("default")
    except M4SamError as error:
        return [Check("default weights", "fail", str(error), "reinstall the package, or name weights with --model")]
    return [Check("default weights", "ok", f"{path} ({path.stat().st_size / 1e6:.1f} MB)")]


def _import_problem(module: str) -> str:
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        return f"{error.name} is not installed"
    except Exception as error:  # noqa: BLE001  # a broken binary raises anything
        return f"import fails: {error}"
    return ""


def _as_tuple(version: str) -> tuple[int, int]:
    numbers = []
    for part in version.split(".")[:2]:
        digits = "".join(character for character in part if character.isdigit())
        numbers.append(int(digits or 0))
    return (numbers[0], numbers[1]) if len(numbers) == 2 else (numbers[0], 0)


CHECKS: list[Callable[[], list[Check]]] = [
    _python,
    _project,
    _torch,
    _libraries,
    _sam2,
    _weights,
    _ros,
    _dds_profile,
    _shared_memory,
]
