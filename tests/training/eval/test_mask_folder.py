# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Maps of other methods: whatever they are stored as, they are scored as what they say, or told."""

from __future__ import annotations

import json
import shutil

import cv2
import numpy as np
import pytest
from PIL import Image

from m4sam_core.cli.main import main
from m4sam_core.errors import InputError
from m4sam_core.rgbd.image_files import write_png
from m4sam_core.rgbd.masks import read_mask
from m4sam_training.data.generate import generate_dataset
from m4sam_training.data.scan import scan_split
from m4sam_training.data.videos import grouped
from m4sam_training.eval.evaluate import evaluate
from m4sam_training.eval.mask_folder import FolderRemarks, read_mask_folder


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    root = tmp_path_factory.mktemp("maps")
    generate_dataset(root, "vidsod100", videos=1, frames=3, height=72, width=96)
    return scan_split(root, "vidsod100", "test")


def stored(scan, folder, write, name="{stem}.png"):
    """Predictions read back of files that `write(path, mask, index)` makes of the ground truth."""
    video = scan.videos[0]
    (folder / video.name).mkdir(parents=True)
    for index, frame in enumerate(video.annotated):
        write(
            folder / video.name / name.format(stem=frame.stem, number=int(frame.stem), index=index),
            read_mask(frame.mask),
            index,
        )
    dropped, remarks = [], FolderRemarks()
    predictions = list(read_mask_folder(folder, scan, dropped, remarks))
    assert remarks.resized == sum("of another size" in item.reason for item in remarks.noted)
    return predictions, grouped(dropped), grouped(remarks.noted)


def write(path, pixels):
    cv2.imwrite(str(path), pixels)


def with_palette(path, mask, _):
    image = Image.fromarray((mask > 0).astype(np.uint8)).convert("P")
    image.putpalette([0, 0, 0, 128, 0, 0])
    image.save(path)


PERFECT = {
    "0 and 255": lambda path, mask, _: write(path, mask),
    "0 and 1": lambda path, mask, _: write(path, mask // 255),
    "16 bit": lambda path, mask, _: write(path, mask.astype(np.uint16) * 257),
    "16 bit, 0 to 255": lambda path, mask, _: write(path, mask.astype(np.uint16)),
    "one bit": lambda path, mask, _: Image.fromarray(mask > 0).save(path),
    "palette": with_palette,
    "white with alpha": lambda path, mask, _: Image.fromarray(np.dstack([mask * 0 + 255] * 3 + [mask])).save(path),
    "opaque": lambda path, mask, _: Image.fromarray(np.dstack([mask] * 3 + [mask * 0 + 255])).save(path),
}


@pytest.mark.parametrize("kind", PERFECT)
def test_a_perfect_map_is_perfect_however_it_is_stored(scan, tmp_path, kind):
    predictions, dropped, _ = stored(scan, tmp_path / "m", PERFECT[kind])
    assert dropped == []
    for item in predictions:
        np.testing.assert_array_equal(item.stored, item.ground_truth)


@pytest.mark.parametrize("name", ["{stem}.PNG", "{number}.png", "{stem}_sal.png", "sal-{number:03d}.png"])
def test_names_are_matched_by_their_number(scan, tmp_path, name):
    predictions, dropped, _ = stored(scan, tmp_path / "m", PERFECT["0 and 255"], name)
    assert len(predictions) == 3
    assert dropped == []


def test_names_that_may_be_one_off_are_not_matched(scan, tmp_path):
    predictions, dropped, _ = stored(scan, tmp_path / "m", PERFECT["0 and 255"], "{index}.png")
    assert predictions == []
    assert "left out (3)" in dropped[0]


def test_float_maps(scan, tmp_path):
    soft = lambda path, mask, _: write(path, np.where(mask > 0, 0.5, 0).astype(np.float32))  # noqa: E731
    predictions, _, _ = stored(scan, tmp_path / "m", soft, "{stem}.tiff")
    assert set(np.unique(predictions[0].stored)) == {0, 128}


@pytest.mark.parametrize(("kind", "full", "faint"), [(np.uint8, 255, 1), (np.uint16, 65535, 250)])
def test_a_faint_map_stays_faint_beside_others(scan, tmp_path, kind, full, faint):
    """Of a frame in which a method found next to nothing: its own largest value does not stand for certain."""
    save = lambda path, mask, index: write(path, (mask > 0).astype(kind) * kind(full if index else faint))  # noqa: E731
    predictions, _, noted = stored(scan, tmp_path / "m", save)
    assert [int(item.stored.max()) for item in predictions] == [1, 255, 255]
    assert noted == []


def test_class_ids_are_told(scan, tmp_path):
    save = lambda path, mask, index: write(path, (mask > 0).astype(np.uint8) * np.uint8(1 + index))  # noqa: E731
    predictions, _, noted = stored(scan, tmp_path / "m", save)
    assert len(predictions) == 3
    assert "no predicted mask goes beyond 3 of 255" in noted[0]


def test_pictures_that_are_no_maps_are_left_out(scan, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (72, 96, 3), np.uint8)
    predictions, dropped, _ = stored(scan, tmp_path / "m", lambda path, *_: write(path, noise))
    assert predictions == []
    assert dropped[0].startswith("left out (3)")
    assert "expected a mask of one colour on black" in dropped[0]


def test_maps_of_another_size_are_resized_with_a_note_and_broken_ones_reported(scan, tmp_path):
    half = np.zeros((36, 48), np.uint8)
    half[:, 20:] = 200
    empty = np.zeros((72, 96), np.uint8)
    save = lambda path, _, index: path.write_bytes(b"no") if index == 2 else write_png(path, (half, empty)[index])  # noqa: E731
    predictions, dropped, noted = stored(scan, tmp_path / "m", save)
    wanted = cv2.resize(half, (96, 72), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_array_equal(predictions[0].stored, wanted)
    assert len(noted) == len(dropped) == 1
    assert noted[0].endswith("predicted mask of another size, resized to the ground truth's: 48x36 to 96x72")
    assert "cannot be read" in dropped[0]
    with pytest.raises(InputError, match="at least one frame to score, got none"):
        evaluate([], "m4sam", [])


def test_missing_maps_are_counted_where_the_scores_are(scan, tmp_path, capsys):
    video = scan.videos[0]
    (tmp_path / "m" / video.name).mkdir(parents=True)
    shutil.copy(video.annotated[0].mask, tmp_path / "m" / video.name)
    words = ["eval", "--dataset", "vidsod100", "--data", str(scan.root), "--masks", str(tmp_path / "m")]
    assert main([*words, "--json", str(tmp_path / "s.json")]) == 0
    assert "left out (2): " in (told := capsys.readouterr().out)
    assert "predicted mask is missing" in told
    assert "dataset check" not in told
    assert json.loads((tmp_path / "s.json").read_text())["frames"] == 1


def test_maps_are_never_written_over(scan, tmp_path, capsys):
    (tmp_path / "masks").mkdir()
    words = ["eval", "--dataset", "vidsod100", "--data", str(scan.root), "--masks", str(tmp_path / "masks")]
    assert main([*words, "--out", str(tmp_path), "--save-masks"]) == 2
    assert "they would be written over" in capsys.readouterr().err


@pytest.mark.parametrize("nested", [False, True])
def test_maps_of_single_pictures_lie_in_one_folder_or_in_one_each(tmp_path, nested):
    generate_dataset(tmp_path / "D", "pictures", videos=1, frames=3, height=72, width=96)
    scan = scan_split(tmp_path / "D", "pictures", "test")
    for video in scan.videos:
        target = tmp_path / "m" / (video.name if nested else ".")
        target.mkdir(parents=True, exist_ok=True)
        shutil.copy(video.annotated[0].mask, target / f"{video.annotated[0].stem}.png")
    dropped = []
    assert len(list(read_mask_folder(tmp_path / "m", scan, dropped))) == len(scan.videos) > 1
    assert dropped == []


def test_masks_of_no_frame_are_counted(scan, tmp_path):
    """Names that count from one are each one frame off, and the last is left over."""
    _, dropped, _ = stored(scan, tmp_path / "m", lambda path, mask, _: write(next_to(path), mask))
    assert len(dropped) == 2
    assert "left out (1)" in dropped[0]
    assert "predicted mask of no frame, do its names count as those of the ground truth?" in dropped[0]
    assert "predicted mask is missing" in dropped[1]


def next_to(path):
    return path.with_name(f"{int(path.stem) + 1:0{len(path.stem)}d}.png")


def test_arrays_are_told_to_be_no_pictures(scan, tmp_path):
    _, dropped, _ = stored(scan, tmp_path / "m", lambda path, mask, _: np.save(path.with_suffix(".npy"), mask))
    assert "predicted masks that are no pictures: 3 .npy" in dropped[0]


@pytest.mark.parametrize(("low", "refused"), [(-6.0, 3), (-0.1, 0)])
def test_logits_are_refused_and_what_smooth_resizing_leaves_is_not(scan, tmp_path, low, refused):
    def logits(path, mask, _):
        write(path, np.where(mask > 0, 1.0, low).astype(np.float32))

    predictions, dropped, _ = stored(scan, tmp_path / "m", logits, name="{stem}.tiff")
    assert len(predictions) == 3 - refused
    assert [line for line in dropped if "are these logits? save their sigmoid" in line] == dropped
