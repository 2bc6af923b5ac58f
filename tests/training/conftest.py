# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""What several tests of the trainer share."""

from __future__ import annotations

from pathlib import Path

import pytest

from m4sam_training.train.checkpointing import Progress
from m4sam_training.train.trainer import Trainer
from tests.training.discs import ALONE, Discs, settings


@pytest.fixture(scope="session")
def whole_run(tmp_path_factory) -> Path:
    """A finished run of two epochs of two steps; tests read it and copy from it."""
    out = tmp_path_factory.mktemp("whole")
    result = Trainer(settings(), Discs(), out, ALONE).run()
    assert result.progress == Progress(epoch=2, clips=0, step=4)
    return out
