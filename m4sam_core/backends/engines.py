# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Inference engines that run exported graphs. Each is an optional package, imported when it is chosen."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from m4sam_core.backends.compiled import Array, RunGraph
from m4sam_core.backends.export import GraphFile
from m4sam_core.errors import DeviceError
from m4sam_core.host.optional import require

# OpenVINO sets the process's locale while it reads a graph; two threads that read at once could leave it at ASCII.
_READING = threading.Lock()

Loader = Callable[[Path, Mapping[str, GraphFile], Path, int, bool], dict[str, RunGraph]]


@dataclass(frozen=True)
class Engine:
    """One engine.

    Attributes:
        name: as the setting `backend` spells it.
        package: that brings it, also the extra's name.
        half: whether it can compute in bfloat16.
        load: (folder, graphs, folder for its own compiled files, threads (0: its choice), bfloat16) -> runnable graphs.
    """

    name: str
    package: str
    half: bool
    load: Loader

    @property
    def installed(self) -> bool:
        """Whether the engine and the exporter it needs can be imported."""
        return all(importlib.util.find_spec(module) is not None for module in (self.package, "onnx"))

    @property
    def version(self) -> str:
        """Of the package."""
        return importlib.metadata.version(self.package)

    def require(self) -> None:
        """Complain when it is not installed; the exporter is asked for when there is something to export.

        Raises:
            ConfigError: naming what to install.
        """
        require(self.package, self.package)


def _load_openvino(
    folder: Path, graphs: Mapping[str, GraphFile], compiled: Path, threads: int, half: bool
) -> dict[str, RunGraph]:
    import openvino

    core = openvino.Core()
    settings: dict[str, Any] = {
        "INFERENCE_PRECISION_HINT": "bf16" if half else "f32",
        "PERFORMANCE_HINT": "LATENCY",
        "CACHE_DIR": str(compiled),
    }
    if threads:
        settings["INFERENCE_NUM_THREADS"] = threads
    return {name: _openvino_graph(core, folder / graph.file, settings) for name, graph in graphs.items()}


def _openvino_graph(core: Any, path: Path, settings: dict[str, Any]) -> RunGraph:
    with _READING:
        graph = core.compile_model(str(path), "CPU", settings)
    inputs = [port.any_name for port in graph.inputs]
    outputs = [(port.any_name, port) for port in graph.outputs]

    def run(arrays: Mapping[str, Array]) -> dict[str, Array]:
        # Inputs are read where they lie; outputs are copies, for the next call would overwrite the originals.
        found = graph({name: arrays[name] for name in inputs}, share_inputs=True)
        return {name: found[port] for name, port in outputs}

    return run


def _load_onnxruntime(
    folder: Path, graphs: Mapping[str, GraphFile], compiled: Path, threads: int, half: bool
) -> dict[str, RunGraph]:
    del compiled, half
    return {
        name: _session(folder / graph.file, graph, threads, ["CPUExecutionProvider"]) for name, graph in graphs.items()
    }


def _load_tensorrt(
    folder: Path, graphs: Mapping[str, GraphFile], compiled: Path, threads: int, half: bool
) -> dict[str, RunGraph]:
    import onnxruntime

    del half
    name = "TensorrtExecutionProvider"
    if name not in onnxruntime.get_available_providers():
        raise DeviceError(
            f"backend: expected an onnxruntime with TensorRT, got one with "
            f"{', '.join(onnxruntime.get_available_providers())}; install onnxruntime-gpu and TensorRT, or choose torch"
        )
    options = {"trt_engine_cache_enable": True, "trt_engine_cache_path": str(compiled)}
    providers = [(name, options), "CUDAExecutionProvider", "CPUExecutionProvider"]
    return {name: _session(folder / graph.file, graph, threads, providers) for name, graph in graphs.items()}


def _session(path: Path, graph: GraphFile, threads: int, providers: list[Any]) -> RunGraph:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # errors; it warns of shapes that it then infers itself
    # Waiting threads sleep: on a busy robot a spinning one takes the processor from the camera it waits for.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(str(path), options, providers=providers)
    inputs = [port.name for port in session.get_inputs()]

    def run(arrays: Mapping[str, Array]) -> dict[str, Array]:
        found = session.run(list(graph.outputs), {name: arrays[name] for name in inputs})
        return dict(zip(graph.outputs, found, strict=True))

    return run


ENGINES: dict[str, Engine] = {
    engine.name: engine
    for engine in (
        Engine("openvino", "openvino", True, _load_openvino),
        Engine("onnxruntime", "onnxruntime", False, _load_onnxruntime),
        Engine("tensorrt", "onnxruntime", False, _load_tensorrt),
    )
}
