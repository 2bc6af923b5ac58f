# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Masks that were recorded or drawn, and whether they reach the dataset as what they are, or are missed aloud."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from m4sam_core.errors import InputError
from m4sam_training.bags.convert import ConvertConfig, convert_bag
from tests.core.rgbd.bags.recordings import (
    COMPRESSED,
    DEPTH,
    IMAGE,
    RGB,
    ROS2,
    STEP_NS,
    T0,
    cdr_image,
    compressed,
    humble_db3,
    image,
)

SHAPE = (12, 16)  # of `pixels`
FRAMES = 4


def box(value, dtype=np.uint8):
    mask = np.zeros(SHAPE, dtype)
    mask[3:9, 4:12] = value
    return mask


def raw(index, array, encoding, late_ns=0):
    message = image(T0 + index * STEP_NS + late_ns, array, encoding)
    return IMAGE, bytes(ROS2.serialize_cdr(message, IMAGE))


def png(index, array):
    return COMPRESSED, compressed(index, cv2.imencode(".png", array)[1].tobytes(), "mono16; png compressed ")


def recording(folder, masks):
    """A bag; `masks` maps a topic to a function of the frame's index that makes (type, message)."""
    rows = []
    for index in range(FRAMES):
        log_ns = T0 + index * STEP_NS
        rows += [(RGB, IMAGE, log_ns, cdr_image(index, "rgb8")), (DEPTH, IMAGE, log_ns + 1, cdr_image(index, "16UC1"))]
        for place, (topic, make) in enumerate(masks.items()):
            msgtype, message = make(index)
            rows.append((topic, msgtype, log_ns + 2 + place, message))
    folder.mkdir()
    return humble_db3(folder / "run.db3", rows)


def converted(tmp_path, masks, **settings):
    cfg = ConvertConfig(split="train", cut="none", **settings)
    report = convert_bag(recording(tmp_path / "b", masks), "b", tmp_path / "D", cfg)
    files = sorted((tmp_path / "D/train/b_001/mask").glob("*.png"))
    return report, [cv2.imread(str(path), -1) for path in files]


def white(alpha, order):
    return np.dstack([np.full(SHAPE, 255, alpha.dtype)] * 3 + [alpha]), order


KINDS = {
    "white with alpha": lambda i: raw(i, *white(box(255), "rgba8")),
    "white with alpha, bgra": lambda i: raw(i, *white(box(255), "bgra8")),
    "blue with opaque alpha": lambda i: raw(i, np.dstack([box(200), box(0), box(0), box(0) + 255]), "bgra8"),
    "png of 16 bit ids": lambda i: png(i, box(1, np.uint16)),
    "png with alpha": lambda i: png(i, white(box(255), "")[0]),
    "png of 0 and 255": lambda i: png(i, box(255)),
    "float, 0 and 255": lambda i: raw(i, box(255, np.float32), "32FC1"),
    "float ids": lambda i: raw(i, box(7, np.float32), "32FC1"),
    "probabilities": lambda i: raw(i, box(0.8, np.float32), "32FC1"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_masks_of_every_kind(tmp_path, kind):
    topic = "/seg/mask/compressed" if kind.startswith("png") else "/seg/mask"
    report, masks = converted(tmp_path, {topic: KINDS[kind]})
    assert report.drops == {}
    assert report.topics["mask"] == topic
    assert len(masks) == FRAMES
    for mask in masks:
        np.testing.assert_array_equal(mask, box(255))


def test_class_ids_that_are_floats_are_refused_until_the_user_says_which(tmp_path):
    topics = {"/seg/mask": lambda i: raw(i, box(1 + i % 2, np.float32), "32FC1")}
    report, masks = converted(tmp_path, topics)
    assert masks == []
    assert any("several class ids (1, 2)" in reason for reason in report.drops)


def test_a_faint_float_mask_stays_faint_beside_others(tmp_path):
    topics = {"/seg/mask": lambda i: raw(i, box(254 if i else 1, np.float32) + np.float32(i > 1) / 2, "32FC1")}
    _, masks = converted(tmp_path, topics, mask_values="bright")
    assert [bool(mask.any()) for mask in masks] == [False, True, True, True]


def test_float_masks_that_mean_nothing_are_left_out(tmp_path):
    report, masks = converted(tmp_path, {"/seg/mask": lambda i: raw(i, box(300.5, np.float32), "32FC1")})
    assert masks == []
    assert report.drops["mask cannot be understood"]["count"] == FRAMES


def test_masks_with_stamps_of_their_own_are_counted(tmp_path):
    report, masks = converted(tmp_path, {"/seg/mask": lambda i: raw(i, box(255), "mono8", late_ns=5_000_000)})
    assert masks == []
    assert report.drops["mask without a pair of its stamp"]["count"] == FRAMES


def test_a_second_mask_of_a_stamp_is_counted(tmp_path):
    report, masks = converted(tmp_path, {"/seg/mask": lambda i: raw(i - i % 2, box(255), "mono8", late_ns=0)})
    assert len(masks) == FRAMES / 2
    assert report.drops["second mask of a stamp"]["count"] == FRAMES / 2


def test_two_mask_topics_are_asked_about_and_the_raw_one_of_a_kind_is_taken(tmp_path):
    made = lambda i: raw(i, box(255), "mono8")  # noqa: E731
    with pytest.raises(InputError, match="expected one mask topic, got /a/mask, /b/mask; give --mask-topic"):
        converted(tmp_path, {"/a/mask": made, "/b/mask": made})
    (tmp_path / "raw").mkdir()
    report, _ = converted(tmp_path / "raw", {"/seg/mask/compressed": KINDS["png of 16 bit ids"], "/seg/mask": made})
    assert report.topics["mask"] == "/seg/mask"
    (tmp_path / "near").mkdir()
    report, _ = converted(tmp_path / "near", {"/camera/seg/mask": made, "/other/mask": made})
    assert report.topics["mask"] == "/camera/seg/mask"


def drawn(folder, stamps):
    folder.mkdir(parents=True, exist_ok=True)
    for stamp in stamps:
        cv2.imwrite(str(folder / f"{stamp}.png"), box(255))
    return folder


STAMPS = [T0 + index * STEP_NS for index in range(FRAMES)]
STRAY = "annotation without a frame of its stamp"


def test_annotations_that_fit_no_frame_are_counted(tmp_path):
    report, masks = converted(tmp_path, {}, annotations=drawn(tmp_path / "us", [stamp // 1000 for stamp in STAMPS]))
    assert masks == []
    assert report.drops[STRAY]["count"] == FRAMES


def test_annotations_of_other_recordings_are_no_strays(tmp_path):
    others = [STAMPS[0] - 10**12, STAMPS[-1] + 10**12]
    notes = drawn(tmp_path / "notes", [*STAMPS[:2], *others])
    report, masks = converted(tmp_path, {}, annotations=notes)
    assert len(masks) == 2
    assert report.drops == {}
    drawn(notes, [STAMPS[1] + 1])
    again = convert_bag(
        tmp_path / "b", "b", tmp_path / "D", ConvertConfig(split="train", cut="none", annotations=notes)
    )
    assert again.resumed
    assert again.drops[STRAY]["count"] == 1


@pytest.mark.parametrize(
    ("folder", "labelled", "strays"),
    [("b", 2, 0), ("b/mask", 2, 0), ("b_001", 2, 0), ("train/b_001/mask", 2, 0), ("b_002", 0, 2), ("train/x/y", 0, 2)],
)
def test_annotations_in_folders_are_taken_or_counted(tmp_path, folder, labelled, strays):
    """Those of a dataset's own folders were lost without a word."""
    drawn(tmp_path / "notes" / folder, STAMPS[:2])
    report, masks = converted(tmp_path, {}, annotations=tmp_path / "notes")
    assert len(masks) == labelled
    assert report.drops.get(STRAY, {"count": 0})["count"] == strays


def test_of_several_annotations_of_a_frame_the_nearest_is_taken_and_the_others_are_counted(tmp_path):
    drawn(tmp_path / "notes", STAMPS[:2])
    cv2.imwrite(str(tmp_path / "notes" / f"{STAMPS[0]}.bmp"), box(255))
    own = drawn(tmp_path / "notes" / "b", STAMPS[:1])
    cv2.imwrite(str(own / f"{STAMPS[0]}.png"), box(255)[::-1].copy())
    report, masks = converted(tmp_path, {}, annotations=tmp_path / "notes")
    assert report.drops["second annotation of a stamp"]["count"] == 2
    np.testing.assert_array_equal(masks[0], box(255)[::-1])
