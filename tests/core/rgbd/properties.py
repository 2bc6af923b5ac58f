# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""How the property tests run: the same examples every time, quick, nothing written to disk."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

SEEDED = settings(
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=150,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
