# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Settings that a page names by their path (`stream.bank.capacity`) are settings of some schema."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

pytest.importorskip("m4sam_training")

REPO = Path(__file__).resolve().parents[2]
PAGES = [*REPO.glob("*.md"), *(REPO / "docs").rglob("*.md"), REPO / "CHANGELOG.rst"]
SCHEMAS = [
    ("m4sam_core.config", "ModelConfig"),
    ("m4sam_ros.settings", "NodeConfig"),
    ("m4sam_ros.player.settings", "PlayConfig"),
    ("m4sam_training.train.config", "TrainConfig"),
]
ALSO = {"model.preset"}  # stands for all of `model`
NOT_SETTINGS = (".json", ".jsonl", ".py", ".rrd", ".yaml")


def paths(schema: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Every setting of a schema and of the schemas in it, e.g. stream.bank.capacity."""
    for name, field in schema.model_fields.items():
        yield prefix + name
        for kind in kinds(field.annotation):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from paths(kind, f"{prefix}{name}.")


def kinds(annotation: Any) -> Iterator[Any]:
    yield annotation
    for inner in get_args(annotation):
        yield from kinds(inner)


def test_settings_that_pages_name_exist():
    known = {path for home, name in SCHEMAS for path in paths(getattr(importlib.import_module(home), name))} | ALSO
    groups = {group for path in known for group in path.split(".")[:-1]}
    unknown = []
    for page in PAGES:
        for named in re.findall(r"[`\s]([a-z_]+(?:\.[a-z_0-9]+)+)(?=[`:=\s,])", page.read_text()):
            if named.split(".")[0] in groups and not named.endswith(NOT_SETTINGS):
                found = any(path == named or path.endswith(f".{named}") for path in known)
                unknown += [] if found else [(page.name, named)]
    assert unknown == []
