# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""What is good enough to remember."""

from __future__ import annotations

import pytest
import torch

from m4sam_core.config import WriteGateConfig
from m4sam_core.stream.write_gate import ImageQuality, MaskQuality, WriteGate, measure_masks

GOOD = MaskQuality(agreement=0.9, confidence=0.9, area=0.1)


def prob(area, value=1.0, background=0.0, side=64):
    """(1, 1, side, side): the first `area` share of the columns at `value`."""
    mask = torch.full((1, 1, side, side), background)
    mask[..., : round(area * side)] = value
    return mask


def judge(masks=GOOD, image=None, cfg=None):
    return WriteGate(cfg or WriteGateConfig()).judge(masks, image or ImageQuality(), 0.0)


def test_measures_of_two_equal_masks():
    quality = measure_masks(prob(0.25), prob(0.25))
    assert quality == MaskQuality(agreement=1.0, confidence=1.0, area=0.25)


def test_agreement_is_the_iou():
    assert measure_masks(prob(0.5), prob(0.25)).agreement == pytest.approx(0.5)
    assert measure_masks(prob(0.5), prob(0.0)).agreement == 0.0
    assert measure_masks(prob(0.0), prob(0.5)).agreement == 0.0
    assert measure_masks(prob(0.25), prob(0.5)).agreement == 1.0, "one of two things that the picture shows"


def test_confidence_is_low_where_the_mask_hesitates():
    assert measure_masks(prob(0.5, value=0.55), prob(0.5)).confidence == pytest.approx(0.1, abs=1e-5)
    assert measure_masks(prob(0.5, value=0.95), prob(0.5)).confidence == pytest.approx(0.9, abs=1e-5)
    certain_background = measure_masks(prob(0.5, value=0.95, background=0.05), prob(0.5))
    assert certain_background.confidence == pytest.approx(0.9, abs=1e-5), "the background has no vote"


def test_nothing_salient_is_a_valid_state():
    quality = measure_masks(prob(0.0), prob(0.0))
    assert quality == MaskQuality(agreement=1.0, confidence=1.0, area=0.0)
    assert judge(quality) is None


def test_half_precision_is_fine():
    assert measure_masks(prob(0.25).half(), prob(0.25).half()).area == 0.25


@pytest.mark.parametrize(
    ("masks", "image", "reason"),
    [
        (GOOD, ImageQuality(), None),
        (MaskQuality(0.1, 0.9, 0.1), ImageQuality(), "coarse and final mask disagree"),
        (MaskQuality(0.9, 0.3, 0.1), ImageQuality(), "unsure mask"),
        (GOOD, ImageQuality(relative_sharpness=0.1), "blur"),
        (GOOD, ImageQuality(exposure=0.1), "exposure"),
        (GOOD, ImageQuality(suspect=True), "does not fit the scene"),
    ],
)
def test_reasons(masks, image, reason):
    assert judge(masks, image) == reason
    assert judge(masks, image, WriteGateConfig(enabled=False)) is None


def test_area_jump_lasts_one_frame():
    gate = WriteGate(WriteGateConfig())
    areas = [0.1, 0.11, 0.6, 0.6, 0.05, 0.05]
    reasons = [gate.judge(MaskQuality(0.9, 0.9, area), ImageQuality(), index / 15) for index, area in enumerate(areas)]
    assert reasons == [None, None, "area jump", None, "area jump", None]


def test_an_object_entering_or_leaving_is_remembered_from_the_second_frame():
    gate = WriteGate(WriteGateConfig())
    areas = [0.0, 0.0005, 0.0, 0.3, 0.3, 0.0, 0.0]
    reasons = [gate.judge(MaskQuality(0.9, 0.9, area), ImageQuality(), index / 15) for index, area in enumerate(areas)]
    assert reasons == [None, None, None, "area jump", None, "area jump", None]


def test_doubts_about_the_mask_are_overruled_after_a_while():
    gate = WriteGate(WriteGateConfig(patience_s=1.0))
    unsure = MaskQuality(0.1, 0.9, 0.1)
    stamps = [index / 10 for index in range(15)]
    allowed = [stamp for stamp in stamps if gate.judge(unsure, ImageQuality(), stamp) is None]
    assert allowed == [stamp for stamp in stamps if stamp >= 1.0]
    assert gate.judge(GOOD, ImageQuality(), 1.5) is None
    assert gate.judge(unsure, ImageQuality(), 1.6) is not None, "a good frame in between ends the patience"


def test_doubts_about_the_picture_are_never_overruled():
    gate = WriteGate(WriteGateConfig(patience_s=0.5))
    dark = ImageQuality(exposure=0.0)
    assert all(gate.judge(GOOD, dark, index / 10) == "exposure" for index in range(100))


def test_clear_forgets_area_and_doubt():
    gate = WriteGate(WriteGateConfig())
    gate.judge(GOOD, ImageQuality(), 0.0)
    gate.clear()
    assert gate.judge(MaskQuality(0.9, 0.9, 0.9), ImageQuality(), 0.1) is None
