# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Out to labelling tools and back, exact to the pixel; what nobody drew stays a prediction."""

from __future__ import annotations

import csv
import json
import shutil
import sys
import zipfile
from xml.etree import ElementTree as ET

import cv2
import numpy as np
import pytest

from m4sam_core.cli.main import main
from m4sam_core.errors import ConfigError, InputError
from m4sam_core.host.plain_yaml import load_yaml
from m4sam_core.rgbd.image_files import write_png
from m4sam_core.rgbd.masks import read_mask
from m4sam_training.data.generate import generate_dataset
from m4sam_training.data.predicted_masks import PredictedMask, read_predicted, write_predicted
from m4sam_training.data.scan import scan_split
from m4sam_training.labelling.exchange import FILES, FORMATS, import_labels, read_file
from m4sam_training.labelling.frames import read_frames
from m4sam_training.labelling.label_studio import decode_brush, encode_brush

pytest.importorskip("pycocotools")
SIZE = (72, 96)
CONFIDENCE = [0.91, 0.35, None, 0.62]  # of the frames of train_1; the last two frames are drawn and without a mask


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A video with four predictions, a drawn mask and a frame without one; and an unlabelled video."""
    root = tmp_path_factory.mktemp("made") / "D"
    generate_dataset(root, "m4sam", videos=2, frames=6, height=SIZE[0], width=SIZE[1])
    first, second = root / "train/train_1", root / "train/train_2"
    masks = sorted((first / "mask").iterdir())
    rng = np.random.default_rng(0)
    for path in masks:  # ragged, with holes and single pixels
        blobs = cv2.GaussianBlur(rng.random(SIZE, np.float32), (0, 0), 2)
        write_png(path, np.where((blobs > 0.5) ^ (rng.random(SIZE) < 0.01), 255, 0).astype(np.uint8))
    masks[-1].unlink()
    known = {path.stem: PredictedMask("pseudo: edge", value) for path, value in zip(masks, CONFIDENCE, strict=False)}
    write_predicted(first, known)
    for path in (second / "mask").iterdir():
        path.unlink()
    return root


@pytest.fixture
def data(made, tmp_path):
    """A copy of it."""
    shutil.copytree(made, tmp_path / "D")
    return tmp_path / "D"


def export(data, out, *options):
    assert main(["label", "export", str(data), "--out", str(out), "--split", "train", *options]) == 0
    return list(read_frames(out).values())


def masks_of(data):
    return {path: read_mask(path) for path in sorted((data / "train").glob("*/mask/*.png"))}


def edited(frame, data):
    """A person's correction of a frame's mask."""
    mask = frame.mask(data)
    mask = np.zeros(SIZE, np.uint8) if mask is None else mask.copy()
    mask[10:31, 20:41] = 255
    mask[15:20, 25:30] = 0
    return mask


def correct(out, tool, masks):
    """The file that comes back when a person draws these masks (name -> mask) in a tool."""
    path = out / FILES[tool]
    if tool == "coco":
        from pycocotools import mask as coco

        values = json.loads(path.read_text())
        ids = {image["file_name"]: image["id"] for image in values["images"]}
        for name, mask in masks.items():
            kept = [entry for entry in values["annotations"] if entry["image_id"] != ids[name]]
            code = coco.encode(np.asfortranarray(mask > 0))
            area = {"size": code["size"], "counts": code["counts"].decode()}
            new = [{"id": 900 + ids[name], "image_id": ids[name], "category_id": 1, "segmentation": area}]
            values["annotations"] = kept + (new if mask.any() else [])
        path.write_text(json.dumps(values))
    elif tool == "cvat":
        tree = ET.parse(path)
        for image in tree.getroot().iter("image"):
            mask = masks.get(image.get("name"))
            if mask is None:
                continue
            for shape in list(image):
                image.remove(shape)
            if mask.any():  # as CVAT writes it: run lengths of the box, row by row
                left, top, width, height = cv2.boundingRect(mask)
                runs, last, count = [], 0, 0
                for value in (mask[top : top + height, left : left + width] > 0).reshape(-1).astype(int).tolist():
                    if value != last:
                        runs.append(count)
                        last, count = value, 0
                    count += 1
                box = {"left": left, "top": top, "width": width, "height": height}
                words = {"label": "salient", "source": "manual", "rle": ",".join(map(str, [*runs, count]))}
                ET.SubElement(image, "mask", {**words, **{key: str(value) for key, value in box.items()}})
        tree.write(path)
    else:
        tasks = json.loads(path.read_text())
        for task in tasks:
            mask = masks.get(task["data"]["frame"])
            task["annotations"] = []
            if mask is not None:
                size = {"original_width": mask.shape[1], "original_height": mask.shape[0]}
                value = {"format": "rle", "rle": encode_brush(mask), "brushlabels": ["salient"]}
                result = [{"type": "brushlabels", **size, "value": value}] if mask.any() else []
                task["annotations"].append({"result": result, "was_cancelled": False})
        path.write_text(json.dumps(tasks))
    return path


def test_a_mask_is_decoded_once_for_all_tools(data, tmp_path, monkeypatch):
    decoded = []
    monkeypatch.setattr(
        "m4sam_training.labelling.frames.read_mask", lambda path: decoded.append(path) or read_mask(path)
    )
    export(data, tmp_path / "all", "--frames", "all")
    assert all((tmp_path / "all" / name).stat().st_size > 0 for name in FILES.values())
    assert sorted(decoded) == sorted((data / "train/train_1/mask").iterdir())


def test_the_doubtful_come_first_and_say_so(data, tmp_path):
    frames = export(data, tmp_path / "todo")
    assert [frame.confidence for frame in frames] == [0.35, 0.62, 0.91, None, *[None] * 7]
    assert [frame.source for frame in frames] == [*["pseudo: edge"] * 4, *["none"] * 7]
    assert sorted(path.name for path in (tmp_path / "todo/images").iterdir()) == [frame.name for frame in frames]
    coco = json.loads((tmp_path / "todo/coco.json").read_text())
    assert [entry.get("score") for entry in coco["annotations"]] == [0.35, 0.62, 0.91, None]
    tasks = json.loads((tmp_path / "todo/label_studio.json").read_text())
    assert [task["predictions"][0].get("score") for task in tasks[:4]] == [0.35, 0.62, 0.91, None]
    assert tasks[0]["data"]["image"] == f"/data/local-files/?d=todo/images/{frames[0].name}"
    xml = ET.parse(tmp_path / "todo/cvat.xml").getroot()
    assert [image.get("name") for image in xml.iter("image")] == [frame.name for frame in frames]
    assert [value.text for value in xml.iter("attribute")] == ["0.3500", "0.6200", "0.9100"]
    few = export(data, tmp_path / "few", "--limit", "2", "--format", "coco")
    assert [frame.stem for frame in few] == [frame.stem for frame in frames[:2]]
    assert {path.name for path in (tmp_path / "few").iterdir()} == {"images", "frames.csv", "coco.json"}
    assert [frame.source for frame in export(data, tmp_path / "drawn", "--frames", "drawn")] == ["drawn"]
    assert len(export(data, tmp_path / "all", "--frames", "all")) == 12


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


FLAWS = [
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
        "[" * 100_000,
    ],
)
def test_other_files_are_no_labels(tmp_path, text):
    (tmp_path / "f").write_text(text)
    with pytest.raises(InputError, match="f: "):
        read_file(tmp_path / "f", ["salient"])


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


def test_nothing_is_overwritten_and_nothing_to_do_is_said(data, tmp_path):
    export(data, tmp_path / "todo", "--format", "cvat")
    words = ["label", "export", str(data), "--out"]
    assert main([*words, str(tmp_path / "todo")]) == 2
    assert main([*words, str(tmp_path / "new"), "--format", "yolo"]) == 2
    with pytest.raises(InputError, match="expected predicted frames, got none"):
        from m4sam_training.labelling.frames import choose_frames

        choose_frames([scan_split(data, "m4sam", "val")], "predicted")
    assert not (tmp_path / "new").exists()
    with (tmp_path / "todo/frames.csv").open() as file:
        assert next(csv.reader(file))[:4] == ["name", "split", "video", "stem"]


def test_the_brush_code_is_the_documented_one():
    """Two rows worked out by hand: 32 bit count, 5 bit size of a value, the four sizes, then the runs."""
    mask = np.array([[0, 255, 255]], np.uint8)
    bits = f"{12:032b}" + "00111" + "0010" + "0011" + "0111" + "1111"
    bits += "1" + "00" + "011" + f"{0:08b}" + "1" + "00" + "111" + f"{255:08b}"
    bits += "0" * (-len(bits) % 8)
    assert encode_brush(mask) == [int(bits[at : at + 8], 2) for at in range(0, len(bits), 8)]
    literal = f"{4:032b}" + "00111" + "0010" + "0011" + "0111" + "1111" + "0" + "00" + "011"
    literal += "".join(f"{value:08b}" for value in (1, 2, 3, 200))
    literal += "0" * (-len(literal) % 8)
    code = [int(literal[at : at + 8], 2) for at in range(0, len(literal), 8)]
    assert decode_brush(code, 1, 1).tolist() == [[200]]
    with pytest.raises(InputError, match="ends early"):
        decode_brush(encode_brush(mask)[:-2], 1, 3)
    with pytest.raises(InputError, match="expected a brush mask of 2x1 px, got 3 px"):
        decode_brush(encode_brush(mask), 1, 2)


@pytest.mark.parametrize("seed", range(3))
def test_the_brush_code_is_label_studios(seed):
    brush = pytest.importorskip("label_studio_converter.brush")
    rng = np.random.default_rng(seed)
    mask = np.where(cv2.GaussianBlur(rng.random((33, 47), np.float32), (0, 0), 2) > 0.5, 255, 0).astype(np.uint8)
    theirs = np.asarray(brush.decode_rle(encode_brush(mask))).reshape(33, 47, 4)
    np.testing.assert_array_equal(theirs, np.repeat(mask[..., None], 4, axis=2))
    code = brush.encode_rle(np.repeat(mask.reshape(-1), 4))
    np.testing.assert_array_equal(decode_brush(code, 33, 47), mask)


def test_large_masks_cross_the_longest_run():
    mask = np.zeros((200, 400), np.uint8)
    mask[190:, :] = 255
    np.testing.assert_array_equal(decode_brush(encode_brush(mask), 200, 400), mask)


def test_without_pycocotools_one_line_says_what_to_install(data, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    with pytest.raises(ConfigError, match="pip install pycocotools"):
        from m4sam_training.labelling.coco import CocoWriter

        CocoWriter()
