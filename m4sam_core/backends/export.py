# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""A model as ONNX files with a manifest: what `m4sam export` writes and what every engine loads."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Optional

import torch
from pydantic import ValidationError

from m4sam_core.backends.graphs import Graph, split
from m4sam_core.config import Config
from m4sam_core.errors import CheckpointError, DeviceError
from m4sam_core.host.files import write_bytes, write_json
from m4sam_core.host.optional import require
from m4sam_core.model.m4sam import M4SAM

FORMAT: Literal["m4sam-graphs-1"] = "m4sam-graphs-1"
MANIFEST = "manifest.json"
OPSET = 18


class GraphFile(Config):
    """One graph of an exported model.

    Attributes:
        file: its name in the folder.
        sha256: of its bytes.
        inputs: name -> shape; a free axis has a name instead of a length.
        outputs: names.
    """

    file: str
    sha256: str
    inputs: dict[str, tuple[int | str, ...]]
    outputs: tuple[str, ...]


class Manifest(Config):
    """What an exported model is.

    Attributes:
        format: of this manifest.
        weights: what the model was exported from.
        opset: version of ONNX's operators.
        input_size_px: side of the square images.
        batch: frames computed at once, None for any number.
        sensory_dim: channels of the sensory state that a stream carries, 0 without memory.
        prior_norm: over what the first mask of a scene is stretched to [0, 1].
        difference: largest difference of probabilities from PyTorch over a check stream, None when not checked.
        graphs: by name.
    """

    format: Literal["m4sam-graphs-1"] = FORMAT
    weights: str
    opset: int
    input_size_px: int
    batch: Optional[int] = None
    sensory_dim: int
    prior_norm: Literal["batch", "sample"]
    difference: Optional[float] = None
    graphs: dict[str, GraphFile]


def write_graphs(model: M4SAM, folder: Path, weights: str, batch: int | None = 1, opset: int = OPSET) -> Manifest:
    """Write the model's graphs and their manifest, the manifest last.

    Args:
        model: in evaluation mode, on the CPU; left as it is.
        folder: exists and is empty.
        weights: what the model was loaded from, for the manifest.
        batch: frames of different streams that are computed at once; None leaves it open.
        opset: version of ONNX's operators.

    Raises:
        ConfigError: the package onnx is not installed.
        DeviceError: the model has an operator that this opset lacks.
        OSError: the folder cannot be written.
    """
    require("onnx", "export")
    files = {name: _write(graph, folder / f"{name}.onnx", opset) for name, graph in split(model, batch).items()}
    manifest = Manifest(
        weights=weights,
        opset=opset,
        input_size_px=model.input_size_px,
        batch=batch,
        sensory_dim=model.sensory_dim if model.has_memory else 0,
        prior_norm=model.prior_norm,
        graphs=files,
    )
    write_json(folder / MANIFEST, manifest.model_dump())
    return manifest


def read_manifest(folder: Path) -> Manifest:
    """The manifest of an exported model whose files are all there, to the last byte.

    Raises:
        CheckpointError: missing, damaged, or written by another version.
    """
    try:
        values: Mapping[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if values.get("format") != FORMAT:
            raise CheckpointError(
                f"{folder}: expected graphs of format {FORMAT}, got {values.get('format')!r}; export the model again"
            )
        manifest = Manifest.model_validate(values)
        for graph in manifest.graphs.values():
            found = _sha256(folder / graph.file)
            if found != graph.sha256:
                raise CheckpointError(
                    f"{folder / graph.file}: expected sha256 {graph.sha256[:12]}, got {found[:12]}; the file is "
                    "damaged or was changed, export the model again"
                )
    except (OSError, ValueError, AttributeError, ValidationError) as error:
        raise CheckpointError(
            f"{folder}: expected an exported model, got {type(error).__name__}: {error}; export the model again"
        ) from error
    return manifest


def _write(graph: Graph, path: Path, opset: int) -> GraphFile:
    examples = tuple(graph.inputs.values())
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # the tracer notes every Python number; the check compares what comes out
        try:
            torch.onnx.export(
                graph.module,
                examples,
                str(path),
                dynamo=False,
                opset_version=opset,
                input_names=list(graph.inputs),
                output_names=list(graph.outputs),
                dynamic_axes={name: dict(axes) for name, axes in graph.free_axes.items()},
            )
        except RuntimeError as error:  # what the exporter's own errors are, too
            reason = str(error).partition("\n")[0]
            raise DeviceError(
                f"export: expected operators that ONNX opset {opset} has, got {reason}; choose another opset"
            ) from error
    write_bytes(path, path.read_bytes())  # synced to the disk before the manifest says that it is whole
    shapes: dict[str, tuple[int | str, ...]] = {
        name: tuple(graph.free_axes.get(name, {}).get(axis, length) for axis, length in enumerate(example.shape))
        for name, example in graph.inputs.items()
    }
    return GraphFile(file=path.name, sha256=_sha256(path), inputs=shapes, outputs=graph.outputs)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
