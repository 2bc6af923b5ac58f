# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Measurements in a process of their own, so that their peak memory is nobody else's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from m4sam_core.errors import M4SamError

_MARK = "m4sam-figures:"


def measured_apart(
    module: str, words: Sequence[str], what: str, environment: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Run a module that ends with `hand_over`, with this process's import path; its other output is left out.

    Args:
        module: as for `python -m`.
        words: its arguments.
        what: is measured, for the message.
        environment: variables on top of this process's own.

    Returns:
        the figures it handed over.

    Raises:
        M4SamError: the process failed or handed nothing over; its own message has been printed.
    """
    path = os.pathsep.join(folder for folder in sys.path if folder)
    command = [sys.executable, "-m", module, *words]
    env = {**os.environ, "PYTHONPATH": path, **(environment or {})}
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, text=True, check=False)
    marked = [line for line in done.stdout.splitlines() if line.startswith(_MARK)]
    if done.returncode != 0 or not marked:
        raise M4SamError(f"bench of {what}: expected figures, got exit code {done.returncode}; see above")
    figures: dict[str, Any] = json.loads(marked[0][len(_MARK) :])
    return figures


def hand_over(figures: Mapping[str, Any]) -> None:
    """Give figures to the process that waits in `measured_apart`."""
    sys.stdout.write(_MARK + json.dumps(dict(figures)) + "\n")
