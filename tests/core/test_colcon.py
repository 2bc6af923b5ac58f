# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""colcon builds the package, plain and with --symlink-install, and what it installs can be imported and launched."""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from m4sam_core.cli.doctor_ros import missing_for_ros2

REPO = Path(__file__).resolve().parents[2]
NOT_SOURCES = [".git", ".venv*", "build", "install", "log", "__pycache__", "demo_out", "*.egg-info", "tests"]
IMPORTS = "import m4sam_core.errors, m4sam_ros, m4sam_training.cli; print(m4sam_training.cli.__file__)"
# >= 80 silently turns --symlink-install into copies.
TOOLS = ["colcon-common-extensions", "setuptools==79.0.1"]

pytestmark = pytest.mark.slow


def run(command: list[str], **options) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """A colcon workspace with a copy of this checkout, and the environment to build it in."""
    root = tmp_path_factory.mktemp("workspace")
    shutil.copytree(REPO, root / "src" / "m4sam_ros", ignore=shutil.ignore_patterns(*NOT_SOURCES))
    venv.create(root / "venv", with_pip=True)
    run([str(root / "venv/bin/pip"), "install", "--quiet", *TOOLS])
    return root


@pytest.mark.parametrize("mode", [[], ["--symlink-install"]], ids=["plain", "symlink"])
def test_colcon_build(workspace, mode):
    bin_dir = workspace / "venv" / "bin"
    env = {"PATH": f"{bin_dir}:/usr/bin:/bin", "HOME": str(workspace), "AMENT_PREFIX_PATH": str(workspace / "venv")}
    name = "symlink" if mode else "plain"
    bases = ["--build-base", f"build_{name}", "--install-base", f"install_{name}"]
    run([str(bin_dir / "colcon"), "build", *bases, *mode], cwd=workspace, env=env)
    prefix = workspace / f"install_{name}" / "m4sam_ros"
    assert {path.name for path in (prefix / "lib" / "m4sam_ros").iterdir()} == {
        "m4sam",
        "saliency_node",
        "play",
        "record",
        "viewer",
    }
    assert missing_for_ros2(prefix) == []
    launch_file = prefix / "share" / "m4sam_ros" / "launch" / "saliency.launch.py"
    assert launch_file.read_text() == (REPO / "launch" / "saliency.launch.py").read_text()
    script = f". install_{name}/setup.sh && {bin_dir}/python -c '{IMPORTS}'"
    imported = run(["/bin/sh", "-c", script], cwd=workspace, env=env)
    assert str(workspace) in imported
    assert (name == "symlink") == (f"/build_{name}/" in imported)
    if name == "symlink":
        assert Path(imported.strip()).resolve().is_relative_to(workspace / "src")
    assert sys.prefix not in imported
