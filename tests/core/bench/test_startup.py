# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""The start is measured in processes of its own, stage by stage."""

from __future__ import annotations

import pytest
import torch

from m4sam_core.bench.startup import bench_startup
from m4sam_core.build import build_model
from m4sam_core.checkpoint import save_checkpoint
from m4sam_core.config import ModelConfig
from m4sam_core.host.processes import ProcessError


def test_every_stage_has_its_time(tmp_path):
    torch.manual_seed(0)
    save_checkpoint(tmp_path / "nano.safetensors", build_model(ModelConfig.preset("nano")))
    told = []
    result = bench_startup(str(tmp_path / "nano.safetensors"), "torch", 1, 1, told.append)
    assert told == ["filling the cache", "run 1 of 1"]
    assert list(result["stages"])[-3:] == ["load", "warm up", "first frame"]
    assert result["stages"]["import torch"]["cpu_ms"] > 10
    assert result["total"]["ms"] == pytest.approx(sum(stage["ms"] for stage in result["stages"].values()), abs=0.1)


def test_weights_that_are_not_there_are_an_error(tmp_path):
    with pytest.raises(ProcessError, match="startup failed"):
        bench_startup(str(tmp_path / "none.safetensors"), "torch", 1, 1, lambda _: None)
