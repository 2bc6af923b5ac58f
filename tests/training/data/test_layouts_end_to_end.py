# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""From the shell, for every layout: generate, check, train, evaluate both ways."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from m4sam_training.data.layouts import LAYOUTS

pytestmark = pytest.mark.slow
REPO = Path(__file__).resolve().parents[3]


def m4sam(folder, *arguments):
    env = {**os.environ, "PYTHONPATH": f"{REPO}:{REPO / 'training'}", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "m4sam_core.cli.main", *map(str, arguments)]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("layout", list(LAYOUTS))
def test_generate_check_train_evaluate(tmp_path, layout):
    m4sam(tmp_path, "dataset", "generate", "--layout", layout, "--out", "D", "--videos", 2, "--frames", 6)
    m4sam(tmp_path, "dataset", "check", "--layout", layout, "D", "--strict")
    steps = ["--set", f"data.layout={layout}", "--set", "run.max_steps=2"]
    m4sam(tmp_path, "train", "--config", REPO / "config/train/smoke.yaml", "--data", "D", "--out", "R", *steps)
    common = ["eval", "--dataset", layout, "--data", "D", "--checkpoint", "R/last.safetensors"]
    for mode in ("clip", "stream"):
        text = m4sam(tmp_path, *common, "--mode", mode, "--json", f"{mode}.json")
        assert LAYOUTS[layout].title in text
        scores = json.loads((tmp_path / f"{mode}.json").read_text())
        assert all(0 <= scores[name] <= 1 for name in ("S", "E_mean", "F_adaptive", "MAE"))
        assert scores["frames"] == (6 if layout == "dvisal" else 12)
