# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Where a command cannot write is told before its work, not after."""

from __future__ import annotations

import time

import pytest

from m4sam_core.cli.main import main
from m4sam_core.host.outputs import only_user
from m4sam_training.data.generate import generate_dataset

COMMANDS = (
    "dataset check {data}",
    "edge eval {data}",
    "bench train --config smoke",
    "bench scenes",
    "bench objects",
    "bench model",
    "bench stream --model nano",
    "bench image",
    "bench startup",
    "bench precision",
)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_place_that_cannot_be_written_is_told_before_the_work(tmp_path, command, capsys):
    generate_dataset(tmp_path / "D", "m4sam", videos=1, frames=2, height=64, width=64)
    (tmp_path / "file").touch()
    began = time.process_time()
    words = [*command.format(data=tmp_path / "D").split(), "--json", str(tmp_path / "file" / "out.json")]
    assert main(words) == 2
    shown = capsys.readouterr()
    assert f"{tmp_path / 'file'}: expected a folder that can be written" in shown.err
    assert not shown.out
    assert time.process_time() - began < 10  # imports alone


@pytest.mark.parametrize(
    "command", ["robustness --checkpoint edge", "eval --dataset m4sam --masks {data} --save-masks"]
)
def test_a_folder_in_which_another_run_is_at_work_is_refused(tmp_path, command, capsys):
    generate_dataset(tmp_path / "D", "m4sam", videos=1, frames=2, height=64, width=64)
    (tmp_path / "R").mkdir()
    words = command.format(data=tmp_path / "D").split()
    with only_user(tmp_path / "R"):
        assert main([*words, "--data", str(tmp_path / "D"), "--out", str(tmp_path / "R")]) == 2
    assert "expected no other run in this folder" in capsys.readouterr().err
