# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""`m4sam export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to make.")],
    model: Annotated[str, typer.Option(help="A name, a weights file, or a preset with fresh weights.")] = "default",
    batch: Annotated[int, typer.Option(min=1, help="Streams computed at once.")] = 1,
    dynamic_batch: Annotated[bool, typer.Option("--dynamic-batch", help="Any number of streams at once.")] = False,
    opset: Annotated[int, typer.Option(min=17, max=23, help="Version of ONNX's operators.")] = 18,
    form: Annotated[str, typer.Option("--format", help="onnx, or openvino for both.")] = "onnx",
) -> None:
    """A model as ONNX files for other engines and machines, compared with PyTorch before they are written.

    Needs the extra onnxruntime or openvino; docs/deploy.md says how to install it and how to run the files.

    Example: m4sam export exported --model default
    """
    from rich.console import Console

    from m4sam_core.backends.checked_export import Format, export_checked
    from m4sam_core.build import build_model
    from m4sam_core.cli.choices import one_of
    from m4sam_core.config import MODEL_PRESETS, ModelConfig
    from m4sam_core.errors import ConfigError
    from m4sam_core.model_files import PACKAGED, resolve_model
    from m4sam_core.release import load_model

    if dynamic_batch and batch != 1:
        raise ConfigError(f"--dynamic-batch: expected no --batch beside it, got {batch}; choose one")
    streams = None if dynamic_batch else batch
    formats: tuple[Format, Format] = ("onnx", "openvino")
    chosen = one_of("--format", form, formats)
    console = Console(markup=False)
    with console.status("exporting and comparing"):
        if model in MODEL_PRESETS and model not in PACKAGED and not Path(model).exists():
            network, source = build_model(ModelConfig.preset(model)).eval(), f"{model}, fresh weights"
        else:
            file = resolve_model(model)
            network, source = load_model(file), file.name
        manifest, differences = export_checked(network, out, source, streams, opset, chosen)
    for name, difference in differences.items():
        console.print(f"{name}: differs from PyTorch by {difference:.1e} at most")
    files = [f"{name}.xml" for name in manifest.graphs] if chosen == "openvino" else []
    files += [graph.file for graph in manifest.graphs.values()]
    console.print(f"{out}: {', '.join(sorted(files))}, ONNX opset {opset}")
