# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Forms that tools write beside their plain ones: outlines of masks, lost masks, several people, turned images."""

from __future__ import annotations

import json
import zipfile

import cv2
import numpy as np
import pytest

from m4sam_core.cli.main import main
from m4sam_core.errors import InputError
from m4sam_core.rgbd.image_files import write_png
from m4sam_training.data.predicted_masks import read_predicted
from m4sam_training.labelling.exchange import import_labels, read_file
from m4sam_training.labelling.label_studio import encode_brush
from tests.training.labelling.tools import SIZE, correct, edited, export, masks_of

pytest.importorskip("pycocotools")


def as_outlines(file, data, frames, changed=()):
    """coco.json as CVAT writes it: outlines in several parts, names in folders, attributes."""
    values = json.loads(file.read_text())
    values["annotations"] = []
    for number, frame in enumerate(frames, 1):
        mask = edited(frame, data) if frame in changed else frame.mask(data)
        if mask is None:
            continue
        contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        values["annotations"].append(
            {
                "id": number,
                "image_id": number,
                "category_id": 1,
                "segmentation": [c.reshape(-1).tolist() for c in contours if len(c) > 2],
                "iscrowd": 0,
                "attributes": {"occluded": False},
            }
        )
    for image in values["images"]:
        image["file_name"] = f"sub/folder/{image['file_name']}"
    file.write_text(json.dumps(values))


def test_predictions_that_come_back_as_outlines_stay_predictions(data, tmp_path):
    for number, path in enumerate(masks_of(data)):  # two things without holes, which outlines would fill
        mask = np.zeros(SIZE, np.uint8)
        cv2.circle(mask, (60, 30 + number), 20, 255, -1)
        cv2.ellipse(mask, (15, 50), (9, 5 + number), 30, 0, 360, 255, -1)
        write_png(path, mask)
    frames = export(data, tmp_path / "todo", "--frames", "predicted")
    before = masks_of(data)
    file = tmp_path / "todo/coco.json"
    as_outlines(file, data, frames, changed=frames[:1])
    report = import_labels(file, tmp_path / "todo", data)
    assert (report.drawn, report.unchanged) == (1, len(frames) - 1)
    assert set(read_predicted(data / "train/train_1")) == {frame.stem for frame in frames[1:]}
    for path, mask in masks_of(data).items():
        assert np.array_equal(mask, before[path]) == (path != frames[0].mask_path(data))


@pytest.mark.parametrize("tool", ["coco", "cvat"])
def test_images_that_nobody_drew_on_do_not_become_empty_truth(data, tmp_path, tool, capsys):
    """The tool was given the images, not the masks; one was drawn."""
    frames = export(data, tmp_path / "todo")
    before = masks_of(data)
    new = {frame.name: np.zeros(SIZE, np.uint8) for frame in frames} | {frames[0].name: edited(frames[0], data)}
    file = correct(tmp_path / "todo", tool, new)
    with pytest.raises(InputError, match="got none, as of every image nobody drew on: was the mask loaded"):
        import_labels(file, tmp_path / "todo", data)
    words = ["label", "import", str(file), "--frames", str(tmp_path / "todo"), "--data", str(data)]
    assert main([*words, "--skip-flawed"]) == 1
    assert "1 masks are ground truth now" in capsys.readouterr().out
    after = masks_of(data)
    assert [path for path in before if not np.array_equal(before[path], after[path])] == [frames[0].mask_path(data)]
    assert main([*words, "--accept", "all"]) == 0
    assert not frames[1].mask(data).any()


def task_with(tmp_path, data, change):
    frames = export(data, tmp_path / "todo")
    mask = edited(frames[0], data)
    file = correct(tmp_path / "todo", "label-studio", {frames[0].name: mask})
    tasks = json.loads(file.read_text())
    change(tasks[0])
    file.write_text(json.dumps(tasks))
    return frames[0], mask, read_file(file, ["salient"])


def test_marks_on_a_turned_image_are_refused(data, tmp_path):
    def turn(task):
        task["annotations"][0]["result"][0]["image_rotation"] = 180

    _, _, parsed = task_with(tmp_path, data, turn)
    assert not parsed.images
    assert "got some on one turned by 180 degrees" in parsed.flaws[0]


def test_points_and_answers_beside_a_brush_are_no_part_of_the_mask(data, tmp_path):
    def add(task):
        task["annotations"][0]["result"] += [
            {"type": "keypointlabels", "value": {"x": 1, "y": 2, "keypointlabels": ["salient"]}},
            {"type": "choices", "value": {"choices": ["blurred"]}},
            {"type": "relation", "from_id": "a", "to_id": "b"},
        ]

    frame, mask, parsed = task_with(tmp_path, data, add)
    np.testing.assert_array_equal(parsed.images[frame.name].mask, mask)

    def points_alone(task):
        task["annotations"][0]["result"] = [{"type": "keypointlabels", "value": {"x": 1, "y": 2}}]

    task_file = tmp_path / "todo/label_studio.json"
    tasks = json.loads(task_file.read_text())
    points_alone(tasks[0])
    task_file.write_text(json.dumps(tasks))
    assert "expected brush or polygon labels, got keypointlabels" in read_file(task_file, ["salient"]).flaws[0]


def test_what_was_marked_as_ground_truth_counts_before_later_work(data, tmp_path, capsys):
    def second(task):
        other = np.zeros(SIZE, np.uint8)
        other[:9] = 255
        result = {**task["annotations"][0]["result"][0]}
        result["value"] = {**result["value"], "rle": encode_brush(other)}
        task["annotations"][0] |= {"ground_truth": True, "updated_at": "2026-01-01T00:00:00Z"}
        task["annotations"].append({"result": [result], "updated_at": "2026-02-01T00:00:00Z"})

    frame, mask, parsed = task_with(tmp_path, data, second)
    np.testing.assert_array_equal(parsed.images[frame.name].mask, mask)
    words = ["--frames", str(tmp_path / "todo"), "--data", str(data)]
    assert main(["label", "import", str(tmp_path / "todo/label_studio.json"), *words]) == 0
    assert "submitted by more than one person" in capsys.readouterr().out


@pytest.mark.parametrize(
    "address",
    [
        "{}",
        "/data/local-files/?d=todo/images/{}",
        "https://host/a/{}?token=x=y",
        "/data/local-files/?d=todo%2Fimages%2F{}",
    ],
)
def test_images_are_known_by_their_address_where_the_task_does_not_name_them(data, tmp_path, address):
    def rename(task):
        task["data"] = {"image": address.format(task["data"]["frame"])}

    frame, _, parsed = task_with(tmp_path, data, rename)
    assert list(parsed.images) == [frame.name]


def test_names_with_an_equals_sign_are_names(data, tmp_path):
    export(data, tmp_path / "todo", "--format", "coco")
    file = tmp_path / "todo/coco.json"
    values = json.loads(file.read_text())
    values["images"][0]["file_name"] = "1_speed=3_1700.png"
    file.write_text(json.dumps(values))
    assert "1_speed=3_1700.png" in read_file(file, ["salient"]).images


def test_what_macos_adds_to_an_archive_is_passed_over(data, tmp_path):
    frames = export(data, tmp_path / "todo", "--frames", "predicted")
    with zipfile.ZipFile(tmp_path / "task.zip", "w") as archive:
        archive.write(tmp_path / "todo/cvat.xml", "annotations.xml")
        archive.writestr("__MACOSX/._annotations.xml", b"\0\5")
    assert read_file(tmp_path / "task.zip", ["salient"]).images.keys() == {frame.name for frame in frames}


def test_a_prediction_whose_holes_were_lost_on_the_way_stays_a_prediction(data, tmp_path):
    for path in masks_of(data):
        mask = np.zeros(SIZE, np.uint8)
        cv2.circle(mask, (50, 35), 25, 255, 10)  # a ring
        write_png(path, mask)
    frames = export(data, tmp_path / "todo", "--frames", "predicted")
    as_outlines(tmp_path / "todo/coco.json", data, frames)
    report = import_labels(tmp_path / "todo/coco.json", tmp_path / "todo", data)
    assert (report.drawn, report.unchanged) == (0, len(frames))


def test_outlines_that_may_be_meant_as_holes_are_told(data, tmp_path, capsys):
    frames = export(data, tmp_path / "todo")
    file = tmp_path / "todo/coco.json"
    values = json.loads(file.read_text())
    outer, inner, beside = [
        [x, y, x + w, y, x + w, y + w, x, y + w] for x, y, w in ((5, 5, 50), (20, 20, 9), (60, 5, 9))
    ]
    kept = [entry for entry in values["annotations"] if entry["image_id"] > 2]
    drawn = [
        {"category_id": 1, "image_id": n, "segmentation": s} for n, s in ((1, [inner, outer]), (2, [outer, beside]))
    ]
    file.write_text(json.dumps(values | {"annotations": kept + drawn}))
    words = ["label", "import", str(file), "--frames", str(tmp_path / "todo"), "--data", str(data)]
    assert main(words) == 0
    assert "taken as filled, for COCO's polygons have no holes: 1; where holes were meant" in capsys.readouterr().out
    assert frames[0].mask(data)[25, 25] == frames[1].mask(data)[25, 25] == 255
