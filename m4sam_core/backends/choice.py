# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Which engine computes a model (docs/decisions/0050-inference-engines.md)."""

from __future__ import annotations

from collections.abc import Callable

import torch

from m4sam_core.backends.cache import Source, open_compiled
from m4sam_core.backends.compiled import CompiledNetwork
from m4sam_core.backends.engines import ENGINES
from m4sam_core.config import PipelineConfig
from m4sam_core.errors import ConfigError, DeviceError

TORCH = "torch"
_FIRST_ON_CPU = "openvino"


def open_backend(
    source: Source, cfg: PipelineConfig, device: torch.device, progress: Callable[[str], None]
) -> CompiledNetwork | None:
    """The model in the engine that the settings mean; None: PyTorch computes it itself.

    `auto` takes OpenVINO on a CPU where it is installed and equal to PyTorch, and PyTorch everywhere else.

    Args:
        source: the model.
        cfg: `backend`, `dtype` and `threads` count.
        device: where the model is to run.
        progress: told what takes time, and why `auto` did not take an engine.

    Raises:
        ConfigError: an engine asked for by name is not installed, or cannot do `cfg.dtype`.
        DeviceError: it is not for this device, cannot run the model, or its masks differ.
    """
    if cfg.backend == TORCH:
        return None
    dtype = "float32" if cfg.dtype == "auto" else cfg.dtype
    if cfg.backend == "auto":
        engine = ENGINES[_FIRST_ON_CPU]
        if device.type != "cpu" or dtype not in ("float32", "mixed") or not engine.installed:
            return None
        try:
            return open_compiled(engine, source, cfg.threads, dtype, progress)
        except (ConfigError, DeviceError) as error:
            progress(f"backend: auto goes on with torch, for {error}")
            return None
    engine = ENGINES[cfg.backend]
    if (device.type == "cuda") != (engine.name == "tensorrt"):
        raise DeviceError(
            f"backend: expected {engine.name} on {'cuda' if engine.name == 'tensorrt' else 'cpu'}, got device "
            f"{device}; set device, or backend to torch"
        )
    if dtype not in engine.dtypes:
        raise ConfigError(
            f"dtype: expected {', '.join(('auto', *engine.dtypes))} with backend {engine.name}, got {dtype}; "
            "set dtype to auto"
        )
    return open_compiled(engine, source, cfg.threads, dtype, progress)
