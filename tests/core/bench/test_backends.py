# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Engines side by side, and the clips on which a cheaper arithmetic must prove itself."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from m4sam_core.backends.engines import ENGINES
from m4sam_core.bench.backends import _busy, bench_backends, variants
from m4sam_core.bench.gate import gate_clips, overlap
from m4sam_core.build import build_model
from m4sam_core.checkpoint import BFLOAT16_IOU, load_checkpoint, read_header, save_checkpoint, update_header
from m4sam_core.cli.bench_precision import recorded_clip
from m4sam_core.cli.main import main
from m4sam_core.config import ModelConfig, PipelineConfig
from m4sam_core.errors import ConfigError, InputError
from m4sam_core.model_files import resolve_model
from m4sam_core.pipeline import SaliencyPipeline


def masks(clip, **settings):
    cfg = PipelineConfig(device="cpu", threads=1, **settings)
    pipeline = SaliencyPipeline.from_name("default", cfg, progress=lambda _: None)
    return [pipeline.process(*frame, index / 15).mask for index, frame in enumerate(clip)]


def test_the_gate_sees_what_bfloat16_does_to_the_packaged_weights():
    clip = gate_clips()["table 3"][:4]
    exact = masks(clip, backend="torch")
    assert 0.01 < np.mean(exact[-1] > 0) < 0.5
    assert min(overlap(masks(clip, backend="torch", dtype="bfloat16"), exact)) < 0.98
    assert overlap(masks(clip, backend="torch", dtype="auto"), exact) == [1.0] * 4, "auto must not change the answer"


@pytest.mark.skipif(not ENGINES["openvino"].installed, reason="needs OpenVINO")
def test_a_memory_in_bfloat16_keeps_the_packaged_masks():
    """Where a processor has no bfloat16, the engine computes in float32, and nothing differs."""
    for name in ("table 3", "table 5"):
        clip = gate_clips()[name][:6]
        assert min(overlap(masks(clip, backend="auto", dtype="mixed"), masks(clip, backend="torch"))) >= 0.98


def test_gate_clips_are_the_same_for_everyone():
    one, other = gate_clips(), gate_clips()
    assert all(
        np.array_equal(a, b)
        for name in one
        for x, y in zip(one[name], other[name], strict=True)
        for a, b in zip(x, y, strict=True)
    )
    with pytest.raises(InputError):
        recorded_clip(resolve_model("default").parent)


def test_rows_of_one_run(tmp_path, monkeypatch):
    monkeypatch.setenv("M4SAM_CACHE", str(tmp_path / "cache"))
    torch.manual_seed(0)
    path = tmp_path / "nano.safetensors"
    save_checkpoint(path, build_model(ModelConfig.preset("nano")))
    others = [name for name in ("onnxruntime",) if ENGINES[name].installed]
    rows = [("torch", "float32"), *((name, "float32") for name in others), ("onnxruntime", "float16")]
    clips = {name: clip[:2] for name, clip in gate_clips().items() if name == "table 0"}
    result = bench_backends(path, rows, clips, frames=2, threads=1, height=48, width=64)
    found = {(row["backend"], row["dtype"]): row for row in result["rows"]}
    reference = found["torch", "float32"]
    assert reference["iou_min"] == reference["iou_mean"] == 1.0
    assert 0 < reference["ms_p50"] <= reference["ms_p95"]
    assert reference["rss_mb"] > 50
    for name in others:
        assert found[name, "float32"]["iou_min"] > 0.99
    assert found["onnxruntime", "float16"]["note"], "what cannot run says why"
    assert result["machine"]["cpu"]
    with pytest.raises(ConfigError, match="--backend"):
        variants("ncnn")


def test_the_figure_travels_with_the_weights(tmp_path):
    path = tmp_path / "nano.safetensors"
    model = build_model(ModelConfig.preset("nano"))
    save_checkpoint(path, model, {"licence": "mine"})
    update_header(path, {BFLOAT16_IOU: "0.9912"})
    header = read_header(path)
    assert (header[BFLOAT16_IOU], header["licence"]) == ("0.9912", "mine")
    for name, tensor in load_checkpoint(path).state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name])


def test_busy_processes_share_the_session_and_end_with_the_block():
    before = children_of_this_session()
    with _busy(2):
        assert children_of_this_session() == before + 2
    assert children_of_this_session() == before


def children_of_this_session() -> int:
    found = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            _, parent, _, session = path.read_text().rpartition(")")[2].split()[:4]
            found += (int(parent), int(session)) == (os.getpid(), os.getsid(0))
    return found


def test_entries_are_refused_where_they_would_be_ignored(capsys):
    assert main(["bench", "model", "--size", "edge", "--backend", "torch", "--entries", "6"]) == 2
    assert "--entries: expected none with --backend" in capsys.readouterr().err
