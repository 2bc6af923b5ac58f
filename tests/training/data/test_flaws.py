# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Datasets as people have them: what is misread easily is understood, told, or refused, in check, training and eval."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from m4sam_core.cli.main import main
from m4sam_core.errors import ConfigError
from m4sam_core.rgbd.depth_files import read_depth
from m4sam_core.rgbd.depth_values import to_metres
from m4sam_core.rgbd.masks import MaskRule
from m4sam_training.data.check import check_dataset
from m4sam_training.data.datasets import VideoClipDataset
from m4sam_training.data.frames import read_clip
from m4sam_training.data.generate import generate_dataset
from m4sam_training.data.scan import scan_split
from m4sam_training.data.videos import Irregularity, grouped

SIZE = (48, 64)
FRAMES = 6


def scene(index):
    """rgb, 16-bit depth and mask of a box that moves; pixel (0, 0) of rgb carries the number of the frame."""
    rgb = np.tile(np.linspace(60, 200, SIZE[1]).astype(np.uint8), (SIZE[0], 1))[..., None].repeat(3, axis=2)
    depth = np.tile(np.linspace(2000, 3000, SIZE[0]).astype(np.uint16)[:, None], (1, SIZE[1]))
    mask = np.zeros(SIZE, np.uint8)
    mask[12:36, 8 + index : 32 + index] = 255
    rgb[mask > 0], depth[mask > 0] = (220, 40, 30), 1000
    rgb[0, 0] = index
    return rgb, depth, mask


def dataset(root, *, stem="{:05d}", rgb="png", exif=None, depth=None, mask=None, frames=FRAMES):
    """A ViDSOD-like dataset of one video in train and test; depth and mask make the file's pixels."""
    for split in ("train", "test"):
        video = root / "VidSOD" / split / "v1"
        for folder in ("rgb", "depth", "gt"):
            (video / folder).mkdir(parents=True)
        for index in range(frames):
            name = stem.format(index)
            colour, distance, salient = scene(index)
            more = {"exif": exif} if exif else {}
            Image.fromarray(colour).save(video / f"rgb/{name}.{rgb}", quality=95, **more)
            cv2.imwrite(
                str(video / f"depth/{name}.png"), depth(distance) if depth else (distance // 16).astype(np.uint8)
            )
            pixels = mask(salient, index) if mask else salient
            image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
            image.save(video / f"gt/{name}.png")
    return root


def reasons(root, **options):
    return {(item.reason.split(":")[0], item.used) for item in check_dataset(root, "vidsod100", **options)[0].irregular}


@pytest.mark.parametrize("stem", ["{}", "f{}", "{:02d}", "98{:011d}"])
def test_frames_are_in_the_order_of_their_numbers(tmp_path, stem):
    root = dataset(tmp_path, stem=stem, frames=12)
    video = scan_split(root, "vidsod100", "train").videos[0]
    clip = read_clip(video, video.frames, "real")
    assert [int(rgb[0, 0, 0]) for rgb in clip.rgb] == list(range(12))


def zero_one(mask, _):
    return (mask > 0).astype(np.uint8)


def palette(mask, _):
    image = Image.fromarray((mask > 0).astype(np.uint8), "P")
    image.putpalette([0, 0, 0, 128, 0, 0])
    return image


def alpha(mask, _):
    return Image.fromarray(np.dstack([np.full((*mask.shape, 3), 255, np.uint8), mask]))


def deep(mask, _):
    return (mask > 0).astype(np.uint16)


@pytest.mark.parametrize("made", [zero_one, palette, alpha, deep])
def test_masks_that_are_not_bright_are_the_ground_truth_they_mean(tmp_path, made, capsys):
    root = dataset(tmp_path / "D", mask=made)
    (tmp_path / "pred/v1").mkdir(parents=True)
    for index in range(FRAMES):
        cv2.imwrite(str(tmp_path / f"pred/v1/{index:05d}.png"), scene(index)[2])
    words = ["eval", "--dataset", "vidsod100", "--data", str(root), "--masks", str(tmp_path / "pred")]
    assert main([*words, "--json", str(tmp_path / "s.json")]) == 0
    assert json.loads((tmp_path / "s.json").read_text())["MAE"] == 0
    assert "mask" in capsys.readouterr().err
    assert any("mask" in reason and used for reason, used in reasons(root))


def classes(mask, index):
    """Class 1 in one frame, 2 in the next: each alone looks like a mask of 0 and one value."""
    return np.where(mask > 0, 1 + index % 2, 0).astype(np.uint8)


def test_class_ids_are_refused_until_the_user_says_which(tmp_path, capsys):
    root = dataset(tmp_path, mask=classes)
    assert ("masks cannot be understood", False) in reasons(root)
    with pytest.raises(ConfigError, match="got none among"):
        VideoClipDataset(root, "vidsod100", "train", 2, 32)
    video = scan_split(root, "vidsod100", "train", masks=MaskRule.parse("2")).videos[0]
    shares = [mask.mean() for mask in read_clip(video, video.frames, "real").mask]
    assert [share > 0 for share in shares] == [False, True] * (FRAMES // 2)
    assert main(["dataset", "check", "--layout", "vidsod100", str(root), "--mask-values", "1-2", "--strict"]) == 0
    assert "cannot be understood" not in capsys.readouterr().out
    assert main(["dataset", "check", "--layout", "vidsod100", str(root), "--strict"]) == 1


def rare_class(mask, index):
    """A second class in one frame, which the reader does not look into."""
    return np.where(mask > 0, 2 if index == 2 else 1, 0).astype(np.uint8)


def test_a_rare_class_is_found_by_the_check(tmp_path, capsys):
    root = dataset(tmp_path, mask=rare_class, frames=12)
    assert main(["dataset", "check", "--layout", "vidsod100", str(root)]) == 0
    assert "masks of several class ids, each is taken for salient, say which with" in capsys.readouterr().out


def test_inverted_and_empty_masks_are_suspected(tmp_path):
    inverted = dataset(tmp_path / "a", mask=lambda mask, _: 255 - mask)
    assert ("masks may be inverted, what is salient surrounds the rest, see --mask-values 0", True) in reasons(inverted)
    told = reasons(inverted, masks=MaskRule.parse("0"))
    assert not any("inverted" in reason for reason, _ in told)
    empty = dataset(tmp_path / "b", mask=lambda mask, _: mask * 0)
    assert ("masks may be empty, nothing is salient in any looked at", True) in reasons(empty)


def test_depth_in_colours_is_said_and_can_be_named(tmp_path, caplog):
    root = dataset(tmp_path, depth=lambda z: cv2.applyColorMap((z // 16).astype(np.uint8), cv2.COLORMAP_JET))
    flaw = "depth is a colour picture, its luminance is used, see --depth-coding"
    assert (flaw, True) in reasons(root)
    assert not any("colour" in reason for reason, _ in reasons(root, coding="jet"))
    with caplog.at_level(logging.WARNING):
        VideoClipDataset(root, "vidsod100", "train", 2, 32)
    assert flaw in caplog.text


@pytest.mark.parametrize(
    "disparity", [lambda z: (255 - z // 16).astype(np.uint8), lambda z: (9e6 / z).astype(np.uint16)]
)
def test_near_is_bright_is_suspected(tmp_path, disparity):
    inverted = dataset(tmp_path / "a", depth=disparity)
    suspicion = ("depth may be bright where it is near, see --depth-coding near_bright", True)
    assert suspicion in reasons(inverted)
    assert suspicion not in reasons(inverted, coding="near_bright")
    assert suspicion not in reasons(dataset(tmp_path / "b"))
    assert suspicion not in reasons(dataset(tmp_path / "c", depth=lambda z: z))


def test_float_depth_in_millimetres_is_said(tmp_path):
    root = dataset(tmp_path)
    for path in (tmp_path / "VidSOD/train/v1/depth").iterdir():
        path.unlink()
        cv2.imwrite(str(path.with_suffix(".tiff")), scene(0)[1].astype(np.float32))
    assert ("float depth is not in metres", True) in reasons(root)


@pytest.mark.parametrize("kind", ["int32", "int16", "float64"])
def test_depth_in_wide_numbers_of_a_tiff_file_is_read(tmp_path, kind):
    root = dataset(tmp_path)
    wanted = scene(0)[1]
    for path in (tmp_path / "VidSOD/train/v1/depth").iterdir():
        path.unlink()
        values = wanted / 1000 if kind == "float64" else wanted
        cv2.imwrite(str(path.with_suffix(".tiff")), values.astype(kind))
    assert not reasons(root)
    read = read_depth(path.with_suffix(".tiff"))
    assert read.dtype == (np.float32 if kind == "float64" else np.uint16)
    np.testing.assert_allclose(to_metres(read), wanted / 1000, atol=1e-6)


def test_files_that_cannot_be_read_for_different_reasons_are_told_apart():
    items = [
        Irregularity(Path("D/a.png"), "rgb cannot be read: expected a whole PNG file, got a truncated one"),
        Irregularity(Path("D/b.png"), "rgb cannot be read: expected at most 64000000 px, got 9000x9000"),
        Irregularity(Path("D/c.png"), "rgb cannot be read: expected at most 64000000 px, got 9000x8000"),
        Irregularity(Path("D/1.png"), "cannot be decoded: D/1.png: expected an image, got none; replace it"),
        Irregularity(Path("D/2.png"), "cannot be decoded: D/2.png: expected an image, got none; replace it"),
        Irregularity(Path("D/f.png"), "mask of another size than rgb: 10x10, rgb 20x20"),
        Irregularity(Path("D/g.png"), "mask of another size than rgb: 30x10, rgb 20x20"),
    ]
    assert [line.split(":")[0] for line in grouped(items)] == [f"left out ({n})" for n in (1, 2, 2, 2)]


@pytest.mark.parametrize("index", [0, 1])
def test_depth_of_several_kinds_in_a_video_is_said_once(tmp_path, index):
    root = dataset(tmp_path)
    path = tmp_path / f"VidSOD/train/v1/depth/{index:05d}.png"
    path.unlink()
    np.save(path.with_suffix(".npy"), scene(0)[1] / 1000)
    told = [item.reason for item in check_dataset(root, "vidsod100")[0].irregular]
    assert told == ["depth of several kinds in one video, each read in its own way: float32, uint8"]


@pytest.mark.parametrize("unit_m", [1.0, 1e-6])
def test_a_depth_unit_that_cannot_be_is_said(tmp_path, unit_m):
    generate_dataset(tmp_path, "m4sam", videos=1, frames=3, height=72, width=96)
    place = tmp_path / "train" / "train_1" / "video.yaml"
    assert not scan_split(tmp_path, "m4sam", "train").irregular
    place.write_text(f"fps: 15\ndepth_unit_m: {unit_m:f}\n")
    told = scan_split(tmp_path, "m4sam", "train").flaws()
    assert len(told) == 1
    assert f"depth is hardly in its unit of {unit_m:g} m, see depth_unit_m: median" in told[0]


def test_an_exif_orientation_is_said_and_turns_nothing(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    root = dataset(tmp_path, rgb="jpg", exif=exif)
    assert ("rgb has an EXIF orientation, which is not applied", True) in reasons(root)
    video = scan_split(root, "vidsod100", "train").videos[0]
    clip = read_clip(video, video.frames, "real")
    assert {array.shape[:2] for array in (*clip.rgb, *clip.depth, *clip.mask)} == {SIZE}


def test_arrays_are_depth_files_in_datasets_too(tmp_path):
    root = dataset(tmp_path)
    for index, path in enumerate(sorted((tmp_path / "VidSOD/train/v1/depth").iterdir())):
        path.unlink()
        np.save(path.with_suffix(".npy"), scene(index)[1].astype(np.float32) / 1000)
    video = scan_split(root, "vidsod100", "train").videos[0]
    assert len(video.frames) == FRAMES
    assert read_clip(video, video.frames[:1], "real").depth[0].min() == 1.0


def test_padding_that_differs_between_folders_is_matched(tmp_path):
    root = dataset(tmp_path, stem="{}", frames=12)
    for path in list((tmp_path / "VidSOD/train/v1/depth").iterdir()):
        path.rename(path.with_stem(f"{int(path.stem):04d}"))
    video = scan_split(root, "vidsod100", "train").videos[0]
    assert len(video.frames) == 12
    assert all(int(frame.depth.stem) == int(frame.rgb.stem) for frame in video.frames)


@pytest.mark.parametrize("name", ["[/b]", "a[red]"])
def test_what_a_path_is_called_is_not_markup(tmp_path, name, capsys):
    root = dataset(tmp_path / name)
    assert main(["dataset", "check", "--layout", "vidsod100", str(root)]) == 0
    (root / "VidSOD/train/v1").rename(root / f"VidSOD/train/{name.replace('/', '')}")
    assert main(["dataset", "info", str(root), "--layout", "vidsod100"]) == 0
    assert name.replace("/", "") in capsys.readouterr().out
