# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""docs/api.md names the public API, all of it and nothing else."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import m4sam_core

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "api.md").read_text()


def named(table: str) -> set[str]:
    """The names in the first column of a table."""
    return {name for row in table.splitlines() for name in re.findall(r"`(\w+)", row.split(" | ")[0])}


def test_every_public_name_has_its_line():
    names, _, _ = PAGE.partition("\n`SaliencyPipeline`:")
    assert named(names.partition("|---|---|")[2]) == set(m4sam_core.__all__)
    assert all(inspect.getdoc(getattr(m4sam_core, name)) for name in m4sam_core.__all__)


def test_every_method_of_the_pipeline_has_its_line():
    _, _, methods = PAGE.partition("\n`SaliencyPipeline`:")
    pipeline = m4sam_core.SaliencyPipeline
    public = {name for name in vars(pipeline) if not name.startswith("_")}
    described = named(methods.partition("|---|---|")[2].partition("\n\n")[0])
    assert described - {"SaliencyPipeline"} == public - {"model", "device"}
    (process,) = re.findall(r"`process\((.*?)\)`", methods)
    parameters = list(inspect.signature(pipeline.process).parameters.values())[1:]
    assert [word.split("=")[0] for word in process.split(", ")] == [parameter.name for parameter in parameters]
