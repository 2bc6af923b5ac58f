# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Too little memory is said before a run begins."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from m4sam_core.build import build_model
from m4sam_core.devices import free_memory
from m4sam_core.errors import DeviceError
from m4sam_training.train import memory
from m4sam_training.train.config import load_train_config
from m4sam_training.train.memory import kept_per_frame
from m4sam_training.train.trainer import Trainer
from tests.training.discs import ALONE, Discs, settings

RESULTS = Path(__file__).resolve().parents[3] / "benchmarks" / "results"


def test_the_free_memory_of_this_machine_is_known():
    free = free_memory(torch.device("cpu"))
    assert free is not None
    assert 1e7 < free < 1e14


def test_a_run_that_cannot_fit_is_refused_and_one_that_may_not_is_warned_of(tmp_path, monkeypatch, caplog):
    trained = sum(p.numel() for p in build_model(settings().model).parameters() if p.requires_grad)
    monkeypatch.setattr(memory, "free_memory", lambda _: 12 * trained - 1)
    with pytest.raises(DeviceError, match=r"cpu: expected 0\.0 GB of free memory for gradients and AdamW's moments"):
        Trainer(settings(), Discs(), tmp_path, ALONE)
    assert not (tmp_path / "metrics.jsonl").exists()
    monkeypatch.setattr(memory, "free_memory", lambda _: 12 * trained + 1)
    Trainer(settings(), Discs(), tmp_path, ALONE)
    assert "memory may not do" in caplog.text
    assert "lower data.batch_size and raise optim.accumulate" in caplog.text
    caplog.clear()
    monkeypatch.setattr(memory, "free_memory", lambda _: 10**12)
    Trainer(settings(), Discs(), tmp_path, ALONE)
    assert not caplog.text


def test_the_estimate_is_what_was_measured_for_hiera_l(monkeypatch):
    for name in ("kaiming_uniform_", "uniform_", "trunc_normal_", "normal_", "zeros_", "ones_", "constant_"):
        monkeypatch.setattr(nn.init, name, lambda tensor, *_, **__: tensor)  # counting needs no numbers
    for file, recompute in (("train_large", "false"), ("train_large_recompute", "true")):
        cfg = load_train_config(None, [f"optim.recompute={recompute}"])
        measured = json.loads((RESULTS / f"{file}.json").read_text())["steps"]
        kept_gb = next(row["kept_gb"] / row["frames"] for row in measured if row["adapter"] == "moe_lora")
        model = build_model(cfg.model, "torch")
        assert kept_per_frame(model, cfg) / 1e9 == pytest.approx(kept_gb, rel=0.01)
    half = load_train_config(None, ["optim.recompute=true", "optim.amp=bf16"])
    assert kept_per_frame(model, half) == kept_per_frame(model, cfg) / 2
