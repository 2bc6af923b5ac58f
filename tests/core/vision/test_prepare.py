# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""What a frame needs, in one trip, and in the order that matters."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from m4sam_core.config import PipelineConfig
from m4sam_core.errors import InputError
from m4sam_core.vision.prepare import FramePreparation

CPU = torch.device("cpu")


def boxes():
    """Boxes of their own colour and distance before a wall."""
    rng = np.random.default_rng(3)
    rgb, metres = np.full((240, 320, 3), 120, np.uint8), np.full((240, 320), 4.0, np.float32)
    for _ in range(6):
        top, left = rng.integers(20, 150), rng.integers(30, 220)
        rgb[top : top + 50, left : left + 50] = rng.integers(0, 256, 3)
        metres[top : top + 50, left : left + 50] = rng.uniform(1.0, 2.5)
    return rgb, metres


def test_sizes_ranges_and_notes():
    rgb, metres = boxes()
    frame = FramePreparation(64, CPU).prepare(rgb, metres, PipelineConfig())
    assert (frame.rgb.shape, frame.depth.shape) == ((1, 3, 64, 64), (1, 1, 64, 64))
    assert (frame.region.shape, frame.depth_note) == ((240, 320), None)
    for image in (frame.rgb, frame.depth):
        assert image.dtype == torch.float32
        assert 0 <= image.min() <= image.max() <= 1


def test_depth_that_does_not_line_up_is_kept_from_the_model_but_not_from_the_cues():
    rgb, metres = boxes()
    preparation = FramePreparation(64, CPU)
    late = np.roll(metres, 18, axis=1)
    frames = [preparation.prepare(rgb, late, PipelineConfig()) for _ in range(3)]
    assert "outlines" in frames[-1].depth_note
    assert not frames[-1].depth.any()
    assert np.isfinite(frames[-1].cues.log_depth).any(), "they tell a new room from another light by it"


def test_unusable_rgb_leaves_no_trace():
    rgb, metres = boxes()
    late = np.roll(metres, 18, axis=1)
    one, other = FramePreparation(64, CPU), FramePreparation(64, CPU)
    for _ in range(2):
        one.prepare(rgb, late, PipelineConfig())
        other.prepare(rgb, late, PipelineConfig())
        with pytest.raises(InputError, match="uint8"):
            other.prepare(rgb.astype(np.float32), late, PipelineConfig())
    assert one.prepare(rgb, late, PipelineConfig()).depth_note == other.prepare(rgb, late, PipelineConfig()).depth_note
