# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""What the tests of a running graph are given: a bench, weights, and a reader of reports."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.ros.rig.bench import Bench


@pytest.fixture
def bench(ros_env: dict[str, str], tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(ros_env, tmp_path)
    yield bench
    bench.close()


@pytest.fixture(scope="session")
def nano_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny untrained model, to run the whole real pipeline."""
    import torch

    from m4sam_core import ModelConfig, build_model, save_checkpoint

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "nano.safetensors"
    save_checkpoint(path, build_model(ModelConfig.preset("nano")), {"purpose": "tests"})
    return path


@pytest.fixture
def values() -> Callable[[Any], dict[str, str]]:
    """The key-value pairs of a DiagnosticStatus."""
    return lambda status: {pair.key: pair.value for pair in status.values}
