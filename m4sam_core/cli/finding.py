# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""What `m4sam doctor` finds: one line with its advice."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Check:
    """One finding.

    Attributes:
        name: what was looked at.
        status: ok; note (nothing wrong, worth knowing); warn (works, not well); fail (does not work).
        found: what there is.
        advice: what to do; empty when ok.
    """

    name: str
    status: Literal["ok", "note", "warn", "fail"]
    found: str
    advice: str = ""


def import_problem(module: str) -> str:
    """Why a module cannot be imported, "" when it can."""
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        return f"{error.name} is not installed"
    except Exception as error:  # noqa: BLE001  # a broken binary raises anything
        return f"import fails: {error}"
    return ""


def as_tuple(version: str) -> tuple[int, int]:
    """The first two numbers of a version."""
    numbers = []
    for part in version.split(".")[:2]:
        digits = "".join(character for character in part if character.isdigit())
        numbers.append(int(digits or 0))
    return (numbers[0], numbers[1]) if len(numbers) == 2 else (numbers[0], 0)
