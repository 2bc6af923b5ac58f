# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""The shapes in docs/model.md are those of the published architecture."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import pytest
import torch

from m4sam_core.build import build_model
from m4sam_core.config import ModelConfig

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "model.md").read_text()
N = 2


def documented() -> dict[str, set[tuple[int, ...]]]:
    """The shapes of each row of the page's first table, by the row's name."""
    rows = {}
    for name, shapes in re.findall(r"^\| ([^|]+) \| ([^|]*\(N, [^|]*) \|", PAGE, re.MULTILINE):
        sizes = re.findall(r"\(N, ([\d, ]+)\)", shapes)
        rows[name] = {(N, *(int(size) for size in shape.split(", "))) for shape in sizes}
    return rows


@pytest.fixture
def shapes(monkeypatch) -> dict[str, set[tuple[int, ...]]]:
    """The same, taken from a network that has shapes and no numbers."""
    pytest.importorskip("sam2")
    seen: dict[str, set[tuple[int, ...]]] = {}

    def keep(name):
        def hook(module, arguments, output):
            tensors = output if isinstance(output, tuple | list) else [output]
            seen.setdefault(name, set()).update(tuple(x.shape) for x in tensors)

        return hook

    # The trunk's constructor reads numbers out of this one, which tensors without numbers cannot give.
    monkeypatch.setattr(torch, "linspace", partial(torch.linspace, device="cpu"))
    with torch.device("meta"):
        model = build_model(ModelConfig.preset("large")).eval()
        watched = {
            "X_D^3, X_D^2, X_D^1": model.decoder,
            "X~": model.gated_fusion,
            "e, key, selection, shrinkage": model.key_path,
            "g": model.fuser,
        }
        for name, module in watched.items():
            module.register_forward_hook(keep(name))
        for fusion, receptive in zip(model.fusions, model.receptive, strict=True):
            fusion.register_forward_hook(keep("levels 1 to 4, each modality"))  # as wide as what goes in
            receptive.register_forward_hook(keep("X_E^1 to X_E^4"))
        rgb, depth = torch.empty(N, 3, 352, 352), torch.empty(N, 1, 352, 352)
        features = model.encode(rgb, depth)
        memory = features.memory
        sensory = model.initial_sensory(memory)
        value, sensory = model.encode_value(memory, torch.empty(N, 1, 352, 352), sensory, deep_update=True)
        mask, sensory = model.segment(memory, model.read(memory, memory.key, value), sensory)
    seen["rgb, depth"] = {tuple(rgb.shape), tuple(depth.shape)}
    seen["coarse masks, edges"] = {tuple(x.shape) for x in (*features.coarse_logits, *features.edge_logits)}
    seen["X_F"] = {tuple(memory.fused.shape)}
    seen["value"] = {(N, value.shape[2], *memory.fused.shape[2:])}
    seen["s"] = {tuple(sensory.shape)}
    seen["mask"] = {tuple(mask.shape)}
    return seen


def test_shapes_on_the_page_are_those_of_the_network(shapes):
    assert documented() == shapes
