# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Exported and compiled models in the user's cache: made once for each model, version and machine.

A folder is used by one process at a time while it is filled or opened (a lock that the system frees when its holder
dies), and nothing in it is believed without its checksum: what a kill, a full disk or an update left is made again.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import platform
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from m4sam_core.backends.compiled import CompiledNetwork
from m4sam_core.backends.engines import HALF, Engine
from m4sam_core.backends.export import FORMAT, OPSET, Manifest, read_manifest, write_graphs
from m4sam_core.backends.parity import LARGEST_DIFFERENCE, largest_difference
from m4sam_core.errors import CheckpointError, ConfigError, DeviceError
from m4sam_core.host.files import whole_folder, write_json
from m4sam_core.model.m4sam import M4SAM
from m4sam_core.model_files import cache_dir

_SEAL = "seal.json"


@dataclass(frozen=True)
class Source:
    """Where a model comes from.

    Attributes:
        label: for people.
        digest: of the weights and the configuration, hexadecimal.
        load: makes the model anew, on the CPU, in evaluation mode.
    """

    label: str
    digest: str
    load: Callable[[], M4SAM]


def source_of(model: M4SAM) -> Source:
    """A model that is in memory already."""
    digest = hashlib.sha256(model.cfg.model_dump_json().encode())
    for name, tensor in model.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return Source("a model in memory", digest.hexdigest(), lambda: model)


def open_compiled(
    engine: Engine, source: Source, threads: int, dtype: str, progress: Callable[[str], None]
) -> CompiledNetwork:
    """The model in an engine, from the cache or made for it now.

    Args:
        engine: installed.
        source: the model.
        threads: of the engine; 0 leaves its choice.
        dtype: one of its `dtypes`; what computes in bfloat16 is not compared with PyTorch.
        progress: told what takes time.

    Raises:
        ConfigError: the engine is not installed, or the cache cannot be written.
        DeviceError: the engine cannot run the model, or its masks are not those of PyTorch.
    """
    engine.require()
    folder = cache_dir() / "graphs" / _key(source)
    try:
        with _locked(folder):
            manifest = _graphs(folder, source, progress)
            return _compiled(engine, folder, manifest, source, threads, dtype, progress)
    except OSError as error:
        raise ConfigError(
            f"{folder}: expected a cache folder that can be written, got {error}; "
            "set M4SAM_CACHE to another folder, or backend to torch"
        ) from error


def _graphs(folder: Path, source: Source, progress: Callable[[str], None]) -> Manifest:
    if folder.exists():
        try:
            return read_manifest(folder)
        except CheckpointError as error:
            progress(f"the cached export is made again: {error}")
            shutil.rmtree(folder)
    progress(f"exporting {source.label} to {folder}, once for this version")
    with whole_folder(folder) as draft:
        write_graphs(source.load(), draft, source.digest)
    return read_manifest(folder)


def _compiled(
    engine: Engine,
    folder: Path,
    manifest: Manifest,
    source: Source,
    threads: int,
    dtype: str,
    progress: Callable[[str], None],
) -> CompiledNetwork:
    compiled = folder / f"{engine.name}-{engine.version}-{_machine()}{'' if dtype == 'float32' else f'-{dtype}'}"
    compiled.mkdir(exist_ok=True)
    sealed = _sealed(compiled)
    if sealed is None:
        progress(f"compiling {source.label} for {engine.name} {engine.version}, once for this machine")
    try:
        graphs = engine.load(folder, manifest.graphs, compiled, threads, dtype)
    except RuntimeError as error:
        raise DeviceError(
            f"backend: expected {engine.name} {engine.version} to run the model, got {error}; set backend to torch"
        ) from error
    network = CompiledNetwork(engine.name, graphs, manifest.input_size_px, manifest.sensory_dim, manifest.prior_norm)
    difference = sealed
    if difference is None:
        # Half precision is asked for by name, and differs.
        difference = 0.0 if HALF[dtype] else largest_difference(network, source.load())
    _seal(compiled, difference)
    if difference > LARGEST_DIFFERENCE:
        raise DeviceError(
            f"backend: expected {engine.name} {engine.version} to give PyTorch's masks to within "
            f"{LARGEST_DIFFERENCE:g}, got {difference:.2g} away; set backend to torch"
        )
    return network


def _sealed(compiled: Path) -> float | None:
    """How far the engine was from PyTorch when this was made; files that are not what they were are removed."""
    try:
        seal: Mapping[str, object] = json.loads((compiled / _SEAL).read_text(encoding="utf-8"))
        files, difference = seal["files"], seal["difference"]
        if not isinstance(files, dict) or not isinstance(difference, float):
            raise TypeError
    except (OSError, ValueError, KeyError, TypeError):
        files, difference = {}, None
    for path in compiled.iterdir():
        if path.name != _SEAL and files.get(path.name) != _digest(path):
            path.unlink()
    return difference


def _seal(compiled: Path, difference: float) -> None:
    files = {path.name: _digest(path) for path in sorted(compiled.iterdir()) if path.name != _SEAL}
    write_json(compiled / _SEAL, {"difference": difference, "files": files})


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _key(source: Source) -> str:
    """Everything that an export depends on: weights, the code that computes and traces, and PyTorch's tracer."""
    digest = hashlib.sha256(f"{source.digest} {FORMAT} {OPSET} {torch.__version__}".encode())
    package = Path(__file__).parents[1]
    for room in ("model", "backends"):
        for file in sorted((package / room).glob("*.py")):
            digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def _machine() -> str:
    """A compiled model fits the processor that it was compiled on."""
    cpuinfo = Path("/proc/cpuinfo")
    flags = ""
    if cpuinfo.is_file():
        lines = cpuinfo.read_text(encoding="ascii", errors="replace").splitlines()
        flags = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return hashlib.sha256(f"{platform.machine()} {flags}".encode()).hexdigest()[:8]


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
