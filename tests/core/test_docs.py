"""Links in the documentation lead somewhere, and its commands exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from m4sam_core.cli.main import COMMANDS

REPO = Path(__file__).resolve().parents[2]
PAGES = [
    REPO / "README.md",
    REPO / "CONTRIBUTING.md",
    *sorted((REPO / "docs").rglob("*.md")),
    REPO / "docker/README.md",
]
LINK = re.compile(r"\]\(([^)#\s]+)")
M4SAM = re.compile(r"(?:^|`|\$ )m4sam ([a-z]+)", re.MULTILINE)
MAKE = re.compile(r"(?:^|`|&& )make ([a-z-]+)", re.MULTILINE)


def names(paths: list[Path]) -> list[str]:
    return [str(path.relative_to(REPO)) for path in paths]


@pytest.mark.parametrize("page", names(PAGES))
def test_links_lead_somewhere(page):
    text = (REPO / page).read_text()
    targets = [target for target in LINK.findall(text) if not target.startswith(("http:", "https:", "mailto:"))]
    missing = [target for target in targets if not (REPO / page).parent.joinpath(target).exists()]
    assert missing == []


@pytest.mark.parametrize("page", names(PAGES))
def test_commands_exist(page):
    text = (REPO / page).read_text()
    targets = re.findall(r"^([a-z-]+):", (REPO / "Makefile").read_text(), re.MULTILINE)
    assert set(M4SAM.findall(text)) <= set(COMMANDS)
    assert set(MAKE.findall(text)) <= set(targets)


def test_readme_is_short_and_its_python_loop_compiles():
    text = (REPO / "README.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    compile(code, "README.md", "exec")
    assert len(code.splitlines()) <= 16
    assert len(text.splitlines()) <= 100
