# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""What the training benchmark counts, and that its command writes figures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from m4sam_core.cli.main import main
from m4sam_core.errors import M4SamError
from m4sam_training.bench.training import KeptActivations, bench_step_apart
from m4sam_training.data.generate import generate_dataset
from m4sam_training.train.config import load_train_config

SMOKE = Path(__file__).resolve().parents[3] / "config" / "train" / "smoke.yaml"


def test_kept_activations_counts_every_storage_once_and_no_weights():
    layer = torch.nn.Linear(8, 8, bias=False)
    kept = KeptActivations(layer)
    x = torch.rand(16, 8, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(kept.keep, lambda tensor: tensor):
        hidden = layer(x)
        loss = (hidden * hidden).sum() + (hidden * x.detach()).sum()
    # Of x and hidden only the two storages count, however often they are saved.
    assert kept.bytes == 2 * 16 * 8 * 4
    loss.backward()


def test_command_writes_figures_for_each_adapter(tmp_path):
    out = tmp_path / "bench.json"
    words = ["bench", "train", "--config", str(SMOKE), "--adapter", "none", "--adapter", "lora", "--steps", "1"]
    words += ["--set", "data.clip_length=2", "--set", "run.device=cpu", "--workers", "0", "--json", str(out)]
    generate_dataset(tmp_path / "data", "rdvs", videos=1, frames=4, height=96, width=128)
    words += ["--data", str(tmp_path / "data")]
    assert main(words) == 0
    result = json.loads(out.read_text())
    none, lora = result["steps"]
    assert (none["adapter"], lora["adapter"]) == ("none", "lora")
    assert none["frames"] == 4
    assert none["trainable_parameters"] < lora["trainable_parameters"]
    assert 0 < none["kept_gb"] < lora["kept_gb"]
    assert all(row[name] > 0 for row in (none, lora) for name in ("step_s", "frames_per_s", "peak_memory_gb"))
    assert result["pipeline"][0]["frames_per_s"] > 0
    assert result["machine"]["torch"] == torch.__version__


def test_a_failing_measurement_is_named():
    cfg = load_train_config(SMOKE, ["init.trunk=/none.pt"])
    with pytest.raises(M4SamError, match="bench of moe_lora: expected figures, got exit code 1"):
        bench_step_apart(cfg, 1)
