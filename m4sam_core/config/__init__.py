# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Every setting of the model, the stream and the pipeline, with its unit, range and meaning.

One schema makes the checkpoint's header, the command line, the ROS parameters and docs/parameters.md. `ModelConfig`
travels with the weights; `PipelineConfig`, with the stream's settings in it, is chosen anew wherever they are used.
"""

from m4sam_core.config.base import Config
from m4sam_core.config.model import (
    MODEL_PRESETS,
    AdapterConfig,
    EfficientNetLiteConfig,
    FusionConfig,
    HieraConfig,
    MemoryConfig,
    MemoryFeature,
    ModelConfig,
    TrunkConfig,
)
from m4sam_core.config.pipeline import DepthConfig, PipelineConfig, RoiConfig
from m4sam_core.config.stream import BankConfig, SceneConfig, StreamConfig, WriteGateConfig

__all__ = [
    "Config",
    "ModelConfig",
    "MODEL_PRESETS",
    "TrunkConfig",
    "HieraConfig",
    "EfficientNetLiteConfig",
    "AdapterConfig",
    "FusionConfig",
    "MemoryConfig",
    "MemoryFeature",
    "PipelineConfig",
    "DepthConfig",
    "RoiConfig",
    "StreamConfig",
    "BankConfig",
    "WriteGateConfig",
    "SceneConfig",
]
