# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Every layout, every irregularity: found by path and reason, never used silently, never a crash."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from m4sam_core.cli.main import main
from m4sam_core.errors import ConfigError, InputError
from m4sam_core.host.plain_yaml import load_yaml
from m4sam_core.rgbd import depth_files
from m4sam_core.rgbd.depth_files import read_depth
from m4sam_core.rgbd.image_files import write_png
from m4sam_core.rgbd.masks import read_mask
from m4sam_training.data import scan
from m4sam_training.data.check import check_dataset
from m4sam_training.data.generate import generate_dataset
from m4sam_training.data.layouts import LAYOUTS, get_layout
from m4sam_training.data.scan import available_splits, scan_split

SMALL = {"height": 72, "width": 96}


@pytest.fixture(scope="module", params=list(LAYOUTS))
def irregular(request, tmp_path_factory):
    root = tmp_path_factory.mktemp(request.param)
    planted = generate_dataset(root / "D", request.param, videos=2, frames=4, irregular=True, **SMALL)
    return request.param, root / "D", planted


def test_every_planted_irregularity_is_reported_by_path(irregular):
    layout, root, planted = irregular
    found = {(item.path, item.reason.split(":")[0]) for item in scan_split(root, layout, "train").irregular}
    headers = {(item.path, item.reason) for item in planted if not item.decoded}
    assert headers <= found
    assert found - headers <= {(item.path, item.reason) for item in planted if item.decoded}  # of a few files


def test_check_finds_exactly_what_was_planted(irregular):
    pytest.importorskip("simplejpeg")
    layout, root, planted = irregular
    found = [(item.path, item.reason.split(":")[0]) for r in check_dataset(root, layout) for item in r.irregular]
    assert set(found) == {(item.path, item.reason) for item in planted}
    assert len(found) == len(set(found))


def test_every_flaw_that_check_knows_is_planted_somewhere(tmp_path):
    """The reasons in the sources of the reader and the check, against those that were planted."""
    planted = set()
    for layout in LAYOUTS:
        items = generate_dataset(tmp_path / layout, layout, videos=1, frames=4, irregular=True, **SMALL)
        planted |= {item.reason for item in items}
    here = Path(scan.__file__).parent
    core = Path(depth_files.__file__).parent
    sources = [here / "scan.py", here / "scan_checks.py", here / "check.py", core / "clip_folder.py"]
    calls = re.compile(r'(?:note|_note|Irregularity)\(\s*[^"()]*(?:\([^()]*\))?[^"()]*f?"([^"{:]{8,})')
    known = {reason.strip() for source in sources for reason in calls.findall(source.read_text())}
    known |= set(re.findall(r'reason = "([^"]+)"', (core / "clip_folder.py").read_text()))
    known |= {"rgb has an EXIF orientation, which is not applied", "depth without any reading"}
    listed = {"line is not", "listed file is missing", "frame listed twice"}  # of RDVS's list form: tests below
    told_otherwise = {  # test_truth.py, test_pictures.py, test_flaws.py
        "masks may be predictions",
        "no depth folder (",
        "another place of the split, give it by itself",
        "masks may be empty, nothing is salient in any looked at",
        "masks may be inverted, what is salient surrounds the rest, see --mask-values 0",
    }
    unplanted = {reason for reason in known if not any(p.startswith(reason) or reason in p for p in planted)}
    assert len(known) > 15
    assert unplanted <= listed | told_otherwise, unplanted


def test_only_sound_frames_are_used(irregular):
    layout, root, planted = irregular
    videos = {video.name: video for video in scan_split(root, layout, "train").videos}
    apart = get_layout(layout).pictures
    frames = {frame.stem: frame for v in (videos.values() if apart else [videos["train_1"]]) for frame in v.annotated}
    extra = {stem for stem in frames if stem.startswith("x_")}
    inside = {item.path.stem for item in planted if item.decoded and item.path.stem.startswith("x_")}
    assert len(inside) == 13
    assert extra == {"x_small_9005", "x_name_9007"} | inside  # reported as used, or when they are decoded
    assert frames["x_name_9007"].mask.name == "ground_truth_9007.png"
    if apart:
        assert len(videos) == len(frames) == 2 * 4 + len(extra)
        return
    sparse = 2 if layout == "dvisal" else 4
    assert len(frames) == sparse + len(extra)
    assert len(videos["train_2"].frames) == 4
    assert len(videos["train_2"].annotated) == sparse


def test_a_clean_dataset_has_no_irregularities(tmp_path):
    for layout, table in LAYOUTS.items():
        generate_dataset(tmp_path / layout, layout, videos=1, frames=2, **SMALL)
        assert available_splits(tmp_path / layout, layout) == list(table.splits)
        for report in check_dataset(tmp_path / layout, layout):
            assert report.irregular == []
            assert report.scan.frame_count >= 1


def test_depth_files_of_every_kind_keep_their_values(tmp_path):
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
    write_png(tmp_path / "grey.png", ramp)
    write_png(tmp_path / "rgb.png", np.repeat(ramp[..., None], 3, axis=2))
    deep = (np.arange(256, dtype=np.uint16) * 257).reshape(16, 16)
    write_png(tmp_path / "deep.png", deep)
    np.testing.assert_array_equal(read_depth(tmp_path / "grey.png"), ramp)
    np.testing.assert_array_equal(read_depth(tmp_path / "rgb.png"), ramp)
    np.testing.assert_array_equal(read_depth(tmp_path / "deep.png"), deep)
    cv2.imwrite(str(tmp_path / "float.tiff"), deep.astype(np.float32) / 1000)
    np.testing.assert_array_equal(read_depth(tmp_path / "float.tiff"), deep.astype(np.float32) / 1000)


def test_colour_depth_becomes_luminance_and_deep_colour_is_refused(tmp_path):
    colour = np.zeros((4, 4, 3), np.uint8)
    colour[..., 0], colour[..., 1], colour[..., 2] = 200, 100, 50
    write_png(tmp_path / "c.png", colour)
    assert read_depth(tmp_path / "c.png")[0, 0] == round(0.299 * 200 + 0.587 * 100 + 0.114 * 50)
    cv2.imwrite(str(tmp_path / "d.png"), colour.astype(np.uint16) * 100)
    with pytest.raises(InputError, match="one channel or three equal ones"):
        read_depth(tmp_path / "d.png")


def test_masks_are_cut_above_127(tmp_path):
    write_png(tmp_path / "m.png", np.array([[0, 127, 128, 255]], np.uint8))
    assert read_mask(tmp_path / "m.png").tolist() == [[0, 0, 255, 255]]


def test_flaws_inside_sound_files_are_noted(tmp_path):
    generate_dataset(tmp_path / "D", "m4sam", videos=1, frames=3, **SMALL)
    video = tmp_path / "D" / "train" / "train_1"
    masks, depths = sorted((video / "mask").iterdir()), sorted((video / "depth").iterdir())
    write_png(masks[0], np.full((72, 96), 1, np.uint8))
    write_png(masks[1], np.zeros((72, 96), np.uint8))
    write_png(depths[2], np.zeros((72, 96), np.uint16))
    train = check_dataset(tmp_path / "D", "m4sam")[0]
    assert {(item.path, item.reason.split(":")[0], item.used) for item in train.irregular} == {
        (masks[0], "cannot be understood", False),
        (masks[1], "mask without a salient pixel", True),
        (depths[2], "depth without any reading", True),
    }


def test_rdvs_list_form(tmp_path):
    generate_dataset(tmp_path / "D", "rdvs", videos=1, frames=2, **SMALL)
    base = tmp_path / "D" / "RDVS"
    (base / "train").rename(base / "stored")
    stems = [f"train_1-{n:05d}" for n in (1, 2)]
    lines = ["/img /gt /flow /depth"]
    for stem in stems:
        folder = "/stored/train_1"
        lines.append(
            f"{folder}/rgb/{stem}.jpg {folder}/ground-truth/{stem}.png {folder}/none.png {folder}/Depth/{stem}.png"
        )
    lines += ["/../../etc/passwd /a /b /c", "/only /two", "/gone.jpg /gone.png /f /d.png"]
    (base / "train.txt").write_text("\n".join(lines))
    found = scan_split(tmp_path / "D", "rdvs", "train")
    assert [(video.name, [frame.stem for frame in video.frames]) for video in found.videos] == [("train_1", stems)]
    assert [item.reason.split(":")[0] for item in found.irregular] == [
        "line is not 4 paths inside the dataset",
        "line is not 4 paths inside the dataset",
        "listed file is missing",
    ]


def test_listed_names_may_have_spaces_where_columns_are_apart_by_tabs(tmp_path):
    generate_dataset(tmp_path / "D", "rdvs", videos=1, frames=2, **SMALL)
    base = tmp_path / "D" / "RDVS"
    (base / "train").rename(base / "my videos")
    names = [[f"{role}/train_1-{n:05d}.{kind}" for role, kind in COLUMNS] for n in (1, 2)]
    rows = ["\t".join(f"/my videos/train_1/{name}" for name in row) for row in names]
    (base / "train.txt").write_text("\t\n".join(rows))
    found = scan_split(tmp_path / "D", "rdvs", "train")
    assert not found.irregular
    assert found.frame_count == 2


COLUMNS = (("rgb", "jpg"), ("ground-truth", "png"), ("flow", "png"), ("Depth", "png"))


def test_listed_videos_of_one_name_stay_apart_and_a_frame_counts_once(tmp_path):
    generate_dataset(tmp_path / "D", "rdvs", videos=1, frames=2, **SMALL)
    base = tmp_path / "D" / "RDVS"
    for name in ("a", "b"):
        shutil.copytree(base / "train", base / "sets" / name)
    shutil.rmtree(base / "train")
    lines = [
        " ".join(f"/sets/{name}/train_1/{part}" for part in (f"rgb/{stem}.jpg", f"ground-truth/{stem}.png", "-", depth))
        for name in ("a", "b")
        for stem in ("train_1-00002", "train_1-00001", "train_1-00002")
        for depth in [f"Depth/{stem}.png"]
    ]
    (base / "train.txt").write_text("\ufeff" + "\n".join(lines), encoding="utf-8")
    found = scan_split(tmp_path / "D", "rdvs", "train")
    stems = ["train_1-00001", "train_1-00002"]
    wanted = [("sets_a_train_1", stems), ("sets_b_train_1", stems)]
    assert [(video.name, [frame.stem for frame in video.frames]) for video in found.videos] == wanted
    assert found.counts() == {"frame listed twice": 2}


def test_a_list_with_a_byte_order_mark_loses_no_video(tmp_path):
    generate_dataset(tmp_path, "dvisal", videos=2, frames=2, **SMALL)
    listing = tmp_path / "DViSal_dataset" / "train.txt"
    listing.write_text("\ufeff" + listing.read_text().replace("\n", "\r\n"), encoding="utf-8")
    found = scan_split(tmp_path, "dvisal", "train")
    assert len(found.videos) == 2
    assert found.counts() == {}


@pytest.mark.parametrize("nesting", ["vidsod_100", "vidsod100/train"])
def test_vidsod_roots_seen_in_the_wild(tmp_path, nesting):
    generate_dataset(tmp_path / "D", "vidsod100", videos=1, frames=2, **SMALL)
    target = tmp_path / "E" / nesting
    target.parent.mkdir(parents=True, exist_ok=True)
    if nesting.endswith("train"):
        target.mkdir(parents=True)
        (tmp_path / "D" / "VidSOD" / "train").rename(target / "train")
    else:
        (tmp_path / "D" / "VidSOD").rename(target)
    assert scan_split(tmp_path / "E", "vidsod100", "train").frame_count == 2


def test_unknown_names_and_wrong_folders_say_what_was_expected(tmp_path):
    with pytest.raises(
        ConfigError, match="layout: expected one of rdvs, vidsod100, dvisal, m4sam, pictures, got 'kitti'"
    ):
        get_layout("kitti")
    with pytest.raises(ConfigError, match=r"expected a DViSal dataset .*train\.txt"):
        available_splits(tmp_path, "dvisal")
    with pytest.raises(ConfigError, match="split: expected one of train, test"):
        scan_split(tmp_path, "rdvs", "val")
    with pytest.raises(ConfigError, match="expected real, black or copy_rgb for ViDSOD-100"):
        scan_split(tmp_path, "vidsod100", "train", "synthetic")


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [1]\nb: [*a, *a]",
        "x: !!python/object/apply:os.system ['true']",
        "a: 1\na: 2",
        "- 1",
        "a: [1",
        "a: " + "[" * 5000,
    ],
)
def test_hostile_yaml_is_refused(tmp_path, text):
    (tmp_path / "v.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"v\.yaml: expected"):
        load_yaml(tmp_path / "v.yaml")


def test_generated_files_depend_on_the_seed_alone(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        generate_dataset(tmp_path / name, "m4sam", videos=1, frames=1, seed=seed, **SMALL)
    read = {n: b"".join(p.read_bytes() for p in sorted((tmp_path / n).rglob("*.png"))) for n in "abc"}
    assert read["a"] == read["b"] != read["c"]
    with pytest.raises(ConfigError, match="new or empty folder"):
        generate_dataset(tmp_path / "a", "m4sam")


def test_command_line(tmp_path, capsys):
    data = str(tmp_path / "D")
    size = ["--width", "96", "--height", "72"]
    assert (
        main(["dataset", "generate", "--layout", "rdvs", "--out", data, "--videos", "2", "--frames", "6", *size]) == 0
    )
    assert main(["dataset", "check", "--layout", "rdvs", data, "--json", str(tmp_path / "c.json"), "--strict"]) == 0
    assert [entry["frames"] for entry in json.loads((tmp_path / "c.json").read_text())] == [12, 12]
    assert main(["dataset", "info", data, "--layout", "rdvs"]) == 0
    assert "train_2" in capsys.readouterr().out
    Path(tmp_path / "D" / "RDVS" / "test" / "test_1" / "Depth" / "test_1-00001.png").write_bytes(b"\x89PNG")
    assert main(["dataset", "check", "--layout", "rdvs", data, "--strict"]) == 1
    assert main(["dataset", "check", "--layout", "nope", data]) == 2
