# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Back from labelling tools, exact to the pixel; what nobody drew stays a prediction."""

from __future__ import annotations

import errno
import json
import os
import zipfile

import numpy as np
import pytest

from m4sam_core.cli.main import main
from m4sam_core.errors import InputError
from m4sam_core.host.plain_yaml import load_yaml
from m4sam_training.data.predicted_masks import read_predicted
from m4sam_training.data.scan import scan_split
from m4sam_training.labelling import exchange
from m4sam_training.labelling.exchange import FILES, FORMATS, import_labels, read_file
from tests.training.labelling.tools import SIZE, correct, edited, export, masks_of

pytest.importorskip("pycocotools")


@pytest.mark.parametrize("tool", FORMATS)
def test_masks_survive_the_way_out_and_back_to_the_pixel(data, tmp_path, tool):
    frames = export(data, tmp_path / "todo", "--frames", "all")
    before = masks_of(data)
    drawn = {frame.name: frame.mask(data) for frame in frames if frame.mask(data) is not None}
    file = correct(tmp_path / "todo", tool, drawn) if tool == "label-studio" else tmp_path / "todo" / FILES[tool]
    parsed = read_file(file, ["salient"])
    for name, mask in drawn.items():
        np.testing.assert_array_equal(parsed.images[name].mask, mask)
    for path in before:
        path.unlink()
    report = import_labels(file, tmp_path / "todo", data)
    assert report.drawn == len(before) == 5
    after = masks_of(data)
    assert after.keys() == before.keys()
    for path, mask in before.items():
        np.testing.assert_array_equal(after[path], mask)


@pytest.mark.parametrize("tool", FORMATS)
def test_corrected_masks_become_truth_and_the_rest_stays_predicted(data, tmp_path, tool, capsys):
    frames = export(data, tmp_path / "todo")
    worst, second, unlabelled = frames[0], frames[1], frames[-1]
    new = {frame.name: edited(frame, data) for frame in (worst, unlabelled)}
    new[second.name] = np.zeros(SIZE, np.uint8)  # nothing salient after all
    file = correct(tmp_path / "todo", tool, new)
    words = ["label", "import", str(file), "--frames", str(tmp_path / "todo"), "--data", str(data)]
    assert main(words) == 0
    assert "3 masks are ground truth now" in capsys.readouterr().out
    for frame in (worst, second, unlabelled):
        np.testing.assert_array_equal(frame.mask(data), new[frame.name])
    scan = scan_split(data, "m4sam", "train")
    assert (scan.frame_count, scan.predicted_count) == (6, 2)
    left = read_predicted(data / "train/train_1")
    assert set(left) == {frames[2].stem, frames[3].stem}
    assert load_yaml(data / "train/train_1/video.yaml")["labels"] == ["annotation", "ground truth", "pseudo: edge"]
    if tool != "label-studio":  # there a person's mask is told from a prediction however alike they are
        assert import_labels(file, tmp_path / "todo", data).unchanged == 2
        assert import_labels(file, tmp_path / "todo/frames.csv", data, "all").drawn == len(frames)
        assert scan_split(data, "m4sam", "train").predicted_count == 0
        assert scan_split(data, "m4sam", "train").frame_count == 12


def test_a_submitted_mask_is_truth_although_nothing_was_changed(data, tmp_path):
    frames = export(data, tmp_path / "todo")
    file = correct(tmp_path / "todo", "label-studio", {frames[0].name: frames[0].mask(data)})
    report = import_labels(file, tmp_path / "todo", data)
    assert (report.drawn, report.absent) == (1, len(frames) - 1)
    assert frames[0].stem not in read_predicted(data / "train/train_1")


def test_the_latest_submission_counts_and_skipped_tasks_do_not(data, tmp_path):
    frames = export(data, tmp_path / "todo")
    mask = edited(frames[0], data)
    file = correct(tmp_path / "todo", "label-studio", {frames[0].name: mask, frames[1].name: mask})
    tasks = json.loads(file.read_text())
    tasks[0]["annotations"][0]["updated_at"] = "2026-02-01T00:00:00Z"
    tasks[0]["annotations"].append({"result": [], "updated_at": "2026-01-01T00:00:00Z"})
    tasks[1]["annotations"][0]["was_cancelled"] = True
    file.write_text(json.dumps(tasks))
    assert import_labels(file, tmp_path / "todo", data).drawn == 1
    np.testing.assert_array_equal(frames[0].mask(data), mask)


def test_polygons_and_plain_run_lengths_are_read_and_boxes_are_not(data, tmp_path):
    frames = export(data, tmp_path / "todo", "--format", "coco")
    file = tmp_path / "todo/coco.json"
    values = json.loads(file.read_text())
    square = np.zeros(SIZE, np.uint8)
    square[20:40, 10:50] = 255
    flat = (square > 0).reshape(-1, order="F").astype(int)
    changes = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff([0, *changes, flat.size]).tolist()
    image = {frame.name: number for number, frame in enumerate(frames, 1)}
    base = {"category_id": 1, "iscrowd": 0}
    values["annotations"] = [
        {**base, "image_id": image[frames[0].name], "segmentation": [[10, 20, 50, 20, 50, 40, 10, 40]]},
        {**base, "image_id": image[frames[1].name], "segmentation": {"size": list(SIZE), "counts": runs}},
    ]
    file.write_text(json.dumps(values))
    parsed = read_file(file, ["salient"])
    for frame in frames[:2]:
        np.testing.assert_array_equal(parsed.images[frame.name].mask, square)
    values["annotations"].append({**base, "image_id": image[frames[2].name], "bbox": [1, 2, 3, 4]})
    file.write_text(json.dumps(values))
    assert "got a box alone" in read_file(file, ["salient"]).flaws[0]


def test_a_zip_of_one_file_is_read(data, tmp_path):
    frames = export(data, tmp_path / "todo", "--frames", "predicted")
    with zipfile.ZipFile(tmp_path / "task.zip", "w") as archive:
        archive.write(tmp_path / "todo/cvat.xml", "annotations.xml")
        archive.writestr("images/x.png", b"")
    assert read_file(tmp_path / "task.zip", ["salient"]).images.keys() == {frame.name for frame in frames}
    with zipfile.ZipFile(tmp_path / "none.zip", "w") as archive:
        archive.writestr("images/x.png", b"")
    with pytest.raises(InputError, match=r"one \.xml or \.json was expected"):
        read_file(tmp_path / "none.zip", ["salient"])


@pytest.mark.parametrize("room", ["write_png", "note_drawn"])
def test_without_room_for_all_of_it_nothing_is_taken_and_the_next_import_takes_all(data, tmp_path, room, monkeypatch):
    """It left masks of people that the next import took for predictions nobody had touched."""
    frames = export(data, tmp_path / "todo")
    file = correct(tmp_path / "todo", "coco", {frame.name: edited(frame, data) for frame in frames[:3]})
    before, predicted, calls = masks_of(data), read_predicted(data / "train/train_1"), []
    true = getattr(exchange, room)

    def full(*given):
        calls.append(given)
        if len(calls) == (3 if room == "write_png" else 1):
            raise OSError(errno.ENOSPC, "No space left on device", str(data))
        true(*given)

    with monkeypatch.context() as patch:
        patch.setattr(exchange, room, full)
        with pytest.raises(OSError, match="No space left"):
            import_labels(file, tmp_path / "todo", data)
    after = masks_of(data)
    assert before.keys() == after.keys()
    assert all(np.array_equal(before[path], after[path]) for path in before)
    assert read_predicted(data / "train/train_1") == predicted
    assert not list(data.glob(".*"))
    assert import_labels(file, tmp_path / "todo", data).drawn == 3
    assert set(read_predicted(data / "train/train_1")) == predicted.keys() - {frame.stem for frame in frames[:3]}


def test_an_import_that_is_stopped_half_way_is_finished_by_the_next_one(data, tmp_path, monkeypatch):
    frames = export(data, tmp_path / "todo")
    new = {frame.name: edited(frame, data) for frame in frames[:3]}
    file = correct(tmp_path / "todo", "coco", new)
    calls = []

    def stopped(*given):
        calls.append(given)
        if len(calls) == 2:
            raise KeyboardInterrupt
        true(*given)

    true = os.replace
    with monkeypatch.context() as patch:
        patch.setattr(
            exchange.os, "replace", lambda *given: stopped(*given) if "mask" in str(given[1]) else true(*given)
        )
        with pytest.raises(KeyboardInterrupt):
            import_labels(file, tmp_path / "todo", data)
    import_labels(file, tmp_path / "todo", data)
    for frame in frames[:3]:
        np.testing.assert_array_equal(frame.mask(data), new[frame.name])
        assert frame.stem not in read_predicted(data / "train/train_1")
