# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Photographs that a network goes on seeing as it did."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from m4sam_core.checkpoint import load_checkpoint
from m4sam_core.config import PipelineConfig
from m4sam_core.model_files import resolve_model
from m4sam_core.pipeline import SaliencyPipeline
from m4sam_training.cli.edge import app
from m4sam_training.edge.data import ClipStore
from m4sam_training.edge.teaching import is_story


@pytest.fixture
def photographs(tmp_path):
    """A folder below a folder, with one photograph of a disc."""
    folder = tmp_path / "photos" / "below"
    folder.mkdir(parents=True)
    photo = np.full((480, 640, 3), (120, 130, 125), np.uint8)
    cv2.circle(photo, (300, 240), 100, (30, 40, 220), -1)
    cv2.imwrite(str(folder / "a.png"), photo)
    return folder.parent


def test_a_photograph_becomes_a_clip_that_asks_for_what_the_weights_say(photographs, tmp_path) -> None:
    out, edge = tmp_path / "clips", resolve_model("edge")
    command = ["rehearse", str(edge), str(photographs), "--out", str(out), "--every", "1", "--frames", "3"]
    assert CliRunner().invoke(app, command).exit_code == 0
    pipeline = SaliencyPipeline(load_checkpoint(edge).eval(), PipelineConfig(device="cpu", threads=1))
    photo = cv2.imread(str(photographs / "below" / "a.png"))[..., ::-1]
    said = float((pipeline.process(np.ascontiguousarray(photo), None, 0.0).mask > 0).mean())
    store = ClipStore(out)
    assert len(store.paths) == 1
    clip = store.clip(0, 3, 128, None)
    shares = (clip.mask > 0.5).mean(axis=(1, 2))
    assert said * 0.9 < shares.min() <= shares.max() < said / (0.72**2 * 0.75), "the smallest crop is square"
    assert not clip.depth.any()
    assert not is_story(clip.mask, clip.label)
    written = store.paths[0].stat().st_mtime_ns
    assert CliRunner().invoke(app, command).exit_code == 0
    assert store.paths[0].stat().st_mtime_ns == written, "what is there is kept"


def test_a_folder_without_photographs_is_named(tmp_path) -> None:
    (tmp_path / "empty").mkdir()
    result = CliRunner().invoke(app, ["rehearse", str(resolve_model("edge")), str(tmp_path / "empty")])
    assert "expected photographs" in str(result.exception)
