# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""A LeRobot data set out of bags, read back file by file; and by LeRobot itself where it is installed."""

from __future__ import annotations

import importlib.util
import io
import json

import numpy as np
import pytest
from PIL import Image

from m4sam_core.cli.main import main
from m4sam_core.errors import ConfigError, InputError
from m4sam_core.rgbd.bags.write import ImageBagWriter
from m4sam_training.bags.lerobot import DEPTH, HAS_MASK, MASK, RGB, STAMP, Shot, write_lerobot
from tests.training.recorded import write_bag

pa = pytest.importorskip("pyarrow")
av = pytest.importorskip("av")
pq = pytest.importorskip("pyarrow.parquet")
STEP_NS = 50_000_000


def shot(index, start=10**18):
    """A smooth picture that video keeps, depth of every bit, and a mask on every second frame."""
    rng = np.random.default_rng(index)
    ramp = np.linspace(40, 200, 32)[None, :, None] + np.array([0, 20, 40])
    rgb = np.broadcast_to(ramp + 2 * index, (24, 32, 3)).astype(np.uint8)
    depth = rng.integers(0, 65536, (24, 32)).astype(np.uint16)
    mask = np.where(rng.random((24, 32)) > 0.5, 255, 0).astype(np.uint8)
    return start + index * STEP_NS, rgb, depth, mask


@pytest.fixture(scope="module")
def bags(tmp_path_factory):
    """Two bags, the first with a pause in it; and one without depth."""
    root = tmp_path_factory.mktemp("bags")
    for name, indices in (("a", [*range(5), *range(100, 104)]), ("b", range(3))):
        with ImageBagWriter(root / name) as writer:
            for index in indices:
                stamp, rgb, depth, mask = shot(index)
                writer.write_image("/cam/color", rgb, "rgb8", stamp, "cam")
                writer.write_image("/cam/depth", depth, "16UC1", stamp, "cam")
                if index % 2 == 0:
                    writer.write_image("/drawn/mask", mask, "mono8", stamp, "cam")
    return root


def pixels(entry):
    with Image.open(io.BytesIO(entry["bytes"])) as image:
        return np.asarray(image)


def frames_of(path):
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def read(out):
    info = json.loads((out / "meta/info.json").read_text())
    episodes = pq.read_table(out / "meta/episodes/chunk-000/file-000.parquet").to_pylist()
    tables = []
    for entry in episodes:
        place = {"chunk_index": entry["data/chunk_index"], "file_index": entry["data/file_index"]}
        tables.append(pq.read_table(out / info["data_path"].format(**place)).to_pylist())
    return info, episodes, tables


def test_depth_and_masks_are_exact_and_the_video_shows_the_frames(bags, tmp_path, capsys):
    out = tmp_path / "L"
    assert main(["bag", "to-lerobot", str(bags), "--out", str(out), "--task", "pick the cup"]) == 0
    assert "3 episodes, 11 frames, 6 with a mask" in capsys.readouterr().out
    info, episodes, tables = read(out)
    assert (info["codebase_version"], info["fps"]) == ("v3.0", 20)
    assert (info["total_episodes"], info["total_frames"], info["total_tasks"]) == (3, 11, 1)
    assert [entry["length"] for entry in episodes] == [5, 3, 3]
    assert [(e["dataset_from_index"], e["dataset_to_index"]) for e in episodes] == [(0, 5), (5, 8), (8, 11)]
    assert info["features"][MASK]["info"]["source"] == "topic /drawn/mask"
    assert info["features"][DEPTH]["info"]["depth_unit_m"] == 0.001
    assert info["features"][RGB]["shape"] == [24, 32, 3]
    wanted = [
        [shot(index) for index in indices] for indices in (range(5), range(101, 104), range(3))
    ]  # a pause costs a frame
    seen = 0
    for episode, (entry, rows, shots) in enumerate(zip(episodes, tables, wanted, strict=True)):
        place = {"chunk_index": entry[f"videos/{RGB}/chunk_index"], "file_index": entry[f"videos/{RGB}/file_index"]}
        video = frames_of(out / info["video_path"].format(video_key=RGB, **place))
        assert len(video) == len(rows) == len(shots)
        assert entry[f"videos/{RGB}/to_timestamp"] == pytest.approx(len(rows) / 20)
        assert entry["tasks"] == ["pick the cup"]
        for number, (row, picture, (stamp, rgb, depth, mask)) in enumerate(zip(rows, video, shots, strict=True)):
            assert (row["index"], row["frame_index"], row["episode_index"]) == (seen, number, episode)
            assert row["timestamp"] == pytest.approx(number / 20)
            assert row[STAMP] == stamp
            stored = pixels(row[DEPTH])
            assert stored.dtype == np.uint16
            np.testing.assert_array_equal(stored, depth)
            drawn = row[HAS_MASK]
            np.testing.assert_array_equal(pixels(row[MASK]), mask if drawn else np.zeros_like(mask))
            assert drawn == (int(rgb[0, 0, 0] - 40) // 2 % 2 == 0)
            assert np.abs(picture.astype(int) - rgb).mean() < 6
            seen += 1
    stats = json.loads((out / "meta/stats.json").read_text())
    assert stats[DEPTH]["max"][0][0][0] <= 65535
    assert 0.1 < stats[RGB]["mean"][0][0][0] < 0.9
    assert stats[RGB]["count"] == [11]
    assert np.shape(stats[RGB]["std"]) == (3, 1, 1)
    tasks = pq.read_table(out / "meta/tasks.parquet")
    assert tasks.to_pydict() == {"task_index": [0], "__index_level_0__": ["pick the cup"]}


def test_images_keep_every_bit_of_rgb(bags, tmp_path):
    assert main(["bag", "to-lerobot", str(bags / "b"), "--out", str(tmp_path / "L"), "--rgb", "image"]) == 0
    info, _, tables = read(tmp_path / "L")
    assert info["video_path"] is None
    for index, row in enumerate(tables[0]):
        np.testing.assert_array_equal(pixels(row[RGB]), shot(index)[1])


def test_what_does_not_fit_is_said(bags, tmp_path, capsys):
    rng = np.random.default_rng(0)
    small = rng.integers(0, 255, (12, 16, 3), np.uint8), rng.random((12, 16)).astype(np.float32)
    with ImageBagWriter(tmp_path / "in" / "c_small") as writer:
        for index in range(3):
            writer.write_image("/cam/color", small[0], "rgb8", 10**18 + index * STEP_NS, "cam")
            writer.write_image("/cam/depth", small[1], "32FC1", 10**18 + index * STEP_NS, "cam")
    with ImageBagWriter(tmp_path / "in" / "d_no_depth") as writer:
        writer.write_image("/cam/color", small[0], "rgb8", 10**18, "cam")
    words = ["bag", "to-lerobot", "--out", str(tmp_path / "L")]
    assert main([*words, str(bags / "b"), str(tmp_path / "in")]) == 1
    told = capsys.readouterr().out
    assert "1 episodes, 3 frames" in told
    assert "left out: frames of another size than the first, rgb 16x12, depth 16x12 (3)" in told
    assert "expected one depth topic, got none" in told
    assert main([*words, str(bags / "b")]) == 2  # never overwritten
    assert main(["bag", "to-lerobot", str(tmp_path / "in/c_small"), "--out", str(tmp_path / "M")]) == 0
    assert "float depth rounded to millimetres (3)" in capsys.readouterr().out
    _, _, tables = read(tmp_path / "M")
    np.testing.assert_allclose(pixels(tables[0][0][DEPTH]) / 1000, small[1], atol=0.00051)
    with pytest.raises(InputError, match=r"depth of one kind where counts are of 0\.00025 m"):
        write_lerobot(
            [[Shot(0, *small, None)], [Shot(0, small[0], (small[1] * 4000).astype(np.uint16), None)]],
            tmp_path / "N", 10, "x", "image", 0.00025,
        )  # fmt: skip
    with pytest.raises(InputError, match="expected at least one frame"):
        write_lerobot([], tmp_path / "N", 10, "x")
    assert not (tmp_path / "N").exists()


def test_what_is_odd_but_used_is_said(tmp_path, capsys):
    """Float depth in millimetres, a bag of another rate, and one that was cut short."""
    rng = np.random.default_rng(0)
    rgb, depth = rng.integers(0, 255, (24, 32, 3), np.uint8), rng.uniform(500, 4000, (24, 32)).astype(np.float32)
    for name, step_ns in (("a", STEP_NS), ("b", 2 * STEP_NS)):
        with ImageBagWriter(tmp_path / "in" / name) as writer:
            for index in range(6):
                writer.write_image("/cam/color", rgb, "rgb8", 10**18 + index * step_ns, "cam")
                writer.write_image("/cam/depth", depth, "32FC1", 10**18 + index * step_ns, "cam")
    file = tmp_path / "in" / "b" / "b.mcap"
    file.write_bytes(file.read_bytes()[: file.stat().st_size * 3 // 4])
    assert main(["bag", "to-lerobot", str(tmp_path / "in"), "--out", str(tmp_path / "L")]) == 0
    told = capsys.readouterr().out
    assert "note: float depth is not in metres; tell its unit with --depth-unit" in told
    assert f"note: b was recorded at 10 Hz, its time runs as if at 20; use {STAMP} (1)" in told
    assert "note: b: b.mcap" in told


def test_the_nodes_masks_are_called_predictions(tmp_path):
    stamp, rgb, depth, mask = shot(0)
    with ImageBagWriter(tmp_path / "bag") as writer:
        for index in range(3):
            at = stamp + index * STEP_NS
            writer.write_image("/cam/color", rgb, "rgb8", at, "cam")
            writer.write_image("/cam/depth", depth, "16UC1", at, "cam")
            writer.write_image("/saliency/mask", mask, "mono8", at, "cam")
    assert main(["bag", "to-lerobot", str(tmp_path / "bag"), "--out", str(tmp_path / "L"), "--fps", "7"]) == 0
    info, _, _ = read(tmp_path / "L")
    assert info["features"][MASK]["info"]["source"] == "pseudo: topic /saliency/mask"
    assert info["fps"] == 7
    write_bag(tmp_path / "plain", [(stamp, rgb, depth), (stamp + STEP_NS, rgb, depth)])
    assert main(["bag", "to-lerobot", str(tmp_path / "plain"), "--out", str(tmp_path / "P")]) == 0
    assert MASK not in read(tmp_path / "P")[0]["features"]


def test_without_its_packages_one_line_says_what_to_install(bags, tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ConfigError, match="pip install av"):
        write_lerobot([], tmp_path / "L", 10, "x")


@pytest.mark.skipif(importlib.util.find_spec("lerobot") is None, reason="lerobot is not installed")
def test_lerobot_reads_it(bags, tmp_path):
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    assert main(["bag", "to-lerobot", str(bags), "--out", str(tmp_path / "L"), "--task", "look", "--rgb", "image"]) == 0
    data = LeRobotDataset("local/test", root=tmp_path / "L")
    assert (data.num_episodes, data.num_frames, data.fps) == (3, 11, 20)
    for place, index in ((0, 0), (6, 102), (10, 2)):
        item, (stamp, rgb, depth, mask) = data[place], shot(index)
        np.testing.assert_array_equal(np.rint(item[RGB].numpy().transpose(1, 2, 0) * 255).astype(np.uint8), rgb)
        np.testing.assert_array_equal(item[DEPTH].numpy()[0].astype(np.uint16), depth)
        if index % 2 == 0:
            np.testing.assert_array_equal(np.rint(item[MASK].numpy()[0] * 255).astype(np.uint8), mask)
        assert int(item[STAMP]) == stamp
        assert item["task"] == "look"
