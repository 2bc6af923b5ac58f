# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""What the memory carries, and what the weights that ship reach (docs/models.md)."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from m4sam_core.build import build_model
from m4sam_core.checkpoint import load_checkpoint
from m4sam_core.config import ModelConfig
from m4sam_core.model_files import resolve_model
from m4sam_training.edge.memory import FIRST_STORY_SEED, held_out, memory_rows, situation_rows
from m4sam_training.edge.teaching import BAD_PRIORS
from m4sam_training.synth.clip import PLAIN_STYLE, draw_room
from m4sam_training.synth.scenes.stories import draw_story


@pytest.fixture(scope="module")
def blind():
    """A network whose memory cannot see masks."""
    torch.manual_seed(0)
    model = build_model(ModelConfig.preset("nano")).eval()
    with torch.no_grad():
        model.value_path.encoder[0].weight[:, -1] = 0
    return model


def test_a_memory_that_cannot_see_masks_does_not_mind_their_opposite(blind) -> None:
    rows = memory_rows(blind, PLAIN_STYLE, clips=2, ordinary=1, shifts=1)
    told = rows["only the past can tell"]
    assert told["inverted memory"] == told["as shipped"]
    plain = rows["the picture tells"]
    assert {plain[f"prior {how}"] for how in ("flipped", "shifted", "empty", "full")} == {plain["as shipped"]}
    assert set(rows["things come in"]) == {"as shipped", "inverted memory", "memory off"}
    assert set(rows["attention shifts"]) == {"as shipped"}


def test_held_out_stories_ask_for_less_than_the_picture_shows() -> None:
    clips = held_out(PLAIN_STYLE, draw_story, FIRST_STORY_SEED, 6, 6, 64)
    less = [float((np.asarray(clip["label"]) > 0).sum()) - float((clip["mask"] > 127).sum()) for clip in clips]
    assert sum(gap > 20 for gap in less) >= 4
    (room,) = held_out(PLAIN_STYLE, draw_room, 5, 1, 1, 64)
    assert abs((room["label"] > 0).mean() - (room["mask"] > 127).mean()) < 0.01


def test_situations_are_scored_by_kind(blind) -> None:
    rows = situation_rows(blind, PLAIN_STYLE, 1)
    assert set(rows) == {"hands", "sizes", "crowd", "workplace", "plain", "street"}
    assert all(0 <= row["as shipped"] <= 1 and 0 <= row["memory off"] <= 1 for row in rows.values())


def test_what_ships_carries_masks_and_forgets_bad_ones() -> None:
    """The aims (decision 0043): an inverted memory costs .30, none .15, a bad prior .03 after five frames at most."""
    rows = memory_rows(load_checkpoint(resolve_model("edge")).eval(), PLAIN_STYLE, clips=10, ordinary=8, shifts=1)
    told, plain = rows["only the past can tell"], rows["the picture tells"]
    assert told["as shipped"] - told["inverted memory"] > 0.30
    assert told["as shipped"] - told["memory off"] > 0.15
    for how in BAD_PRIORS:
        assert plain["as shipped"] - plain[f"prior {how}"] <= 0.03
    assert rows["things come in"]["as shipped"] > 0.8
    assert rows["attention shifts"]["as shipped"] > 0.5
