# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""QUALITY_DECLARATION.md says what setup.py, package.xml and the sources say."""

from __future__ import annotations

import ast
import re
import xml.etree.ElementTree as ET
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
SPDX = r"^# SPDX-FileCopyrightText: .+\n# SPDX-License-Identifier: Apache-2\.0$"
DECLARATION = (REPO / "QUALITY_DECLARATION.md").read_text()


def table(first_column: str) -> set[str]:
    """The names in the first column of the table that begins with such a heading."""
    _, _, lines = DECLARATION.partition(f"| {first_column} |")
    rows = lines.partition("\n\n")[0].splitlines()[2:]
    return {name.strip() for row in rows for name in row.split("|")[1].split(",")}


def test_every_python_dependency_has_a_reason():
    (call,) = [
        node.value
        for node in ast.parse((REPO / "setup.py").read_text()).body
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and ast.unparse(node.value.func) == "setup"
    ]
    (required,) = [ast.literal_eval(word.value) for word in call.keywords if word.arg == "install_requires"]
    assert table("Python") == {re.split(r"[><=~;\[ ]", requirement)[0] for requirement in required}


def test_every_ros_dependency_has_a_reason():
    depends = ET.parse(REPO / "package.xml").iter()
    declared = {node.text for node in depends if node.tag in ("depend", "exec_depend")}
    assert table("ROS") == {name for name in declared if not name.startswith("python3-")}


def test_every_source_file_names_owner_and_licence():
    folders = ("m4sam_core", "m4sam_ros", "training", "tests", "launch", "docs", ".ci", "docker")
    sources = [REPO / "setup.py", REPO / "Makefile", REPO / ".ci" / "run", *(REPO / "docker").glob("Dockerfile.*")]
    for folder in folders:
        sources += [path for path in (REPO / folder).rglob("*") if path.suffix in (".py", ".sh")]
    bare = [path for path in sources if not re.search(SPDX, path.read_text(), re.MULTILINE)]
    assert [path.relative_to(REPO).as_posix() for path in bare] == []
