# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""What the node's settings make of the pipeline's."""

from __future__ import annotations

from m4sam_core.config import PipelineConfig
from m4sam_ros.settings import NodeConfig


def test_the_pipelines_part_is_passed_on():
    given = {"threads": 3, "affinity": "0", "priority": 5, "threshold": 0.7, "dtype": "float32"}
    assert NodeConfig(**given).pipeline_config() == PipelineConfig(**given)
    assert NodeConfig().pipeline_config().threads == 0, "to be measured"
