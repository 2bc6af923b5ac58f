# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Devices by their names, and the precision that suits them."""

from __future__ import annotations

import pytest
import torch

from m4sam_core.devices import check_dtype, resolve_device
from m4sam_core.errors import ConfigError, DeviceError


@pytest.mark.parametrize("name", ["gpu", "cpu:0", "cuda:x", "cuda:-1", ""])
def test_unknown_devices_are_refused(name):
    with pytest.raises(ConfigError, match="device"):
        resolve_device(name)


def test_a_missing_gpu_is_an_error_not_the_cpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert resolve_device("auto") == torch.device("cpu")
    with pytest.raises(DeviceError, match="sees 0 GPU"):
        resolve_device("cuda")


@pytest.mark.parametrize(("flags", "expected"), [("avx512_bf16 amx_bf16", torch.bfloat16), ("avx2", torch.float32)])
def test_auto_precision_follows_the_processor(monkeypatch, flags, expected):
    monkeypatch.setattr("pathlib.Path.read_text", lambda *_args, **_kwargs: f"flags : {flags}")
    assert check_dtype("auto", torch.device("cpu"), bfloat16_iou=0.99) == expected
    assert check_dtype("auto", torch.device("cpu"), bfloat16_iou=0.97) == torch.float32
    assert check_dtype("auto", torch.device("cpu")) == torch.float32, "never measured"
    assert check_dtype("auto", torch.device("cuda"), bfloat16_iou=1.0) == torch.float32
