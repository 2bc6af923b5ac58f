# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Depth whose outlines are not where the picture has them (docs/decisions/0012)."""

from __future__ import annotations

import numpy as np
import pytest

from m4sam_core.build import build_model
from m4sam_core.config import DepthConfig, ModelConfig, PipelineConfig
from m4sam_core.pipeline import SaliencyPipeline
from m4sam_core.vision.alignment import DepthAlignment, misalignment
from m4sam_core.vision.depth import prepare_depth
from tests.core.vision.depth_maps import unit_map

HEIGHT, WIDTH = 240, 320


def scene(seed=0):
    """Boxes of their own colour and distance before a wall; every outline is in both images."""
    rng = np.random.default_rng(seed)
    rgb = np.full((HEIGHT, WIDTH, 3), 120, np.uint8)
    metres = np.full((HEIGHT, WIDTH), 4.0, np.float32)
    for _ in range(6):
        top, left = int(rng.integers(20, 150)), int(rng.integers(30, 220))
        box = np.s_[top : top + int(rng.integers(30, 60)), left : left + int(rng.integers(30, 60))]
        rgb[box] = rng.integers(0, 256, 3)
        metres[box] = rng.uniform(1.0, 2.5)
    return np.clip(rgb + rng.normal(0, 4, rgb.shape), 0, 255).astype(np.uint8), metres


def prepared(depth):
    return prepare_depth(depth, HEIGHT, WIDTH, DepthConfig())


@pytest.mark.parametrize("seed", range(8))
def test_depth_in_its_place_agrees(seed):
    rgb, metres = scene(seed)
    assert misalignment(rgb, prepared(metres)) == 0.0


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("shift", [(0, 12), (18, 0), (-12, 12)])
def test_a_shift_is_found_and_measured(seed, shift):
    rgb, metres = scene(seed)
    away_px = misalignment(rgb, prepared(np.roll(metres, shift, (0, 1))))
    assert away_px == pytest.approx(np.hypot(*shift), abs=9), "the shifts tried are 6 px apart here"


def test_what_has_no_outline_says_nothing():
    rgb, metres = scene()
    assert misalignment(rgb, prepared(np.full_like(metres, 2.0))) is None
    assert misalignment(rgb, prepared(np.zeros_like(metres))) is None
    assert not misalignment(np.full_like(rgb, 90), prepared(metres)), "a blank picture proves no shift"


def test_noise_says_nothing():
    rgb, _ = scene()
    noise = np.random.default_rng(0).uniform(1, 4, (HEIGHT, WIDTH)).astype(np.float32)
    assert not misalignment(rgb, prepared(noise))


def test_relative_depth_is_compared_too():
    rgb, metres = scene()
    relative = (metres * 60).astype(np.uint8)
    assert misalignment(rgb, prepared(relative)) == 0.0
    assert misalignment(rgb, prepared(np.roll(relative, 18, 1))) > 0


def test_one_odd_frame_is_let_pass_two_are_not():
    rgb, metres = scene()
    watch, shifted = DepthAlignment(), prepared(np.roll(metres, 18, 1))
    assert watch.update(rgb, prepared(metres)).note is None
    assert watch.update(rgb, shifted).note is None
    dropped = watch.update(rgb, shifted)
    assert dropped.rgb_only
    assert not unit_map(dropped).any()
    assert "px away" in dropped.note


def test_depth_comes_back():
    rgb, metres = scene()
    watch = DepthAlignment()
    for _ in range(20):
        watch.update(rgb, prepared(np.roll(metres, 18, 1)))
    back = [watch.update(rgb, prepared(metres)).note is None for _ in range(6)]
    assert back == sorted(back), "once back, it stays"
    assert back[-1]
    assert not back[0], "one good frame is not enough"


def test_a_frame_without_depth_changes_nothing():
    rgb, metres = scene()
    watch = DepthAlignment()
    nothing = prepared(None)
    assert watch.update(rgb, nothing) is nothing
    assert watch.update(rgb, prepared(metres)).note is None


@pytest.mark.parametrize("check", [True, False])
def test_the_pipeline_leaves_it_out_if_told_to(check):
    rgb, metres = scene()
    cfg = PipelineConfig(device="cpu", depth=DepthConfig(check_alignment=check))
    pipeline = SaliencyPipeline(build_model(ModelConfig.preset("edge")), cfg)
    late = np.roll(metres, 18, 1)
    results = [pipeline.process(rgb, late, index / 10) for index in range(3)]
    assert results[0].depth_note is results[0].depth_doubt is None
    assert (results[-1].depth_note is not None) == check
    assert results[-1].depth_doubt == results[-1].depth_note, "nor may anybody measure with it"
