# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""M4-SAM: RGB-D video saliency as a stream. No ROS in here, and no training.

Importing this package is cheap: everything that needs torch is loaded at its first use.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from m4sam_core.build import build_model
    from m4sam_core.checkpoint import load_checkpoint, save_checkpoint
    from m4sam_core.config import ModelConfig, PipelineConfig
    from m4sam_core.errors import CheckpointError, ConfigError, DeviceError, InputError, M4SamError, StreamError
    from m4sam_core.model_files import resolve_model
    from m4sam_core.pipeline import SaliencyPipeline
    from m4sam_core.release import load_release_checkpoint, load_sam2_trunk
    from m4sam_core.result import SaliencyResult
    from m4sam_core.stream.recurrence import unroll_clip
    from m4sam_core.types import ClipOutput

# Read by OpenMP when torch is loaded. Its threads wait by spinning otherwise, and where other programs want the cores a
# frame then takes many times as long (docs/deploy.md#on-a-busy-machine). A value that is set already stays.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

_HOMES = {
    "build_model": "build",
    "load_checkpoint": "checkpoint",
    "save_checkpoint": "checkpoint",
    "ModelConfig": "config",
    "PipelineConfig": "config",
    "M4SamError": "errors",
    "CheckpointError": "errors",
    "ConfigError": "errors",
    "DeviceError": "errors",
    "InputError": "errors",
    "StreamError": "errors",
    "SaliencyPipeline": "pipeline",
    "SaliencyResult": "result",
    "load_release_checkpoint": "release",
    "load_sam2_trunk": "release",
    "unroll_clip": "stream.recurrence",
    "ClipOutput": "types",
    "resolve_model": "model_files",
}

__all__ = [
    "SaliencyPipeline",
    "SaliencyResult",
    "build_model",
    "load_checkpoint",
    "save_checkpoint",
    "load_release_checkpoint",
    "load_sam2_trunk",
    "unroll_clip",
    "resolve_model",
    "ClipOutput",
    "ModelConfig",
    "PipelineConfig",
    "M4SamError",
    "CheckpointError",
    "ConfigError",
    "DeviceError",
    "InputError",
    "StreamError",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
