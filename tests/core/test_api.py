# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""docs/api.md names the public API, all of it and nothing else; importing it is cheap."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

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


def test_import_is_light_and_exports_are_real():
    code = "import sys, m4sam_core; print('torch' in sys.modules, 'numpy' in sys.modules, 'pydantic' in sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=".").stdout
    assert loaded.split() == ["False", "False", "False"]
    for name in m4sam_core.__all__:
        assert getattr(m4sam_core, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = m4sam_core.nothing


@pytest.mark.parametrize(("given", "kept"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_threads_wait_without_spinning_unless_told_to(given, kept):
    env = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    env |= {} if given is None else {"OMP_WAIT_POLICY": given}
    code = "import os, sys, m4sam_core; print(os.environ['OMP_WAIT_POLICY'], 'torch' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
    assert shown.stdout.split() == [kept, "False"]
