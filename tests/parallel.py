# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""How `make test` shares the tests among processes of pytest-xdist (`-p xdist -p tests.parallel -n 2`)."""

from __future__ import annotations

import functools
import os

import pytest
from xdist.scheduler import LoadScopeScheduling

# What waits for other processes and for the clock: begun first, one test after the other in one process.
REAL_TIME = ("tests/ros/", "tests/core/host/test_processes.py", "tests/core/stream/test_sharing.py")
# How far the others step back for it. Tests of nice values go 3 further and must stay below 19.
STEP_BACK = 10


class Sharing(LoadScopeScheduling):
    """Hands out one file after the other, so that its fixtures are made once; REAL_TIME counts as one file."""

    def _split_scope(self, nodeid: str) -> str:
        return "real time" if in_real_time(nodeid) else nodeid.partition("::")[0]


def in_real_time(nodeid: str) -> bool:
    return nodeid.startswith(REAL_TIME)


def pytest_xdist_make_scheduler(config, log) -> Sharing:
    config.option.loadscopereorder = False  # keeps the order below
    return Sharing(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: not in_real_time(item.nodeid))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    if "PYTEST_XDIST_WORKER" in os.environ and not in_real_time(item.nodeid):
        step_back()


@functools.cache
def step_back() -> None:
    os.nice(STEP_BACK)
