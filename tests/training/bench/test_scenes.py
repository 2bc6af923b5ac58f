# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""The cut benchmark: its truth is right, its score counts what it should, and the command prints it."""

from __future__ import annotations

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest

from m4sam_core.cli.main import main
from m4sam_core.config import SceneConfig
from m4sam_core.rgbd.image_files import write_png
from m4sam_training.bench import scenes as scene_bench
from m4sam_training.bench.disturbances import EFFECTS
from m4sam_training.bench.scenes import FPS, make_recording, score_recording, undisturbed_score


def shot(seed, frames=50):
    rng = np.random.default_rng(seed)
    texture = cv2.resize(rng.integers(0, 256, (12, 16, 4), dtype=np.uint8), (160, 120), interpolation=cv2.INTER_CUBIC)
    depth = texture[..., 3].astype(np.uint16) * 10 + 600
    return [(texture[..., :3].copy(), depth)] * frames


def chain(seed=0, count=4, **kwargs):
    clips = [shot(10 * seed + index) for index in range(count)]
    return list(make_recording(clips, np.random.default_rng(seed), **kwargs))


def test_every_seam_is_a_cut_and_nothing_else():
    for seed in range(3):
        frames = chain(seed)
        assert [index for index, frame in enumerate(frames) if frame.cut] == [50, 100, 150]
        back = [index for index in range(1, 200) if frames[index].stamp_s < frames[index - 1].stamp_s]
        assert set(back) == {index for index in (50, 100, 150) if frames[index].event == "loop"}
        assert {frame.rgb.shape for frame in frames} == {frames[0].rgb.shape}


def test_the_same_seed_gives_the_same_recording():
    for ours, theirs in zip(chain(1), chain(1), strict=True):
        np.testing.assert_array_equal(ours.rgb, theirs.rgb)
        assert ours.event == theirs.event


@pytest.mark.parametrize("name", sorted(EFFECTS))
def test_each_disturbance_does_something_only_while_it_lasts(name, monkeypatch):
    monkeypatch.setattr(scene_bench, "EFFECTS", {name: EFFECTS[name]})
    frames = chain(count=1)
    monkeypatch.setattr(scene_bench, "EFFECTS", {"plain": EFFECTS["plain"]})
    quiet = chain(count=1)
    during = [index for index, frame in enumerate(frames) if frame.event == name]
    assert during
    if name == "plain":
        return
    if name == "depth lost":
        assert [index for index, frame in enumerate(frames) if frame.depth is None] == during
        return
    change = [np.abs(a.rgb.astype(int) - b.rgb).mean() for a, b in zip(frames, quiet, strict=True)]
    assert max(change[index] for index in during) > 3


def test_rgb_only_has_no_depth():
    assert all(frame.depth is None for frame in chain(with_depth=False))


def test_score_of_the_detector_and_of_a_blind_one():
    frames = chain(2)
    found = score_recording(frames, SceneConfig())
    assert (found.cuts, found.found, sum(found.false_resets.values())) == (3, 3, 0)
    assert found.seconds == pytest.approx(200 / FPS)
    cuts_only = [replace(frame, stamp_s=index / FPS) for index, frame in enumerate(frames)]
    blind = score_recording(cuts_only, SceneConfig(enabled=False))
    assert (blind.cuts, blind.found, sum(blind.missed.values()), blind.recall) == (3, 0, 3, 0.0)


def test_false_and_late_resets_are_counted():
    hidden_cut = [replace(frame, cut=False) for frame in chain(2)]
    score = score_recording(hidden_cut, SceneConfig())
    assert sum(score.false_resets.values()) == 3
    assert score.false_per_10_min == pytest.approx(600 * 3 / (200 / FPS))
    early_truth = [replace(frame, cut=index in (44, 94, 144)) for index, frame in enumerate(chain(2))]
    late = score_recording(early_truth, SceneConfig())
    assert (late.found, late.late, sum(late.false_resets.values())) == (0, 3, 0)


def test_an_undisturbed_recording_has_no_resets():
    assert sum(undisturbed_score(shot(0), SceneConfig()).false_resets.values()) == 0


def test_the_command(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(scene_bench, "generated_shots", lambda seed, count: [shot(seed + i) for i in range(count)])
    clip = tmp_path / "desk"
    for kind, channel in (("rgb", 0), ("depth", 1)):
        (clip / kind).mkdir(parents=True)
        for index in range(5):
            write_png(clip / kind / f"{index}.png", shot(0, 1)[0][channel])
    file = tmp_path / "scenes.json"
    assert main(["bench", "scenes", "--minutes", "0.3", "--clip", str(clip), "--json", str(file)]) == 0
    text = capsys.readouterr().out
    assert "desk" in text
    figures = json.loads(file.read_text())["recordings"]
    assert figures["rgb and depth"]["recall"] == 1.0
    assert figures["desk"]["false_resets"] == {}
