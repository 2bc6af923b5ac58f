# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""The `m4sam` command itself: listing, errors, exit codes, doctor."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys

import pytest
import typer
from rich.text import Text

from m4sam_core.cli import doctor, doctor_checks, doctor_ros
from m4sam_core.cli.finding import Check
from m4sam_core.cli.main import COMMANDS, main
from m4sam_core.cli.table import Entry
from m4sam_core.errors import ConfigError


def entries():
    for name, entry in COMMANDS.items():
        children = {name: entry} if isinstance(entry, Entry) else {f"{name} {child}": e for child, e in entry.items()}
        yield from children.items()


@pytest.mark.parametrize("words", [name.split() for name, _ in entries()], ids=" ".join)
def test_every_command_explains_itself(words, capsys):
    assert main([*words, "--help"]) == 0
    assert f"m4sam {' '.join(words)}" in capsys.readouterr().out


@pytest.mark.parametrize("entry", [pytest.param(entry, id=name) for name, entry in entries()])
def test_no_word_of_a_help_is_taken_for_a_style(entry):
    module = importlib.import_module(entry.module)
    command = typer.main.get_command(getattr(module, "app", None) or with_command(module.command))
    for part in (command, *getattr(command, "commands", {}).values()):
        for text in (part.help, *(getattr(option, "help", None) for option in part.params)):
            assert Text.from_markup(text or "").plain == (text or "")


def with_command(function):
    app = typer.Typer()
    app.command()(function)
    return app


def test_help_lists_every_command_without_importing_torch_or_ros():
    code = (
        "import sys; from m4sam_core.cli.main import main; code = main(['--help']); "
        "print('LOADED', [m for m in ('torch', 'rclpy', 'cv2', 'sam2') if m in sys.modules], code)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert "LOADED [] 0" in shown.stdout
    for name in COMMANDS:
        assert name in shown.stdout


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("m4sam ")


def test_unknown_command_suggests(capsys):
    assert main(["docter"]) == 2
    assert "doctor" in capsys.readouterr().err


def failing(error):
    def run_checks():
        raise error

    return run_checks


def test_project_errors_are_one_line(monkeypatch, capsys):
    monkeypatch.setattr(doctor, "run_checks", failing(ConfigError("threshold: expected 0..1, got 7; do better")))
    assert main(["doctor"]) == 2
    assert capsys.readouterr().err == "m4sam: threshold: expected 0..1, got 7; do better\n"


def test_unexpected_errors_are_one_line_and_a_hint(monkeypatch, capsys):
    monkeypatch.setattr(doctor, "run_checks", failing(RuntimeError("boom")))
    assert main(["doctor"]) == 1
    assert capsys.readouterr().err == "m4sam: unexpected RuntimeError: boom; add --debug for details\n"


def test_debug_shows_the_traceback(monkeypatch):
    monkeypatch.setattr(doctor, "run_checks", failing(ConfigError("bad")))
    with pytest.raises(ConfigError):
        main(["doctor", "--debug"])


def test_a_missing_library_is_named(monkeypatch, capsys):
    monkeypatch.setattr(doctor, "run_checks", failing(ModuleNotFoundError("No module named 'torch'", name="torch")))
    assert main(["doctor"]) == 2
    assert "torch is not installed" in capsys.readouterr().err


def test_doctor_json_has_every_topic(capsys):
    main(["doctor", "--json"])
    found = {check["name"]: check for check in json.loads(capsys.readouterr().out)}
    topics = {"Python", "torch", "device", "threads", "numpy", "opencv", "sam2", "ROS 2", "DDS profile", "/dev/shm"}
    assert topics <= set(found)
    assert found["Python"]["status"] == "ok"
    assert all(check["advice"] for check in found.values() if check["status"] == "fail")


@pytest.mark.parametrize("hidden", ["torch", "rclpy", "sam2", "cv2"])
def test_doctor_survives_a_missing_library(hidden, monkeypatch):
    monkeypatch.setitem(sys.modules, hidden, None)
    findings = doctor_checks.run_checks()
    about = {"torch": "torch", "rclpy": "ROS 2", "sam2": "sam2", "cv2": "opencv"}[hidden]
    (finding,) = [check for check in findings if check.name == about]
    assert "not installed" in finding.found
    assert finding.advice


def test_a_check_that_breaks_is_a_finding(monkeypatch):
    def _broken():
        raise OSError("unreadable")

    monkeypatch.setattr(doctor_checks, "CHECKS", [_broken])
    assert doctor_checks.run_checks() == [
        Check("broken", "fail", "OSError: unreadable", "reinstall, or report this text")
    ]


@pytest.mark.parametrize(
    ("content", "status"),
    [
        ("<dds><segment_size>33554432</segment_size></dds>", "ok"),
        ("<dds><segment_size>524288</segment_size></dds>", "warn"),
        ("<dds/>", "warn"),
        (None, "fail"),
    ],
)
def test_dds_profile_check(content, status, tmp_path, monkeypatch):
    profile = tmp_path / "profile.xml"
    if content is not None:
        profile.write_text(content)
    monkeypatch.setenv("FASTDDS_DEFAULT_PROFILES_FILE", str(profile))
    monkeypatch.setattr(doctor_checks, "CHECKS", [doctor_ros.dds_profile])
    (finding,) = doctor_checks.run_checks()
    assert finding.status == status
