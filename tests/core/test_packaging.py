# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""What an installed m4sam_ros contains, and that its descriptions agree with each other and with the code."""

from __future__ import annotations

import ast
import configparser
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
import zipfile
from pathlib import Path

import pytest

from m4sam_core.cli.doctor_ros import missing_for_ros2

REPO = Path(__file__).resolve().parents[2]
NOT_SOURCES = [".git", ".venv*", "build", "install", "log", "__pycache__", "demo_out", "*.egg-info", "tests"]
PACKAGES = {"m4sam_core": "m4sam_core", "m4sam_ros": "m4sam_ros", "m4sam_training": "training/m4sam_training"}
PACKAGES = {name: folder for name, folder in PACKAGES.items() if (REPO / folder).is_dir()}


@pytest.fixture(scope="module")
def wheel_file(tmp_path_factory):
    """The wheel of a copy of this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    shutil.copytree(REPO, folder / "source", ignore=shutil.ignore_patterns(*NOT_SOURCES))
    pip_wheel = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(folder),
    ]
    built = subprocess.run(
        [*pip_wheel, "."], cwd=folder / "source", capture_output=True, text=True, timeout=120, check=False
    )
    assert built.returncode == 0, built.stdout + built.stderr
    (path,) = folder.glob("m4sam_ros-*.whl")
    return path


@pytest.fixture(scope="module")
def wheel(wheel_file):
    with zipfile.ZipFile(wheel_file) as archive:
        yield archive


@pytest.mark.parametrize("package", PACKAGES)
def test_wheel_has_every_module(wheel, package):
    root = REPO / PACKAGES[package]
    sources = {f"{package}/{path.relative_to(root)}" for path in root.rglob("*.py")}
    assert sources <= set(wheel.namelist())


def test_wheel_has_weights_launch_and_config(wheel):
    names = set(wheel.namelist())
    weights = {f"m4sam_core/weights/{path.name}" for path in (REPO / "m4sam_core" / "weights").glob("*.safetensors")}
    assert weights <= names
    prefix = next(name.split("/")[0] for name in names if ".data/" in name)
    shared = [path for folder in ("launch", "config") for path in (REPO / folder).rglob("*.*") if path.suffix != ".pyc"]
    for path in [REPO / "package.xml", *shared]:
        assert f"{prefix}/data/share/m4sam_ros/{path.relative_to(REPO)}" in names
    assert f"{prefix}/data/share/ament_index/resource_index/packages/m4sam_ros" in names


def test_wheel_declares_the_executables(wheel):
    (name,) = [name for name in wheel.namelist() if name.endswith("entry_points.txt")]
    parser = configparser.ConfigParser()
    parser.read_string(wheel.read(name).decode())
    scripts = dict(parser["console_scripts"])
    assert set(scripts) == {"m4sam", "saliency_node", "play", "record", "viewer"}
    for target in scripts.values():
        module, function = target.split(":")
        package, *rest = module.split(".")
        place = (REPO / PACKAGES[package]).joinpath(*rest)
        source = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
        assert re.search(rf"^def {function}\(", source.read_text(), re.MULTILINE)


def test_versions_agree():
    version = ET.parse(REPO / "package.xml").findtext("version")
    assert f'VERSION = "{version}"' in (REPO / "setup.py").read_text()
    assert re.search(rf"^{re.escape(version)} \(|^Forthcoming", (REPO / "CHANGELOG.rst").read_text(), re.MULTILINE)


def test_package_xml_declares_every_ros_package_that_is_imported():
    declared = {node.text for node in ET.parse(REPO / "package.xml").iter() if node.tag.endswith("depend")}
    imported = set()
    for path in [*(REPO / "m4sam_ros").rglob("*.py"), *(REPO / "launch").glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
                imported.add(node.module.split(".")[0])
            elif isinstance(node, ast.Import):
                imported.update(alias.name.split(".")[0] for alias in node.names)
    is_ros = re.compile(r".*_msgs$|.*_interfaces$|std_srvs|rclpy|launch.*|ament_.*|message_filters")
    assert {name for name in imported if is_ros.match(name)} <= declared


def test_ros2_finds_a_plain_pip_installation(wheel_file, tmp_path):
    """Into an environment of its own, without the dependencies: what counts is where things are."""
    prefix = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(prefix)], check=True)
    pip = [sys.executable, "-m", "pip", "--python", str(prefix / "bin" / "python"), "install", "-q", "--no-deps"]
    subprocess.run([*pip, str(wheel_file)], check=True, timeout=120)
    assert missing_for_ros2(prefix) == []
    assert (prefix / "share" / "ament_index" / "resource_index" / "packages" / "m4sam_ros").is_file()
    command = [str(prefix / "lib" / "m4sam_ros" / "saliency_node"), "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "No module named" in done.stderr, "the script in bin/ of that environment ran, without what it depends on"


def test_ros2_finds_an_editable_installation(tmp_path):
    """What .ci/setup_env.sh makes of the environment of a checkout."""
    for name in ("m4sam", "saliency_node", "play", "record", "viewer"):
        script = tmp_path / "bin" / name
        script.parent.mkdir(exist_ok=True)
        script.write_text("#!/bin/sh\n")
        script.chmod(0o755)
    for _ in range(2):  # also over an earlier one
        subprocess.run([str(REPO / ".ci" / "link_for_ros2.sh"), str(tmp_path)], check=True)
    assert missing_for_ros2(tmp_path) == []
    launch_file = tmp_path / "share" / "m4sam_ros" / "launch" / "saliency.launch.py"
    assert launch_file.resolve() == REPO / "launch" / "saliency.launch.py"


def test_a_linked_folder_is_not_found_as_ros2launch_does_not_enter_it(tmp_path):
    (tmp_path / "share" / "m4sam_ros").mkdir(parents=True)
    (tmp_path / "share" / "m4sam_ros" / "launch").symlink_to(REPO / "launch")
    problems = missing_for_ros2(tmp_path)
    assert any("no saliency.launch.py" in problem for problem in problems)
    assert any("saliency_node" in problem for problem in problems)
