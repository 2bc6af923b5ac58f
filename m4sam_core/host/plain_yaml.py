"""YAML read as plain data: no tags, no aliases, no duplicate keys, bounded size."""

from __future__ import annotations

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
