# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""YAML read as plain data: no tags, no aliases, no duplicate keys, bounded size."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from m4sam_core.errors import ConfigError

MAX_BYTES = 1_000_000


class _PlainLoader(yaml.SafeLoader):
    """SafeLoader that refuses aliases (the "billion laughs" bomb) and duplicate keys."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()  # type: ignore[no-untyped-call]  # PyYAML's parser has no stubs
            raise yaml.YAMLError(f"aliases are not accepted (line {event.start_mark.line + 1})")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        repeated = sorted({key for key in keys if keys.count(key) > 1})
        if repeated:
            raise yaml.YAMLError(f"key given twice: {', '.join(repeated)}")
        return super().construct_mapping(node, deep)


def load_yaml(path: Path) -> dict[str, Any]:
    """Read one YAML mapping.

    Args:
        path: a UTF-8 file of at most `MAX_BYTES`.

    Raises:
        ConfigError: the file is missing, too large, not YAML, not a mapping, or uses aliases or tags.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ConfigError(f"{path}: expected at most {MAX_BYTES} bytes of YAML, got {path.stat().st_size}")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: expected a readable UTF-8 YAML file, got {error}") from None
    value = parse_yaml(text, str(path))
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ConfigError(f"{path}: expected a mapping of settings, got {type(value).__name__}")
    return value


def parse_yaml(text: str, source: str) -> Any:
    """Read one YAML document of plain values.

    Args:
        text: the document.
        source: where it came from, for the error.

    Raises:
        ConfigError: not YAML, or with aliases or tags.
    """
    try:
        return yaml.load(text, Loader=_PlainLoader)  # a SafeLoader
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ConfigError(f"{source}: expected plain YAML, got {' '.join(str(error).split())}") from None


def parse_assignments(pairs: Iterable[str]) -> dict[str, Any]:
    """["a.b=1", "c=x"] to {"a": {"b": 1}, "c": "x"}; values are read as YAML, of one name the last one counts.

    Raises:
        ConfigError: a pair without "=", a value that is no plain YAML, or a name that is both a setting and a group.
    """
    flat: dict[str, Any] = {}
    for pair in pairs:
        name, sign, text = pair.partition("=")
        name = name.strip()
        if not sign or not all(name.split(".")):
            raise ConfigError(f"--set: expected NAME=VALUE, got {pair!r}; e.g. --set threshold=0.4")
        flat[name] = parse_yaml(text, f"--set {name}")
    return nest(flat)


def nest(flat: Mapping[str, Any]) -> dict[str, Any]:
    """{"a.b": 1} to {"a": {"b": 1}}.

    Raises:
        ConfigError: a name is both a setting and a group of settings.
    """
    nested: dict[str, Any] = {}
    for name, value in flat.items():
        *groups, last = name.split(".")
        inner = nested
        for group in groups:
            inner = inner.setdefault(group, {})
            if not isinstance(inner, dict):
                raise ConfigError(f"{name}: expected one of {group} and {name}, got both; keep one")
        if isinstance(inner.get(last), dict):
            raise ConfigError(f"{name}: expected a group of settings, got one value beside others of it; keep one")
        inner[last] = value
    return nested
