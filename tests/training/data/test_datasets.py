# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Training clips: shapes, order, augmentation that fits all frames, and seeds that decide everything."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from m4sam_core.errors import ConfigError, InputError
from m4sam_core.rgbd.depth_values import from_metres, to_metres
from m4sam_training.data.datasets import VideoClipDataset
from m4sam_training.data.frames import Clip, clip_tensors, depth_tensor, rgb_tensor
from m4sam_training.data.generate import generate_dataset
from m4sam_training.data.layouts import LAYOUTS
from m4sam_training.data.transforms import ClipAugmentation
from m4sam_training.train.config import AugmentConfig


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    for layout in LAYOUTS:
        generate_dataset(root / layout, layout, videos=2, frames=6, height=72, width=96)
    return root


@pytest.mark.parametrize("layout", list(LAYOUTS))
def test_items(data, layout):
    dataset = VideoClipDataset(data / layout, layout, "train", clip_length=4, size_px=64)
    item = dataset[0]
    assert item["rgb"].shape == (4, 3, 64, 64)
    assert item["depth"].shape == item["mask"].shape == (4, 1, 64, 64)
    for name in ("rgb", "depth", "mask"):
        assert item[name].dtype == torch.float32
        assert item[name].min() >= 0
        assert item[name].max() <= 1
        assert item[name].max() > item[name].min()
    assert len(item["stems"]) == 4
    assert item["name"].startswith("train_1")


def test_every_annotated_frame_is_in_a_clip_and_clips_are_in_order(data):
    dataset = VideoClipDataset(data / "rdvs", "rdvs", "train", clip_length=4, size_px=32)
    stems = [dataset[index]["stems"] for index in range(len(dataset))]
    assert [[int(stem[-1]) for stem in clip] for clip in stems] == [[1, 2, 3, 4], [5, 6, 6, 6]] * 2
    assert {stem for clip in stems for stem in clip} == {f"train_{v}-{n:05d}" for v in (1, 2) for n in range(1, 7)}
    assert all(clip == sorted(clip) for clip in stems)
    short = VideoClipDataset(data / "dvisal", "dvisal", "train", clip_length=4, size_px=32)[0]["stems"]
    assert short == ["00000001", "00000003", "00000005", "00000005"]


def test_random_numbers_depend_on_seed_epoch_and_index_alone(data):
    def items(seed, epoch, workers):
        dataset = VideoClipDataset(
            data / "rdvs", "rdvs", "train", 2, 32, ClipAugmentation(AugmentConfig(corruption_probability=1)), seed=seed
        )
        dataset.set_epoch(epoch)
        loader = DataLoader(dataset, batch_size=None, num_workers=workers)
        return torch.stack([torch.cat([item["rgb"], item["depth"]], dim=1) for item in loader])

    reference = items(0, 3, workers=0)
    assert torch.equal(reference, items(0, 3, workers=2))
    assert not torch.equal(reference, items(0, 4, workers=0))
    assert not torch.equal(reference, items(1, 3, workers=0))


def test_persistent_workers_follow_the_epoch(data):
    dataset = VideoClipDataset(data / "rdvs", "rdvs", "train", 2, 32, ClipAugmentation(AugmentConfig()))
    loader = DataLoader(dataset, batch_size=None, num_workers=1, persistent_workers=True)
    first = torch.stack([item["rgb"] for item in loader])
    dataset.set_epoch(1)
    assert not torch.equal(first, torch.stack([item["rgb"] for item in loader]))


def square_clip(frames=3):
    """A bright square, near, salient: the three images of every frame show it at the same place."""
    mask = np.zeros((80, 120), np.uint8)
    mask[20:50, 30:70] = 255
    rgb = np.repeat(mask[..., None], 3, axis=2)
    depth = np.where(mask > 0, 1000, 3000).astype(np.uint16)
    return Clip((rgb,) * frames, (depth,) * frames, (mask,) * frames, 0.001)


def test_geometry_is_shared_by_images_and_frames():
    cfg = AugmentConfig(flip_probability=1, rotate_probability=1, crop_px=20, colour=False)
    clip = ClipAugmentation(cfg)(square_clip(), np.random.default_rng(5))
    first = clip.mask[0]
    assert not np.array_equal(first, square_clip().mask[0])
    for rgb, depth, mask in zip(clip.rgb, clip.depth, clip.mask, strict=True):
        np.testing.assert_array_equal(mask, first)
        assert set(np.unique(depth)) <= {0, 1000, 3000}  # no reading is made up by interpolation
        assert np.mean((depth == 1000) == (mask > 127)) > 0.999
        assert np.mean((rgb[..., 0] > 127) == (mask > 0)) > 0.97


def test_rotation_is_bicubic_as_in_the_release_and_leaves_metric_depth_its_values():
    cfg = AugmentConfig(flip_probability=0, rotate_probability=1, crop_px=0, colour=False)
    rng = np.random.default_rng(3)
    rgb, grey = rng.integers(0, 256, (48, 64, 3), np.uint8), rng.integers(0, 256, (48, 64), np.uint8)
    mask = np.zeros((48, 64), np.uint8)
    mask[14:34, 20:44] = 255
    metric = rng.integers(500, 4000, (48, 64), np.uint16)
    drawn = np.random.default_rng(7)
    drawn.random(3), drawn.integers(0, 1, size=2)  # depth faults twice, flip; crop
    drawn.random()
    angle = float(drawn.uniform(-15.0, 15.0))
    for depth in (grey, metric):
        turned = ClipAugmentation(cfg)(Clip((rgb,), (depth,), (mask,)), np.random.default_rng(7))
        pairs = [(rgb, turned.rgb[0]), (mask, turned.mask[0])]
        pairs += [(depth, turned.depth[0])] if depth.dtype == np.uint8 else []
        for before, after in pairs:
            assert np.array_equal(after, np.asarray(Image.fromarray(before).rotate(angle, Image.BICUBIC)))
        assert len(np.unique(turned.mask[0])) > 10, "masks become soft"
        if depth.dtype == np.uint16:
            assert np.isin(turned.depth[0], [0, *np.unique(metric)]).all()
            assert np.count_nonzero(turned.depth[0] != metric) > 1000


def test_colour_changes_rgb_alone():
    cfg = AugmentConfig(flip_probability=0, rotate_probability=0, crop_px=0, colour=True)
    before = square_clip()
    before = Clip(tuple(rgb // 2 + 40 for rgb in before.rgb), before.depth, before.mask, before.depth_unit_m)
    after = ClipAugmentation(cfg)(before, np.random.default_rng(0))
    assert not np.array_equal(after.rgb[0], before.rgb[0])
    np.testing.assert_array_equal(after.rgb[0], after.rgb[1])
    np.testing.assert_array_equal(after.depth[0], before.depth[0])
    np.testing.assert_array_equal(after.mask[0], before.mask[0])


def test_depth_dropout_blackens_the_whole_clip():
    clip = ClipAugmentation(AugmentConfig(depth_dropout_probability=1))(square_clip(), np.random.default_rng(0))
    assert not any(depth.any() for depth in clip.depth)
    with pytest.raises(ConfigError, match=r"augment\.corruptions: expected some of axial_noise"):
        ClipAugmentation(AugmentConfig(corruptions=("fog",)))


def test_resize_is_the_published_filter():
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 256, (75, 101, 3), np.uint8)
    ours = (rgb_tensor(rgb, 32) * 255).round().permute(1, 2, 0).numpy()
    pil = np.asarray(Image.fromarray(rgb).resize((32, 32), Image.Resampling.BILINEAR))
    assert np.abs(ours - pil).max() <= 1
    grey = rgb[..., 0]
    ours = (depth_tensor(grey, 32, None) * 255).round()[0].numpy()
    pil = np.asarray(Image.fromarray(grey).resize((32, 32), Image.Resampling.BILINEAR))
    assert np.abs(ours - pil).max() <= 1


def test_16_bit_depth_does_not_saturate():
    depth = np.linspace(300, 9000, 64 * 64).astype(np.uint16).reshape(64, 64)
    unit = depth_tensor(depth, 64, 0.001)[0]
    assert unit[0, 0] < 0.05
    assert unit[-1, -1] == 1
    assert 0.4 < unit[32, 0] < 0.6  # convert("L") would have made everything 255


def test_metres_round_trip():
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    np.testing.assert_array_equal(from_metres(to_metres(grey, None), grey, None), grey)
    counts = np.array([[0, 1, 999, 65534]], np.uint16)
    np.testing.assert_array_equal(from_metres(to_metres(counts, 0.001), counts, 0.001), counts)


@pytest.mark.parametrize("kind", ["real", "synthetic", "black", "copy_rgb"])
def test_depth_kinds(data, kind):
    item = VideoClipDataset(data / "rdvs", "rdvs", "train", 2, 32, depth_kind=kind)[0]
    if kind == "black":
        assert not item["depth"].any()
    elif kind == "copy_rgb":
        luma = (item["rgb"] * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1, keepdim=True)
        assert (luma - item["depth"]).abs().max() < 0.02
    else:
        assert item["depth"].std() > 0.05


def test_an_undecodable_file_costs_its_clip_not_the_run(tmp_path, caplog):
    generate_dataset(tmp_path / "D", "m4sam", videos=2, frames=2, height=72, width=96)
    path = next((tmp_path / "D" / "train" / "train_1" / "rgb").iterdir())
    data = bytearray(path.read_bytes())
    data[60:-60] = bytes(len(data) - 120)  # header and end stay whole
    path.write_bytes(data)
    dataset = VideoClipDataset(tmp_path / "D", "m4sam", "train", 2, 32)
    with caplog.at_level(logging.WARNING):
        assert dataset[0]["name"] == "train_2"
    assert str(path) in caplog.text
    for other in (tmp_path / "D" / "train" / "train_2" / "rgb").iterdir():
        other.write_bytes(data)
    with pytest.raises(InputError, match="expected decodable frames, got none"):
        dataset[0]


def test_clip_tensors_of_mixed_depth_types():
    depth = (np.full((40, 40), 100, np.uint8), np.linspace(0.5, 4, 1600, dtype=np.float32).reshape(40, 40))
    rgb, mask = (np.zeros((40, 40, 3), np.uint8),) * 2, (np.zeros((40, 40), np.uint8),) * 2
    _, tensors, _ = clip_tensors(Clip(rgb, depth, mask, None), 32)
    assert torch.allclose(tensors[0], torch.tensor(100 / 255))
    assert tensors[1, 0, 0, 0] < tensors[1, 0, -1, -1]


def test_an_empty_split_names_the_command_that_explains(tmp_path):
    (tmp_path / "train" / "v" / "rgb").mkdir(parents=True)
    with pytest.raises(ConfigError, match="m4sam dataset check"):
        VideoClipDataset(tmp_path, "m4sam", "train")
