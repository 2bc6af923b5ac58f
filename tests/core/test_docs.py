# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""What documentation and comments point at exists: links, sections, files, modules, commands."""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from m4sam_core.cli.main import COMMANDS, app

# The pages speak of every package, so what they say can be checked only where all are.
pytest.importorskip("m4sam_training")
pytest.importorskip("m4sam_ros")

REPO = Path(__file__).resolve().parents[2]
FOLDERS = [".ci", "benchmarks", "config", "docker", "docs", "launch", "m4sam_core", "m4sam_ros", "tests", "training"]
READ = {"", ".cfg", ".cpu", ".cuda", ".md", ".py", ".rst", ".sh", ".toml", ".txt", ".xml", ".yaml", ".yml"}
FILES = sorted(
    path.relative_to(REPO).as_posix()
    for place in (REPO.glob("[!.]*"), *((REPO / folder).rglob("*") for folder in FOLDERS))
    for path in place
    if path.is_file() and "__pycache__" not in path.parts
)
SOURCES = [name for name in FILES if name.endswith(".py")]
PAGES = [name for name in FILES if name.endswith(".md")]

LINK = re.compile(r"\]\(([^)\s]+)\)")
M4SAM = re.compile(r"(?:^|`|\$ )m4sam ([a-z]+(?:-[a-z]+)*)", re.MULTILINE)
MAKE = re.compile(r"(?:^|`|&& )make ([a-z-]+)", re.MULTILINE)
# A page, with a section or without: docs/stream.md#memory
PAGE = re.compile(r"\b((?:docs/|decisions/|docker/)[\w./-]+\.md)(?:#([\w-]+))?")
DECISION = re.compile(r"\bdecisions/(\d{4})")
# A file of ours by its path or the end of it: model/experts.py, config/train/rdvs.yaml
SOURCE = re.compile(r"(?<![\w/.*<>{}$-])((?:[\w-]+/)*[\w-]+\.py)\b")
DATA = re.compile(r"\b((?:benchmarks/results|config|launch|docker|tests|docs)/[\w./-]*\w\.[a-z]+)\b")
MODULE = re.compile(r"\bm4sam_(?:core|ros|training)(?:\.\w+)+")
DECISIONS = {Path(name).name[:4] for name in PAGES if name.startswith("docs/decisions/")}
FOREIGN = {"rs_launch.py"}  # RealSense's own


@cache
def text_of(name: str) -> str:
    return (REPO / name).read_text()


@cache
def anchors(page: str) -> frozenset[str]:
    """The sections of a page as GitHub names them, and the places it names itself."""
    titles = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", text_of(page), flags=re.DOTALL), re.MULTILINE)
    named = re.findall(r'<a id="([\w-]+)">', text_of(page))
    return frozenset([*named, *(re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles)])


def remarks(name: str) -> Iterator[str]:
    """Comments and docstrings of a Python file; the whole of any other."""
    if not name.endswith(".py"):
        yield text_of(name)
        return
    before = tokenize.NEWLINE
    for token in tokenize.generate_tokens(io.StringIO(text_of(name)).readline):
        is_docstring = token.type == tokenize.STRING and before in (tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)
        if token.type == tokenize.COMMENT or is_docstring:
            yield token.string
        if token.type not in (tokenize.COMMENT, tokenize.NL):
            before = token.type


def is_file(cited: str) -> bool:
    return cited in FOREIGN or any(name == cited or name.endswith(f"/{cited}") for name in FILES)


def is_name(cited: str) -> bool:
    """Whether a dotted name is a module, or a module and a word that stands in it."""
    parts = cited.split(".")
    for length in range(len(parts), 0, -1):
        path = "/".join(parts[:length]).replace("m4sam_training", "training/m4sam_training", 1)
        for source in (f"{path}.py", f"{path}/__init__.py"):
            if source in FILES:
                rest = parts[length:]
                return not rest or re.search(rf"\b{rest[0]}\b", text_of(source)) is not None
    return False


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    missing = []
    for link in LINK.findall(text_of(page)):
        if link.startswith(("http:", "https:", "mailto:")):
            continue
        target, _, section = link.partition("#")
        path = (REPO / page).parent.joinpath(target).resolve() if target else REPO / page
        found = path.exists() and (not section or section in anchors(path.relative_to(REPO).as_posix()))
        missing += [] if found else [link]
    assert missing == []


@pytest.mark.parametrize("page", PAGES)
def test_commands_exist(page):
    targets = re.findall(r"^([a-z-]+):", text_of("Makefile"), re.MULTILINE)
    assert set(M4SAM.findall(text_of(page))) <= set(COMMANDS)
    assert set(MAKE.findall(text_of(page))) <= set(targets)


def command_lines(page: str) -> Iterator[list[str]]:
    """The words behind `m4sam` in a page's shell blocks and in its running text."""
    text = text_of(page).replace("\\\n", " ")
    blocks = re.findall(r"```(?:bash)?\n(.*?)```", text, re.DOTALL)
    shown = [line for block in blocks for line in block.splitlines()] + re.findall(r"`([^`\n]+)`", text)
    for line in shown:
        _, found, words = re.sub(r"\s#.*", "", line).partition("m4sam_core.cli.main ")
        words = words if found else re.match(r"\s*m4sam (.*)|", line)[1]
        if words and re.match(r"[a-z]", words):
            yield re.split(r"\s+", re.split(r"[;|&#)]", words)[0].strip())


@pytest.mark.parametrize("page", PAGES)
def test_options_of_commands_exist(page):
    import typer

    missing = []
    for words in command_lines(page):
        command = typer.main.get_command(app)
        context = command.make_context("m4sam", [], resilient_parsing=True)
        rest = words
        while rest and hasattr(command, "resolve_command"):
            _, command, rest = command.resolve_command(context, rest)
        known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        missing += [
            (" ".join(words), word) for word in rest if word.startswith("--") and word.split("=")[0] not in known
        ]
    assert missing == []


def test_pages_sections_and_files_that_are_cited_exist():
    missing = []
    for name in (name for name in FILES if Path(name).suffix in READ):
        for text in remarks(name):
            for page, section in PAGE.findall(text):
                page = page if page.startswith("docker/") else f"docs/{page.removeprefix('docs/')}"
                if page not in FILES or (section and section not in anchors(page)):
                    missing.append((name, page, section))
            missing += [(name, file) for file in SOURCE.findall(text) + DATA.findall(text) if not is_file(file)]
            missing += [(name, number) for number in DECISION.findall(text) if number not in DECISIONS]
    assert missing == []


def test_modules_that_are_named_exist():
    readers = [name for name in (*SOURCES, *PAGES, "Makefile") if not name.startswith("tests/")]
    missing = {(name, module) for name in readers for module in MODULE.findall(text_of(name)) if not is_name(module)}
    assert missing == set()


def test_the_project_speaks_only_of_itself():
    outside = re.compile(r"\bspec/\w|\.\./shared|/work/")
    readers = [name for name in FILES if Path(name).suffix in READ and name != "tests/core/test_docs.py"]
    assert [name for name in readers if outside.search(text_of(name))] == []
