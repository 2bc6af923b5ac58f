# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""An export is compared before it is written, and what was written says what it is."""

from __future__ import annotations

import json

import pytest
import torch

from m4sam_core.backends import checked_export
from m4sam_core.backends.checked_export import export_checked
from m4sam_core.backends.engines import ENGINES
from m4sam_core.backends.export import read_manifest
from m4sam_core.build import build_model
from m4sam_core.checkpoint import load_checkpoint
from m4sam_core.config import ModelConfig
from m4sam_core.errors import CheckpointError, DeviceError, InputError

pytestmark = pytest.mark.skipif(
    not any(ENGINES[name].installed for name in ("openvino", "onnxruntime")), reason="no engine is installed, with onnx"
)


def test_files_manifest_and_differences(checkpoint, tmp_path):
    manifest, differences = export_checked(load_checkpoint(checkpoint), tmp_path / "out", "light")
    assert set(differences) == {"encode", "recall", "remember", "stream"}
    assert max(differences.values()) <= 1e-4
    assert read_manifest(tmp_path / "out") == manifest
    assert manifest.graphs["recall"].inputs["key"][1] == "entries"
    assert (manifest.opset, manifest.input_size_px, manifest.difference) == (18, 96, max(differences.values()))
    with pytest.raises(InputError, match="empty folder"):
        export_checked(load_checkpoint(checkpoint), tmp_path / "out", "light")


def test_hiera_with_windows_over_the_edge_for_two_streams_at_once(tmp_path):
    torch.manual_seed(0)
    model = build_model(ModelConfig.preset("nano").model_copy(update={"input_size_px": 96})).eval()
    for name, parameter in model.named_parameters():
        if name.endswith("lora_b"):  # fresh ones are zero, and would hide what the adapters do to padding
            torch.nn.init.normal_(parameter, std=0.3)
    _, differences = export_checked(model, tmp_path / "out", "nano", batch=2)
    assert set(differences) == {"encode", "recall", "remember"}


@pytest.mark.parametrize("preset", ["nano", "edge"])
def test_an_open_batch_is_that_of_torch_for_one_stream_and_for_three(preset, tmp_path):
    openvino = pytest.importorskip("openvino")
    torch.manual_seed(0)
    model = build_model(ModelConfig.preset(preset).model_copy(update={"input_size_px": 96})).eval()
    for name, parameter in model.named_parameters():
        if name.endswith("lora_b"):
            torch.nn.init.normal_(parameter, std=0.3)
    manifest, differences = export_checked(model, tmp_path / "out", preset, batch=None, form="openvino")
    assert set(differences) == {"encode", "recall", "remember", "stream"}
    assert (manifest.batch, manifest.graphs["encode"].inputs["rgb"]) == (None, ("batch", 3, 96, 96))
    assert manifest.graphs["recall"].inputs["key"][:2] == ("batch", "entries")
    assert read_manifest(tmp_path / "out") == manifest
    graph = openvino.Core().read_model(tmp_path / "out" / "encode.xml")
    assert graph.input("rgb").partial_shape[0].is_dynamic


def test_what_differs_is_not_written(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr(checked_export, "largest_difference", lambda *_: 2e-4)
    with pytest.raises(DeviceError, match=r"stream 0\.0002 away .* nothing was written"):
        export_checked(load_checkpoint(checkpoint), tmp_path / "out", "light")
    assert list(tmp_path.iterdir()) == []


def test_a_manifest_of_another_version_or_a_changed_file_is_refused(checkpoint, tmp_path):
    folder = tmp_path / "out"
    export_checked(load_checkpoint(checkpoint), folder, "light")
    manifest = (folder / "manifest.json").read_text()
    (folder / "manifest.json").write_text(json.dumps({**json.loads(manifest), "format": "m4sam-graphs-9"}))
    with pytest.raises(CheckpointError, match="m4sam-graphs-9"):
        read_manifest(folder)
    (folder / "manifest.json").write_text(manifest)
    (folder / "remember.onnx").write_bytes(b"short")
    with pytest.raises(CheckpointError, match="damaged"):
        read_manifest(folder)
