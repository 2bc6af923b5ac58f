# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""The index of a split: the same as reading it, current or made again, and one for all processes."""

from __future__ import annotations

import multiprocessing
import os
import time
from pathlib import Path

import pytest

from m4sam_core.rgbd.masks import MaskRule
from m4sam_training.data.generate import generate_dataset
from m4sam_training.data.index import split as index
from m4sam_training.data.index.split import indexed_split
from m4sam_training.data.layouts import LAYOUTS
from m4sam_training.data.scan import scan_split


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("M4SAM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "index"


@pytest.fixture
def reads(monkeypatch) -> list[Path]:
    """The datasets that were read, not taken from an index."""
    read: list[Path] = []
    monkeypatch.setattr(index, "scan_split", lambda root, *a, **k: read.append(root) or scan_split(root, *a, **k))
    return read


@pytest.mark.parametrize("layout", list(LAYOUTS))
def test_an_index_says_what_the_dataset_does_flaws_included(layout, tmp_path, reads):
    root = tmp_path / "d"
    generate_dataset(root, layout, videos=2, frames=4, height=64, width=64, irregular=True)
    wanted = scan_split(root, layout, "train")
    assert wanted.irregular
    for _ in range(2):
        assert indexed_split(root, layout, "train") == wanted
    assert reads == [root], "the second time it came from the index"
    annotated = indexed_split(root, layout, "train", annotated_only=True)
    assert [video.frames for video in annotated.videos] == [video.annotated for video in wanted.videos]
    assert len(reads) == 1


def test_every_change_of_the_tree_is_noticed(tmp_path, reads):
    root = tmp_path / "d"
    generate_dataset(root, "rdvs", videos=1, frames=3, height=64, width=64)
    video = root / "RDVS" / "train" / "train_1"
    mask = min((video / "ground-truth").iterdir())

    def add() -> None:
        for name in ("rgb", "Depth", "ground-truth"):
            source = min((video / name).iterdir())
            (video / name / f"train_1-00009{source.suffix}").write_bytes(source.read_bytes())

    changes = [add, mask.unlink, lambda: os.utime(video / "rgb" / "train_1-00002.jpg", ns=(1, 1))]
    for count, change in enumerate(changes, start=1):
        indexed_split(root, "rdvs", "train")
        indexed_split(root, "rdvs", "train")
        assert len(reads) == count
        change()
        assert indexed_split(root, "rdvs", "train") == scan_split(root, "rdvs", "train")


def test_other_questions_have_other_indices(tmp_path, reads):
    root = tmp_path / "d"
    generate_dataset(root, "rdvs", videos=1, frames=2, height=64, width=64)
    for _ in range(2):
        indexed_split(root, "rdvs", "train")
        indexed_split(root, "rdvs", "test")
        assert indexed_split(root, "rdvs", "train", "black").videos[0].frames[0].depth is None
        assert indexed_split(root, "rdvs", "train", masks=MaskRule.parse("bright")).videos[0].masks.word == "bright"
        assert indexed_split(root, "rdvs", "train", coding="near_bright").videos[0].coding == "near_bright"
    assert len(reads) == 5


@pytest.mark.parametrize("damage", ["", "{}\n", "[1]\n{}\n", '{"version": 1}\nnot json'])
def test_a_damaged_index_is_made_again(damage, tmp_path, reads, cache):
    root = tmp_path / "d"
    generate_dataset(root, "rdvs", videos=1, frames=2, height=64, width=64)
    wanted = indexed_split(root, "rdvs", "train")
    (file,) = cache.glob("*.jsonl")
    whole = file.read_text()
    file.write_text(damage or whole[: len(whole) - 40])
    assert indexed_split(root, "rdvs", "train") == wanted
    assert len(reads) == 2
    assert file.read_text() == whole


def test_a_cache_that_cannot_be_written_is_no_obstacle(tmp_path, monkeypatch, reads):
    root = tmp_path / "d"
    generate_dataset(root, "rdvs", videos=1, frames=2, height=64, width=64)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("M4SAM_CACHE", str(tmp_path / "file"))
    for count in (1, 2):
        assert indexed_split(root, "rdvs", "train") == scan_split(root, "rdvs", "train")
        assert len(reads) == count


def _rank(root: Path, start: multiprocessing.Event, answers: multiprocessing.Queue) -> None:
    read = []

    def slow(*arguments, **options):
        read.append(1)
        time.sleep(0.5)  # long enough for the others to come
        return scan_split(*arguments, **options)

    index.scan_split = slow
    start.wait()
    answers.put((len(read), indexed_split(root, "rdvs", "train").frame_count, len(read)))


def test_of_several_processes_one_reads_and_the_others_wait(tmp_path):
    root = tmp_path / "d"
    generate_dataset(root, "rdvs", videos=1, frames=3, height=64, width=64)
    fork = multiprocessing.get_context("fork")
    start, answers = fork.Event(), fork.Queue()
    ranks = [fork.Process(target=_rank, args=(root, start, answers)) for _ in range(3)]
    for rank in ranks:
        rank.start()
    start.set()
    found = [answers.get(timeout=120) for _ in ranks]
    for rank in ranks:
        rank.join()
    assert sorted(after for _, _, after in found) == [0, 0, 1]
    assert {frames for _, frames, _ in found} == {3}


def test_old_indices_go(tmp_path, monkeypatch, cache):
    monkeypatch.setattr(index, "KEPT", 2)
    for number in range(4):
        generate_dataset(tmp_path / str(number), "rdvs", videos=1, frames=1, height=64, width=64)
        indexed_split(tmp_path / str(number), "rdvs", "train")
    assert len(list(cache.glob("*.jsonl"))) == 2
