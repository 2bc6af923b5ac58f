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

# Which graphs compute in bfloat16, by the setting `dtype`: rounding in the trunk decides where little stands out; what
# is read from memory and written there bears it (docs/decisions/0050-inference-engines.md).
HALF: dict[str, tuple[str, ...]] = {
    "float32": (),
    "mixed": ("recall", "remember"),
    "bfloat16": ("encode", "recall", "remember"),
}

Loader = Callable[[Path, Mapping[str, GraphFile], Path, int, str], dict[str, RunGraph]]


@dataclass(frozen=True)
class Engine:
    """One engine.

    Attributes:
        name: as the setting `backend` spells it.
        package: that brings it, also the extra's name.
        dtypes: of `HALF` that it can compute in.
        load: (folder, graphs, folder for its own compiled files, threads (0: its choice), dtype) -> runnable graphs.
    """

    name: str
    package: str
    dtypes: tuple[str, ...]
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
    folder: Path, graphs: Mapping[str, GraphFile], compiled: Path, threads: int, dtype: str
) -> dict[str, RunGraph]:
    import openvino

    core = openvino.Core()
    settings: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "CACHE_DIR": str(compiled)}
    if threads:
        settings["INFERENCE_NUM_THREADS"] = threads

    def load(name: str, graph: GraphFile) -> RunGraph:
        precision = "bf16" if name in HALF[dtype] else "f32"
        return _openvino_graph(core, folder / graph.file, {**settings, "INFERENCE_PRECISION_HINT": precision})

    return {name: load(name, graph) for name, graph in graphs.items()}


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
    folder: Path, graphs: Mapping[str, GraphFile], compiled: Path, threads: int, dtype: str
) -> dict[str, RunGraph]:
    del compiled, dtype
    return {
        name: _session(folder / graph.file, graph, threads, ["CPUExecutionProvider"]) for name, graph in graphs.items()
    }


def _load_tensorrt(
    folder: Path, graphs: Mapping[str, GraphFile], compiled: Path, threads: int, dtype: str
) -> dict[str, RunGraph]:
    import onnxruntime

    del dtype
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
        Engine("openvino", "openvino", tuple(HALF), _load_openvino),
        Engine("onnxruntime", "onnxruntime", ("float32",), _load_onnxruntime),
        Engine("tensorrt", "onnxruntime", ("float32",), _load_tensorrt),
    )
}
