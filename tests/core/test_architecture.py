# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Who may import whom, how large a room may be, and that the robot's half stands without the offline half."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

REPO = Path(__file__).resolve().parents[2]
PACKAGES = {"m4sam_core": "m4sam_core", "m4sam_ros": "m4sam_ros", "m4sam_training": "training/m4sam_training"}
SOURCES = sorted(
    path
    for folder in ("m4sam_core", "m4sam_ros", "training", "tests", "launch", "docs")
    for path in (REPO / folder).rglob("*.py")
)
LARGEST_ROOM = 15
LINTER = shutil.which("lint-imports", path=str(Path(sys.executable).parent))
needs_linter = pytest.mark.skipif(LINTER is None, reason="import-linter needs Python 3.11")
needs_training = pytest.mark.skipif(not (REPO / "training").is_dir(), reason="needs the offline tools")
# Found instead of the installed package of that name, as if nobody had installed it.
NO_TRAINING = """
import sys
class NoTraining:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] == "m4sam_training":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, NoTraining)
"""


def lint(tree: Path) -> str:
    """What import-linter says of a tree; "BROKEN" stands beside each contract that does not hold."""
    env = {**os.environ, "PYTHONPATH": f"{tree}:{tree / 'training'}"}
    command = [LINTER, "--no-cache"]
    shown = subprocess.run(command, cwd=tree, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert shown.returncode == int("BROKEN" in shown.stdout), shown.stdout + shown.stderr
    return shown.stdout


@pytest.fixture
def tree(tmp_path):
    """A copy of the packages, to be spoilt."""
    for folder in ("m4sam_core", "m4sam_ros", "training"):
        shutil.copytree(REPO / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__", "weights"))
    shutil.copy(REPO / "pyproject.toml", tmp_path)
    return tmp_path


@needs_linter
@needs_training
def test_import_contracts():
    assert "BROKEN" not in lint(REPO)


@needs_linter
@needs_training
@pytest.mark.parametrize(("rooms", "package"), [(".", "rclpy"), ("rgbd", "torch"), ("host", "torch")])
def test_no_module_can_import_what_its_floor_forbids(tree, rooms, package):
    for path in sorted((tree / "m4sam_core" / rooms).rglob("*.py")):
        path.write_text(f"{path.read_text()}\n\ndef _late() -> None:\n    import {package}\n")
    shown = lint(tree)
    for path in sorted((tree / "m4sam_core" / rooms).rglob("*.py")):
        parts = path.relative_to(tree).with_suffix("").parts
        module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        assert re.search(rf"\b{re.escape(module)} -> {package}\b", shown), module


@needs_linter
@needs_training
@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("m4sam_core/cli/doctor.py", "import m4sam_ros.node"),
        ("m4sam_core/stream/session.py", "from m4sam_training import data"),
        ("m4sam_core/vision/depth.py", "from m4sam_core.stream import session"),
        ("m4sam_core/a_new_room.py", "import json"),
        ("m4sam_ros/messages/convert.py", "from m4sam_ros.node import worker"),
        ("m4sam_ros/player/player.py", "from m4sam_ros.recorder import recorder"),
        ("training/m4sam_training/data/scan.py", "from m4sam_training.eval import scoring"),
    ],
)
def test_an_import_sideways_or_upwards_breaks_a_contract(tree, module, line):
    with (tree / module).open("a") as source:
        source.write(f"\n\ndef _late() -> None:\n    {line}\n")
    assert "BROKEN" in lint(tree)


@needs_linter
@needs_training
def test_no_modules_import_each_other_in_a_circle():
    import grimp

    graph = grimp.build_graph(*PACKAGES, cache_dir=None)
    circular = [
        (importer, imported)
        for importer in sorted(graph.modules)
        for imported in graph.find_modules_directly_imported_by(importer)
        if graph.chain_exists(importer=imported, imported=importer)
    ]
    assert circular == []


def test_no_folder_is_too_large_to_overlook():
    sizes = Counter(path.parent.relative_to(REPO).as_posix() for path in SOURCES)
    assert {folder: size for folder, size in sizes.items() if size > LARGEST_ROOM} == {}


def test_the_shells_do_not_name_each_other():
    """Nor the core the offline tools, in strings and comments either."""
    foreign = {"m4sam_core": "m4sam_training", "m4sam_ros": "m4sam_training", "training": "m4sam_ros"}
    naming = [
        path.relative_to(REPO).as_posix()
        for folder, name in foreign.items()
        for path in (REPO / folder).rglob("*")
        if path.suffix in (".py", ".yaml", ".md", ".typed") and re.search(rf"\b{name}\b", path.read_text())
    ]
    assert naming == []


@pytest.mark.parametrize("package", PACKAGES)
def test_every_room_has_its_line_in_the_architecture_page(package):
    page = (REPO / "docs" / "architecture.md").read_text()
    _, _, lines = page.partition(f"| `{package}` | |\n")
    table, _, _ = lines.partition("\n\n")
    home = REPO / PACKAGES[package]
    rooms = {f"{path.parent.relative_to(home)}/" for path in home.glob("*/**/__init__.py")}
    rooms |= {path.stem for path in home.glob("*.py") if path.stem != "__init__"}
    assert {room for room in rooms if f"`{room}`" not in table} == set()


@pytest.mark.skipif(sys.version_info < (3, 11), reason="tomllib needs Python 3.11")
@pytest.mark.parametrize("package", PACKAGES)
def test_the_architecture_page_draws_the_contracts(package):
    import tomllib

    contracts = tomllib.loads((REPO / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = [contract["layers"] for contract in contracts if contract.get("containers") == [package]]
    drawn = "\n".join([package, *(f"  {layer}" for layer in layers)])
    assert f"\n{drawn}\n" in (REPO / "docs" / "architecture.md").read_text()


@pytest.mark.parametrize("module", ["m4sam_core", "m4sam_core.config", "m4sam_core.cli.main"])
def test_import_is_light(module):
    code = f"import sys, {module}; print([m for m in ('torch', 'cv2', 'rclpy', 'sam2') if m in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert shown.stdout.strip() == "[]"


@pytest.fixture(scope="module")
def robot(tmp_path_factory):
    """Runs Python in a copy of the tree without training/, where m4sam_training cannot be found."""
    root = tmp_path_factory.mktemp("robot")
    for folder in ("m4sam_core", "m4sam_ros", "config", "launch", "docs", "tests/core", "tests/ros", "tests/golden"):
        shutil.copytree(REPO / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in [*(path.name for path in REPO.glob("[!.]*") if path.is_file()), "tests/conftest.py"]:
        shutil.copy(REPO / file, root / file)
    (root / "sitecustomize.py").write_text(NO_TRAINING)
    env = {**os.environ, "PYTHONPATH": str(root), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}

    def run(*arguments: str) -> str:
        command = [sys.executable, *arguments]
        done = subprocess.run(command, cwd=root, env=env, capture_output=True, text=True, timeout=180, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert run("-c", "import m4sam_core; print(m4sam_core.__file__)").startswith(str(root))
    return run


def test_robot_has_its_commands_without_the_offline_tools(robot, tmp_path):
    shown = robot("-m", "m4sam_core.cli.main", "--help")
    assert all(name in shown for name in ("predict", "doctor", "download", "bench"))
    assert "ablate" not in shown
    assert "m4sam" in robot("-m", "m4sam_core.cli.main", "doctor")
    images = {"rgb": np.full((64, 80, 3), 90, np.uint8), "depth": np.full((64, 80), 1500, np.uint16)}
    for kind, image in images.items():
        (tmp_path / kind).mkdir()
        cv2.imwrite(str(tmp_path / kind / "1.png"), image)
    folders = [str(tmp_path / kind) for kind in images]
    robot("-m", "m4sam_core.cli.main", "predict", *folders, "--out", str(tmp_path / "masks"))
    assert cv2.imread(str(tmp_path / "masks" / "1.png"), cv2.IMREAD_GRAYSCALE).shape == (64, 80)


def test_tests_of_core_and_ros_are_collected_without_the_offline_tools(robot):
    shown = robot("-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", "tests/core", "tests/ros")
    assert int(re.search(r"(\d+) tests? collected", shown)[1]) > 400
