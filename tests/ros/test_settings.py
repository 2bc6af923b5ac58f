# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""What the node's settings make of the pipeline's."""

from __future__ import annotations

import os

import pytest

from m4sam_ros.settings import NodeConfig


@pytest.mark.parametrize(("cores", "threads"), [(8, 7), (2, 1), (1, 1)])
def test_one_core_is_left_to_the_rest(monkeypatch, cores, threads):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(cores)))
    assert NodeConfig().pipeline_config().threads == threads
    assert NodeConfig(threads=3).pipeline_config().threads == 3
