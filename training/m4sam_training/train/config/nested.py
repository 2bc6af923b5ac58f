# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Settings as nested dictionaries: one put over another, and where two differ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Two nested mappings as one new one; `above` wins leaf by leaf."""
    merged: dict[str, Any] = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def differences(a: Any, b: Any, prefix: str = "") -> set[str]:
    """Dotted names of the leaves in which two nested dictionaries differ."""
    if not (isinstance(a, dict) and isinstance(b, dict)):
        return set() if a == b else {prefix.rstrip(".")}
    return set().union(*(differences(a.get(key), b.get(key), f"{prefix}{key}.") for key in a.keys() | b.keys()))
