# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""What `m4sam doctor` looks at. Every check works where the thing it looks for is absent or broken."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Callable

from m4sam_core.cli.doctor_ros import dds_profile, ros, shared_memory
from m4sam_core.cli.finding import Check, as_tuple, import_problem
from m4sam_core.host.optional import SAM2_COMMAND

_REINSTALL = "reinstall the package, or name weights with --model"


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
    problem = import_problem("torch")
    if problem:
        return [Check("torch", "fail", problem, "pip install 'torch>=2.5' (CPU-only builds: pytorch.org)")]
    import torch

    version = torch.__version__
    if as_tuple(version) < (2, 5):
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
    problem = import_problem(module)
    if problem:
        if "libGL" in problem:
            install = "pip uninstall opencv-python && pip install opencv-python-headless"
        return Check(name, "fail", problem, install)
    version = str(importlib.import_module(module).__version__)
    if as_tuple(version) < least:
        return Check(name, "fail", version, f"{needed} or newer is needed: {install}")
    return Check(name, "ok", version)


def _sam2() -> list[Check]:
    if importlib.util.find_spec("sam2") is None:
        return [Check("sam2", "note", "not installed", f"only the Hiera models need it: {SAM2_COMMAND}")]
    problem = import_problem("sam2.modeling.backbones.hieradet")
    if problem:
        return [Check("sam2", "fail", problem, SAM2_COMMAND)]
    return [Check("sam2", "ok", importlib.metadata.version("sam2"))]


def _weights() -> list[Check]:
    from m4sam_core.errors import M4SamError
    from m4sam_core.model_files import resolve_model

    try:
        path = resolve_model("default")
    except M4SamError as error:
        return [Check("default weights", "fail", str(error), _REINSTALL)]
    found = f"{path} ({path.stat().st_size / 1e6:.1f} MB)"
    if import_problem("torch") or import_problem("safetensors"):  # found wrong above; nothing else can open it
        return [Check("default weights", "note", found, "they cannot be looked into without torch and safetensors")]
    from m4sam_core.checkpoint import read_config

    try:
        read_config(path)  # a truncated file is none
    except M4SamError as error:
        return [Check("default weights", "fail", str(error), _REINSTALL)]
    return [Check("default weights", "ok", found)]


def _cache() -> list[Check]:
    """Where downloads go, and what is measured or compiled once."""
    from m4sam_core.errors import M4SamError
    from m4sam_core.model_files import CACHE_VARIABLE, cache_dir

    try:
        folder = cache_dir()
    except M4SamError as error:
        found, _, advice = str(error).partition("; ")
        return [Check("cache", "warn", found, advice)]
    there = next(place for place in (folder, *folder.parents) if place.exists())
    if there.is_dir() and os.access(there, os.W_OK | os.X_OK):
        return [Check("cache", "ok", str(folder))]
    advice = f"each start measures and compiles anew, and downloads fail: set {CACHE_VARIABLE} to another folder"
    return [Check("cache", "warn", f"{folder} cannot be written", advice)]


CHECKS: list[Callable[[], list[Check]]] = [
    _python,
    _project,
    _torch,
    _libraries,
    _sam2,
    _weights,
    _cache,
    ros,
    dds_profile,
    shared_memory,
]
