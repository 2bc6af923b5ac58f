# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Outputs are tried before the work, held by one run, and explained when they fail."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
from pathlib import Path

import pytest

from m4sam_core.cli import main as entry
from m4sam_core.errors import ConfigError
from m4sam_core.host.files import whole_file
from m4sam_core.host.journal import Journal
from m4sam_core.host.outputs import check_outputs, explain, sole_writer


def test_outputs_that_can_be_written_are_made_and_left_empty(tmp_path):
    check_outputs(folders=(tmp_path / "a" / "b", None), files=(tmp_path / "c" / "scores.json", None))
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "b", "c"]


def test_outputs_that_cannot_are_refused_with_the_path_and_advice(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"file/run: expected a folder that can be written, got Not a dir.*; check"):
        check_outputs(folders=(tmp_path / "file" / "run",))
    with pytest.raises(ConfigError, match="expected a file to write, got a folder"):
        check_outputs(files=(tmp_path,))
    with pytest.raises(ConfigError, match=r"/proc/m4sam: expected a folder"):
        check_outputs(folders=(Path("/proc/m4sam"),))


def test_a_full_disk_is_one_line_of_every_command(tmp_path, monkeypatch, capsys):
    def full(*_args, **_options):
        with whole_file(tmp_path / "mask.png"):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(entry, "app", full)
    assert entry.main(["doctor"]) == entry.EXIT_USER_ERROR
    told = capsys.readouterr().err.strip()
    assert told == (
        f"m4sam: {tmp_path / 'mask.png'}: expected to read or write there, got No space left on device; "
        "free some space or choose another place"
    )


def test_errors_the_user_cannot_mend_stay_unexpected():
    assert explain(OSError(errno.EPIPE, "Broken pipe")) is None


def _hold(folder, ready):
    with sole_writer(folder):
        ready.set()
        signal.pause()


def test_a_folder_is_held_by_one_run_and_freed_by_kill_9(tmp_path):
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    process = context.Process(target=_hold, args=(tmp_path, ready))
    process.start()
    assert ready.wait(30)
    with pytest.raises(ConfigError, match=r"expected no other run in this folder, got one that is at work"):
        sole_writer(tmp_path).__enter__()
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    with sole_writer(tmp_path):
        pass


def test_a_journal_on_a_full_disk_says_where(tmp_path):
    with Journal(tmp_path / "j.jsonl", {"kind": "run"}) as journal:
        journal._file.close()
        os.symlink("/dev/full", tmp_path / "full")
        journal._file = (tmp_path / "full").open("w")
        with pytest.raises(OSError, match="No space left") as caught:
            journal.add({"frame": 1})
        assert explain(caught.value).startswith(f"{tmp_path / 'full'}: expected to read or write there, got No space")
        journal._file = (tmp_path / "rest").open("w")
