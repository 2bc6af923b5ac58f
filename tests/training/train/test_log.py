# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""metrics.jsonl of a run whose disk or editor has damaged it."""

from __future__ import annotations

import json
import logging

import pytest

from m4sam_training.train.log import RunLog, read_metrics, write_curves

DAMAGED = [b'{"step": 2, "loss/to', b"", b"[1]", b"\0\0\0", b"\xff\xfe", b'{"epoch": 1}', b'{"step": "2"}']


@pytest.mark.parametrize("line", DAMAGED)
def test_a_damaged_line_costs_only_itself_and_is_said(tmp_path, caplog, line):
    whole = [json.dumps({"step": step, "epoch": 0, "loss/total": 1.0}).encode() for step in (1, 3)]
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b"\n".join([whole[0], line, whole[1], b'{"step": 4, "cut']))
    with caplog.at_level(logging.WARNING):
        assert [entry["step"] for entry in read_metrics(tmp_path)] == [1, 3]
    assert f"{path}: 1 damaged line(s) left out, the first is line 2" in caplog.text
    write_curves(tmp_path)
    with RunLog(tmp_path, first_step=3, total_steps=4, tensorboard=False) as log:
        log.step(4, 0, {"loss/total": 0.5}, write=True)
    assert [json.loads(text)["step"] for text in path.read_text().splitlines()] == [1, 3, 4]
