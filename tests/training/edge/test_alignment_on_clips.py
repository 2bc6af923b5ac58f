# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""The check of depth against colour on generated clips, with the faults of `m4sam robustness`."""

from __future__ import annotations

import numpy as np
import pytest

from m4sam_core.config import DepthConfig
from m4sam_core.vision.alignment import DepthAlignment
from m4sam_core.vision.depth import prepare_depth
from m4sam_training.data.corruptions import corrupt_clip
from m4sam_training.synth.clip import generate_clip

SEEDS = range(40, 50)


def frames_without(frames, maps):
    """How many frames lose their depth."""
    watch = DepthAlignment()
    pairs = zip(frames, maps, strict=True)
    return sum(watch.update(f.rgb, prepare_depth(d, 240, 320, DepthConfig())).rgb_only for f, d in pairs)


@pytest.fixture(scope="module")
def clips():
    return [list(generate_clip(seed, 6, 240, 320, fps=10.0)) for seed in SEEDS]


def damaged(frames, name, severity):
    return corrupt_clip([frame.depth.astype(np.float32) / 1000 for frame in frames], name, severity, seed=0)


def test_sound_depth_is_kept(clips):
    assert [frames_without(frames, [frame.depth for frame in frames]) for frames in clips] == [0] * len(clips)


@pytest.mark.parametrize("name", ["edge_jitter", "holes", "axial_noise", "occlusion_shadow", "low_resolution"])
def test_poor_depth_in_its_place_is_kept(clips, name):
    lost = sum(frames_without(frames, damaged(frames, name, 3)) for frames in clips)
    assert lost <= 3, f"of {6 * len(clips)} frames"


def test_depth_far_from_its_place_is_left_out(clips):
    found = sum(frames_without(frames, damaged(frames, "misalignment", 5)) > 0 for frames in clips)
    assert found >= 0.6 * len(clips)
