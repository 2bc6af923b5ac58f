# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Executable `record`: what a saliency node publishes, as files."""

from __future__ import annotations

from collections.abc import Sequence

from m4sam_ros.environment import environment_problem


def main(args: Sequence[str] | None = None) -> int:
    """Console entry point `record`; returns the exit code."""
    if code := environment_problem():
        return code
    from m4sam_ros.recorder.recorder import main as run

    return run(args)
