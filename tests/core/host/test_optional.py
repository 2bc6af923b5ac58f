# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""The guard of optional packages names what brings them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from m4sam_core.errors import ConfigError
from m4sam_core.host.optional import require

REPO = Path(__file__).resolve().parents[3]


def test_a_missing_package_is_named_with_its_extra():
    with pytest.raises(ConfigError, match=r"no-such: expected .*run `pip install no-such` \(the extra \[viewer\]"):
        require("no_such_module", "viewer", "no-such")


def test_a_package_that_does_not_load_says_why(tmp_path, monkeypatch):
    (tmp_path / "broken_here.py").write_text("raise ImportError('libfoo.so.3: cannot open shared object file')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match=r"libfoo\.so\.3"):
        require("broken_here", "bags")


def test_every_guard_names_an_extra_that_brings_the_package():
    """The product's calls, against the extras of setup.py."""
    code = (
        "import json, setuptools; setuptools.setup = lambda **k: print(json.dumps(k['extras_require'])); import setup"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True, check=True)
    extras = __import__("json").loads(done.stdout)
    calls = []
    for folder in ("m4sam_core", "m4sam_ros", "training"):
        for path in (REPO / folder).rglob("*.py"):
            calls += re.findall(r'^ +require\("([\w.]+)", "(\w+)"(?:, "([\w-]+)")?', path.read_text(), re.MULTILINE)
    assert len(calls) > 8
    for module, extra, package in calls:
        wanted = package or module.partition(".")[0]
        assert any(re.match(rf"{wanted}\b", line) for line in extras[extra]), (module, extra)
