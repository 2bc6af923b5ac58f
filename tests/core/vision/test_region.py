# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""A region of interest, and the pixels of the robot's own body (docs/node.md)."""

from __future__ import annotations

import numpy as np
import pytest

from m4sam_core.build import build_model
from m4sam_core.config import ModelConfig, PipelineConfig, RoiConfig
from m4sam_core.errors import InputError
from m4sam_core.pipeline import SaliencyPipeline
from m4sam_core.rgbd.image_files import write_png
from m4sam_core.vision.region import region_of

HEIGHT, WIDTH = 120, 160


def picture(seed=0):
    rng = np.random.default_rng(seed)
    rgb = rng.integers(60, 120, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    depth = rng.integers(1500, 2500, (HEIGHT, WIDTH), dtype=np.uint16)
    return rgb, depth


def gripper():
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[80:, 40:70] = 255
    return mask


def test_everything_counts_unless_told_otherwise():
    rgb, depth = picture()
    region = region_of(HEIGHT, WIDTH, RoiConfig())
    assert region.is_whole
    assert region.take_rgb(rgb) is rgb
    assert region.take_depth(depth) is depth
    assert region.left_out is None


def test_the_rectangle_is_cut_out_and_put_back():
    rgb, depth = picture()
    region = region_of(HEIGHT, WIDTH, RoiConfig(x=20, y=10, width=100, height=60))
    assert region.shape == (60, 100)
    np.testing.assert_array_equal(region.take_rgb(rgb), rgb[10:70, 20:120])
    np.testing.assert_array_equal(region.take_depth(depth), depth[10:70, 20:120])
    whole = region.restore(np.ones((60, 100), np.uint8))
    assert whole.sum() == 60 * 100
    assert whole[10:70, 20:120].all()


@pytest.mark.parametrize("roi", [{"x": 100, "y": 50}, {"x": 100, "y": 50, "width": 9000, "height": 9000}])
def test_a_rectangle_ends_at_the_border(roi):
    assert region_of(HEIGHT, WIDTH, RoiConfig(**roi)).shape == (70, 60)


@pytest.mark.parametrize("roi", [{"x": 156}, {"y": 400}, {"width": 7}])
def test_a_rectangle_with_too_little_inside_is_refused(roi):
    with pytest.raises(InputError, match="roi: expected"):
        region_of(HEIGHT, WIDTH, RoiConfig(**roi))


def test_ignored_pixels_take_the_colour_around_them_and_lose_their_reading():
    rgb, depth = picture()
    body = gripper() > 0
    rgb[body], depth[body] = (255, 0, 0), 200
    region = region_of(HEIGHT, WIDTH, RoiConfig(), [gripper()])
    filled = region.take_rgb(rgb)
    np.testing.assert_array_equal(filled[~body], rgb[~body])
    assert filled[body].min() > 70
    assert filled[body].max() < 110
    seen = region.take_depth(depth)
    assert not seen[body].any()
    np.testing.assert_array_equal(seen[~body], depth[~body])
    assert depth[body].all(), "the caller's map is left alone"


def test_depth_of_another_resolution_is_cut_alike():
    _, depth = picture()
    region = region_of(2 * HEIGHT, 2 * WIDTH, RoiConfig(x=40, y=20, width=200, height=120), [gripper()])
    np.testing.assert_array_equal(region.take_depth(depth) == 0, gripper()[10:70, 20:120] > 0)


def test_masks_add_up_and_are_scaled_but_not_bent():
    small = gripper()[::2, ::2]
    other = np.zeros((HEIGHT, WIDTH), bool)
    other[:20] = True
    region = region_of(HEIGHT, WIDTH, RoiConfig(), [small, None, other])
    np.testing.assert_array_equal(region.ignored, (gripper() > 0) | other)
    with pytest.raises(InputError, match="ignore_mask: expected the shape"):
        region_of(HEIGHT, WIDTH, RoiConfig(), [gripper()[:, :100]])
    with pytest.raises(InputError, match="ignores all"):
        region_of(HEIGHT, WIDTH, RoiConfig(), [np.ones((HEIGHT, WIDTH), np.uint8)])


@pytest.fixture(scope="module")
def model():
    return build_model(ModelConfig.preset("edge"))


def test_what_is_ignored_changes_nothing_at_all(model, tmp_path):
    """Two streams that differ only in ignored pixels and outside the rectangle give the same masks."""
    file = tmp_path / "body.png"
    write_png(file, gripper())
    cfg = PipelineConfig(device="cpu", ignore_mask=str(file), roi=RoiConfig(x=16, width=130))
    outside = np.ones((HEIGHT, WIDTH), bool)
    outside[:, 16:146] = gripper()[:, 16:146] > 0
    shown = []
    for disturbed in (False, True):
        pipeline = SaliencyPipeline(model, cfg)
        for index in range(3):
            rgb, depth = picture(index)
            if disturbed:
                rgb[outside], depth[outside] = (255, 255, 0), 300
            result = pipeline.process(rgb, depth, index / 10)
        shown.append(result.probability)
    np.testing.assert_array_equal(shown[0], shown[1])
    assert shown[0].shape == (HEIGHT, WIDTH)
    assert not shown[0][outside].any()
    assert shown[0][~outside].all()


def test_settings_change_live_and_a_bad_file_changes_nothing(model, tmp_path):
    pipeline = SaliencyPipeline(model, PipelineConfig(device="cpu"))
    rgb, depth = picture()
    assert pipeline.process(rgb, depth, 0.0).region.is_whole
    pipeline.configure(PipelineConfig(device="cpu", roi=RoiConfig(y=40)))
    moved = pipeline.process(rgb, depth, 0.1)
    assert moved.region.shape == (80, WIDTH)
    assert moved.reset_reason, "another view is another scene"
    with pytest.raises(InputError, match=r"none\.png"):
        pipeline.configure(PipelineConfig(device="cpu", ignore_mask=str(tmp_path / "none.png")))
    assert pipeline.process(rgb, depth, 0.2).region.shape == (80, WIDTH)


def test_a_moving_arm_is_no_new_scene(model):
    pipeline = SaliencyPipeline(model, PipelineConfig(device="cpu"))
    for index in range(4):
        rgb, depth = picture()
        result = pipeline.process(rgb, depth, index / 10, ignored=np.roll(gripper(), 5 * index, axis=1))
        assert result.scene_id == 0
    assert result.region.left_out.any()
