# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""`m4sam bench image` times what it says. No figure is judged here: machines differ."""

from __future__ import annotations

import json

import cv2
import torch

from m4sam_core.bench import image
from m4sam_core.cli.main import main


def test_every_part_at_every_size_and_threads_are_as_before(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(image, "SIZES", {"64x48": (48, 64), "90x70": (70, 90)})
    threads = torch.get_num_threads(), cv2.getNumThreads()
    assert main(["bench", "image", "--size", "64", "--frames", "10", "--json", str(tmp_path / "image.json")]) == 0
    assert (torch.get_num_threads(), cv2.getNumThreads()) == threads
    written = json.loads((tmp_path / "image.json").read_text())
    assert [row["size"] for row in written["rows"]] == ["64x48", "90x70"]
    assert {"cpu", "commit", "load_average_1min", "cores"} <= set(written["machine"])
    for row in written["rows"]:
        assert set(row["parts"]) == {"decode", "prepare", "scene", "mask"}
        for part in (*row["parts"].values(), row["total"]):
            assert 0 < part["cpu_ms_p50"] <= part["cpu_ms_p95"]
            assert 0 < part["ms_p50"] <= part["ms_p95"]
        assert row["total"]["cpu_ms_p50"] > row["parts"]["prepare"]["cpu_ms_p50"]
    assert "90x70" in capsys.readouterr().out


def test_the_depth_it_times_is_used():
    """Not left out as useless, which would be quick."""
    rgb, depth = image.textured_view(0, 480, 640)
    prepared = image.FramePreparation(64, torch.device("cpu")).prepare(rgb.copy(), depth, image.PipelineConfig())
    assert prepared.depth_note is None
