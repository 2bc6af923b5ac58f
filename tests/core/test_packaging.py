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

REPO = Path(__file__).resolve().parents[2]
NOT_SOURCES = [".git", ".venv*", "build", "install", "log", "__pycache__", "demo_out", "*.egg-info", "tests"]
PACKAGES = {"m4sam_core": "m4sam_core", "m4sam_ros": "m4sam_ros", "m4sam_training": "training/m4sam_training"}
PACKAGES = {name: folder for name, folder in PACKAGES.items() if (REPO / folder).is_dir()}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
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
    with zipfile.ZipFile(path) as archive:
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
