# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Parameter files that say nothing to the node they were given to: another name or namespace stands in them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from m4sam_core.errors import ConfigError
from m4sam_core.host.plain_yaml import load_yaml

_FLAG = "--params-file"
_EVERY_NODE = "/**"
_PARAMETERS = "ros__parameters"
_NAMED = 4  # nodes of a file that a line names


def files_for_others(words: Sequence[str], node: str, given: Mapping[str, Any]) -> list[str]:
    """One line for each parameter file of which nothing reached the node.

    Args:
        words: the command line of the process and of the node.
        node: fully qualified name.
        given: the values that did reach it, by parameter.
    """
    paths = [after for word, after in pairwise(words) if word == _FLAG]
    return [line for line in (_said_of(path, node, given) for path in dict.fromkeys(paths)) if line]


def _said_of(path: str, node: str, given: Mapping[str, Any]) -> str:
    try:
        sections = dict(_sections(load_yaml(Path(path))))
    except ConfigError:  # ROS reads more than plain YAML
        return ""
    if not sections or _EVERY_NODE in sections or node in sections:
        return ""
    if any(_reached(section, given) for section in sections.values()):  # by a pattern
        return ""
    names = ", ".join([*sections][:_NAMED]) + (", ..." if len(sections) > _NAMED else "")
    return f"{path}: nothing in it is for {node}, it has parameters of {names}; write {node}: or {_EVERY_NODE}:"


def _sections(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """The parameters of each node in a file, by its fully qualified name."""
    for key, inner in values.items():
        if key == _PARAMETERS:
            yield prefix or "/", inner if isinstance(inner, dict) else {}
        elif isinstance(inner, dict):
            yield from _sections(inner, f"{prefix}/{str(key).lstrip('/')}")


def _reached(section: Mapping[str, Any], given: Mapping[str, Any], prefix: str = "") -> bool:
    for name, value in section.items():
        full = f"{prefix}{name}"
        if isinstance(value, dict):
            if _reached(value, given, f"{full}."):
                return True
        elif full in given and given[full] == value:
            return True
    return False
