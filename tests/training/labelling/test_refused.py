# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Files that do not fit the exported frames: refused before anything is written, each flaw named."""

from __future__ import annotations

import json

import numpy as np
import pytest

from m4sam_core.cli.main import main
from m4sam_core.errors import InputError
from m4sam_training.labelling.exchange import import_labels, read_file
from tests.training.labelling.tools import correct, edited, export, masks_of

pytest.importorskip("pycocotools")


def wrong_size(values):
    image = values["images"][0]
    image["height"], image["width"] = 36, 48
    values["annotations"] = [entry for entry in values["annotations"] if entry["image_id"] != image["id"]]


def unknown_name(values):
    values["images"][0]["file_name"] = "holiday.png"


def unknown_label(values):
    values["categories"][0]["name"] = "cat"


def mask_of_another_size(values):
    values["annotations"][0]["segmentation"]["size"] = [36, 48]


def outlines(*corners):
    def draw(values):
        values["annotations"][0]["segmentation"] = [list(corners)]

    return draw


def one_name_twice(values):
    values["images"][1]["file_name"] = f"copy/{values['images'][0]['file_name']}"


def endless_size(values):
    values["images"][0]["height"] = 10**9


FLAWS = [
    (outlines(10.0, 10.0, 10.1, 10.0, 10.1, 10.1), "expected an outline with pixels inside, got one around none"),
    (outlines(float("nan"), 10.0, 30.0, 10.0, 30.0, 30.0), "expected corners in pixels, within 960 of the image"),
    (outlines(1e12, 10.0, 30.0, 10.0, 30.0, 30.0), "expected corners in pixels, within 960 of the image"),
    (one_name_twice, "expected one image of that name, got several"),
    (endless_size, "expected an image of at most 64000000 px, got 96x1000000000"),
    (wrong_size, "expected a mask of 96x72 px, got 48x36"),
    (unknown_name, "holiday.png: expected an exported image"),
    (unknown_label, "expected the label salient, got 'cat'; say which with --label"),
    (mask_of_another_size, "expected a mask of 96x72, got one of"),
]


@pytest.mark.parametrize(("flaw", "text"), FLAWS)
def test_what_does_not_fit_is_refused_before_anything_is_written(data, tmp_path, flaw, text, capsys):
    frames = export(data, tmp_path / "todo")
    new = {frame.name: edited(frame, data) for frame in frames[:3]}
    file = correct(tmp_path / "todo", "coco", new)
    values = json.loads(file.read_text())
    flaw(values)
    file.write_text(json.dumps(values))
    before = masks_of(data)
    with pytest.raises(InputError, match=text.replace("(", r"\(")):
        import_labels(file, tmp_path / "todo", data)
    for path, mask in masks_of(data).items():
        np.testing.assert_array_equal(mask, before[path])
    words = ["label", "import", str(file), "--frames", str(tmp_path / "todo"), "--data", str(data), "--skip-flawed"]
    assert main(words) == 1
    assert "left out: " in capsys.readouterr().out
    if flaw is unknown_label:
        assert main([*words[:-1], "--label", "cat"]) == 0


def test_frames_that_are_gone_are_named(data, tmp_path):
    frames = export(data, tmp_path / "todo")
    file = correct(tmp_path / "todo", "cvat", {frames[0].name: edited(frames[0], data)})
    (frames[0].folder(data) / "rgb" / f"{frames[0].stem}.png").unlink()
    with pytest.raises(InputError, match=f"expected the frame train/train_1/{frames[0].stem}"):
        import_labels(file, tmp_path / "todo", data)


def test_a_table_that_leads_out_of_the_dataset_is_refused(data, tmp_path):
    frames = export(data, tmp_path / "todo")
    table = tmp_path / "todo/frames.csv"
    table.write_text(table.read_text().replace(",train_1,", ",../../outside,"))
    file = correct(tmp_path / "todo", "coco", {frames[0].name: edited(frames[0], data)})
    with pytest.raises(InputError, match="expected the frame"):
        import_labels(file, table, data)
    with pytest.raises(InputError, match="expected its table of frames"):
        import_labels(file, tmp_path / "D", data)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[1, 2]",
        '{"images": []}',
        "7",
        "<annotations><track/></annotations>",
        "<!DOCTYPE x [<!ENTITY a 'b'>]><annotations/>",
        "<a",
        '[{"data": {}, "predictions": []}]',
        '[{"data": [], "annotations": []}]',
        '[{"data": {}, "annotations": null}]',
        '[{"data": {}, "annotations": [3]}]',
        "[" * 100_000,
    ],
)
def test_other_files_are_no_labels(tmp_path, text):
    (tmp_path / "f").write_text(text)
    with pytest.raises(InputError, match="f: "):
        read_file(tmp_path / "f", ["salient"])


@pytest.mark.parametrize("result", [[None], ["x"], {"a": 1}, [{"type": "brushlabels", "value": {"rle": [10**30]}}]])
def test_a_damaged_task_is_left_out_and_the_others_are_read(tmp_path, result):
    tasks = [
        {"data": {"frame": f"{name}.png"}, "annotations": [{"result": r}]} for name, r in (("a", result), ("b", []))
    ]
    (tmp_path / "f").write_text(json.dumps(tasks))
    parsed = read_file(tmp_path / "f", ["salient"])
    assert list(parsed.images) == ["b.png"]
    assert [flaw.split(":")[0] for flaw in parsed.flaws] == ["a.png"]


@pytest.mark.parametrize("place", ["left", "top", "width", "height", "rle"])
def test_a_mask_that_is_nowhere_is_left_out(tmp_path, place):
    box = {"left": "1", "top": "1", "width": "2", "height": "2", "rle": "0, 4"} | {place: "inf"}
    shape = " ".join(f'{key}="{value}"' for key, value in box.items())
    image = f'<image name="a.png" width="9" height="9"><mask label="salient" {shape}/></image>'
    (tmp_path / "f").write_text(f"<annotations>{image}</annotations>")
    parsed = read_file(tmp_path / "f", ["salient"])
    assert not parsed.images
    assert parsed.flaws[0].startswith("a.png: ")
