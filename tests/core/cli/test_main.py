# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""The `m4sam` command itself: listing, errors, exit codes, doctor."""

from __future__ import annotations

import importlib
import json
import pwd
import subprocess
import sys

import pytest
import typer
from rich.text import Text

from m4sam_core import model_files
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
    def run_checks(*_):
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


def found_by(check, monkeypatch):
    monkeypatch.setattr(doctor_checks, "CHECKS", [check])
    return doctor_checks.run_checks()


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("RMW_IMPLEMENTATION", "rmw_elsewhere", "rmw_elsewhere"),
        ("ROS_DOMAIN_ID", "abc", "expected 0 to 232, got 'abc'"),
        ("ROS_DOMAIN_ID", "300", "expected 0 to 232, got '300'"),
    ],
)
def test_doctor_outlives_what_ends_ros(variable, value, words, monkeypatch):
    pytest.importorskip("rclpy")
    monkeypatch.setenv(variable, value)
    (finding,) = found_by(doctor_ros.ros, monkeypatch)
    assert (finding.status, words in finding.found) == ("fail", True)
    assert finding.advice


def test_doctor_outlives_a_rclpy_that_ends_the_process(monkeypatch, tmp_path):
    pytest.importorskip("rclpy")
    (tmp_path / "rclpy.py").write_text("import os, sys\nprint('a line', file=sys.stderr, flush=True)\nos._exit(102)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (finding,) = found_by(doctor_ros.ros, monkeypatch)
    assert (finding.status, finding.found) == ("fail", "loading rclpy ends the process (102): a line")


def test_weights_that_are_not_whole_are_found(monkeypatch, tmp_path):
    whole = (model_files.packaged_weights_dir() / "edge.safetensors").read_bytes()
    monkeypatch.setattr(model_files, "packaged_weights_dir", lambda: tmp_path)
    for data in (whole[: len(whole) // 2], whole[:100], b""):
        (tmp_path / "edge.safetensors").write_bytes(data)
        (finding,) = found_by(doctor_checks._weights, monkeypatch)
        assert (finding.status, "edge.safetensors" in finding.found) == ("fail", True)
    (tmp_path / "edge.safetensors").write_bytes(whole)
    (finding,) = found_by(doctor_checks._weights, monkeypatch)
    assert finding.status == "ok"


def test_a_cache_that_keeps_nothing_is_named(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    for folder, status in ((tmp_path / "new" / "deep", "ok"), (tmp_path / "file" / "cache", "warn")):
        monkeypatch.setenv("M4SAM_CACHE", str(folder))
        (finding,) = found_by(doctor_checks._cache, monkeypatch)
        assert (finding.status, str(folder) in finding.found) == (status, True)
    monkeypatch.delenv("M4SAM_CACHE")
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(pwd, "getpwuid", failing(KeyError("uid not found")))
    (finding,) = found_by(doctor_checks._cache, monkeypatch)
    assert (finding.status, "expected a home" in finding.found) == ("warn", True)


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
