# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""A model exported for other machines, never written before its masks were compared with PyTorch's."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import numpy as np
import torch

from m4sam_core.backends.compiled import Array, CompiledNetwork
from m4sam_core.backends.engines import ENGINES, Engine
from m4sam_core.backends.export import MANIFEST, OPSET, Manifest, write_graphs
from m4sam_core.backends.graphs import split
from m4sam_core.backends.parity import LARGEST_DIFFERENCE, largest_difference
from m4sam_core.errors import ConfigError, DeviceError, InputError
from m4sam_core.host.files import whole_folder, write_json
from m4sam_core.host.optional import require
from m4sam_core.host.outputs import advice
from m4sam_core.model.m4sam import M4SAM

Format = Literal["onnx", "openvino"]
_OPEN_CHECKED = (1, 3)  # batches that an open one is compared at


def export_checked(
    model: M4SAM, out: Path, weights: str, batch: int | None = 1, opset: int = OPSET, form: Format = "onnx"
) -> tuple[Manifest, dict[str, float]]:
    """Export a model into a new folder, or write nothing.

    Args:
        model: in evaluation mode, on the CPU; left as it is.
        out: a folder that does not exist or is empty.
        weights: what the model was loaded from, for the manifest.
        batch: frames of different streams that are computed at once; None leaves it open.
        opset: version of ONNX's operators.
        form: onnx, or openvino for its intermediate representation beside it.

    Returns:
        the manifest, and the largest difference from PyTorch: of each graph's outputs on random input, relative to
        their largest value, and of the probabilities of a stream ("stream", unless the batch is fixed at more than 1).

    Raises:
        ConfigError: no engine is installed to check with.
        DeviceError: the model has an operator that this opset lacks, or the result differs by more than 1e-4.
        InputError: the folder exists and is not empty, or cannot be written.
    """
    engine = _checker()
    if form == "openvino":
        require("openvino", "openvino")
    try:
        with whole_folder(out) as draft:
            manifest = write_graphs(model, draft, weights, batch, opset)
            differences = _differences(engine, model, draft, manifest)
            worst = max(differences, key=lambda name: differences[name])
            if not differences[worst] <= LARGEST_DIFFERENCE:
                raise DeviceError(
                    f"export: expected what PyTorch computes to within {LARGEST_DIFFERENCE:g}, got {worst} "
                    f"{differences[worst]:.2g} away in {engine.name} {engine.version}; nothing was written"
                )
            manifest = manifest.model_copy(update={"difference": differences[worst]})
            if form == "openvino":
                _write_openvino(draft, manifest)
            write_json(draft / MANIFEST, manifest.model_dump())
    except OSError as error:
        raise InputError(
            f"{out}: expected a new or empty folder that can be written, got {error.strerror or error}; {advice(error)}"
        ) from error
    return manifest, differences


def _checker() -> Engine:
    for name in ("onnxruntime", "openvino"):
        if ENGINES[name].installed:
            return ENGINES[name]
    raise ConfigError(
        "export: expected an engine to check the result with, got none; run `pip install onnxruntime onnx` (the extra "
        "[onnxruntime] of m4sam_ros)"
    )


def _differences(engine: Engine, model: M4SAM, folder: Path, manifest: Manifest) -> dict[str, float]:
    found: dict[str, float] = {}
    with TemporaryDirectory() as compiled, torch.inference_mode():
        try:
            graphs = engine.load(folder, manifest.graphs, Path(compiled), 0, "float32")
        except Exception as error:  # engines raise types of their own
            reason = str(error).partition("\n")[0]
            raise DeviceError(
                f"export: expected files that {engine.name} loads, got {reason}; nothing was written"
            ) from error
        sizes = _OPEN_CHECKED if manifest.batch is None else (manifest.batch,)
        for name, graph in (item for size in sizes for item in split(model, size).items()):
            theirs = graph.module(*graph.inputs.values())
            theirs = theirs if isinstance(theirs, tuple) else (theirs,)
            ours = graphs[name]({key: value.contiguous().numpy() for key, value in graph.inputs.items()})
            apart = (_apart(ours[key], value) for key, value in zip(graph.outputs, theirs, strict=True))
            found[name] = max(found.get(name, 0.0), *apart)
        if 1 in sizes:
            network = CompiledNetwork(
                engine.name, graphs, manifest.input_size_px, manifest.sensory_dim, manifest.prior_norm
            )
            found["stream"] = largest_difference(network, model)
    return found


def _apart(ours: Array, theirs: torch.Tensor) -> float:
    """Largest difference relative to the largest value; infinite where the shapes differ."""
    if ours.shape != tuple(theirs.shape):
        return float("inf")
    return float(np.abs(ours - theirs.numpy()).max()) / max(1.0, float(theirs.abs().max()))


def _write_openvino(folder: Path, manifest: Manifest) -> None:
    import openvino

    for name, graph in manifest.graphs.items():
        openvino.save_model(openvino.Core().read_model(folder / graph.file), folder / f"{name}.xml", False)
