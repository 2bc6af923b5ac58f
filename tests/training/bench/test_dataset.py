# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""The benchmark of large datasets, on a small one."""

from __future__ import annotations

import json

from m4sam_core.cli.main import main
from m4sam_training.bench.dataset import STEPS


def test_every_step_finds_what_was_made(tmp_path, capsys):
    words = ["--frames", "40", "--videos", "3", "--annotated", "12", "--work", str(tmp_path)]
    assert main(["bench", "dataset", *words, "--json", str(tmp_path / "r.json")]) == 0
    assert "40 frames in 3 videos, 12 with ground truth" in " ".join(capsys.readouterr().out.split())
    result = json.loads((tmp_path / "r.json").read_text())
    rows = {row["step"]: row for row in result["steps"]}
    assert list(rows) == list(STEPS)
    assert (rows["read every run"]["frames"], rows["read every run"]["annotated"]) == (40, 12)
    assert rows["first index"]["annotated"] == rows["index read"]["annotated"] == 12
    assert rows["check --no-decode"]["left_out"] == 0
    before, after = rows["loader, read every run"], rows["loader, index"]
    assert before["clips"] == after["clips"] == 4  # of 5, 4 and 3 annotated frames
    assert before["first_batch"] == after["first_batch"] == [2, 4, 3, 64, 64]
    assert after["sent_to_each_worker_mb"] < before["sent_to_each_worker_mb"]
    assert [path.name for path in tmp_path.iterdir()] == ["r.json"], "nothing is left behind"
