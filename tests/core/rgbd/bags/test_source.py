# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Every kind of bag opens, whatever became of it, and what is missing is told."""

from __future__ import annotations

import shutil
import sqlite3

import pytest

from m4sam_core.errors import InputError
from m4sam_core.rgbd.bags.find import find_bags
from m4sam_core.rgbd.bags.source import BagSource
from m4sam_core.rgbd.bags.storage import ZSTD_MAGIC
from tests.core.rgbd.bags.recordings import RGB, frames_rows, humble_db3, mcap, write_metadata

zstd = pytest.importorskip("backports.zstd")


def frames(path):
    with BagSource(path) as source:
        return [int(message.decoded.data[0]) - 1 for message in source.messages([RGB])], source.damage


def splits(folder, count=3, per_split=4):
    folder.mkdir(parents=True)
    return [humble_db3(folder / f"{folder.name}_{n}.db3", frames_rows(per_split * n, per_split)) for n in range(count)]


def pack(file, share=1.0):
    packed = zstd.compress(file.read_bytes())
    file.with_name(f"{file.name}.zstd").write_bytes(packed[: int(len(packed) * share)])
    file.unlink()


def test_splits_are_read_in_the_order_of_their_numbers(tmp_path):
    folder = tmp_path / "run"
    splits(folder, count=11, per_split=1)
    assert frames(folder)[0] == list(range(11))


def test_packed_splits_without_metadata(tmp_path):
    files = splits(tmp_path / "run")
    for file in files[:2]:
        pack(file)
    found, damage = frames(tmp_path / "run")
    assert found == list(range(12))
    assert damage == ["no metadata.yaml; the recorder was stopped hard, its files are read one by one"]


def test_a_packed_split_that_was_cut_off_is_named(tmp_path):
    files = splits(tmp_path / "run")
    pack(files[0], share=0.5)
    found, damage = frames(tmp_path / "run")
    assert set(found) >= set(range(4, 12))
    assert any("run_0.db3.zstd" in line or "run_0.db3" in line for line in damage[1:])


def test_packed_mcap_and_packed_messages(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/a_0.mcap").write_bytes(bytes(mcap(4).data))
    pack(tmp_path / "a/a_0.mcap")
    write_metadata(tmp_path / "a", ["a_0.mcap.zstd"], compression_mode="FILE", compression_format="zstd")
    assert frames(tmp_path / "a") == ([0, 1, 2, 3], [])
    rows = [(topic, kind, log_ns, zstd.compress(raw)) for topic, kind, log_ns, raw in frames_rows(0, 3)]
    assert rows[0][3].startswith(ZSTD_MAGIC)
    assert frames(humble_db3(tmp_path / "b.db3", rows))[0] == [0, 1, 2]


def test_what_metadata_says_about_files_is_compared_with_what_is_there(tmp_path):
    folder = tmp_path / "run"
    files = splits(folder)
    write_metadata(folder, [file.name for file in files])
    assert frames(folder) == (list(range(12)), [])
    files[1].rename(folder / "run_copy.db3")
    found, damage = frames(folder)
    assert found == [*range(4), *range(8, 12)]
    assert damage == [
        "metadata.yaml: run_1.db3 of this bag are missing",
        "run_copy.db3: not listed in metadata.yaml, left out",
    ]
    (folder / "metadata.yaml").write_text("rosbag2_bagfile_information: [")
    found, damage = frames(folder)
    assert sorted(found) == list(range(12))
    assert "metadata.yaml cannot be read" in damage[0]


@pytest.mark.parametrize("name", ["a[b]", "run 100%", "caf\u00e9 #1", "what?", "50%25", "[/bold]", "*", "it's"])
def test_names_of_folders_mean_nothing(tmp_path, name):
    splits(tmp_path / name, count=1)
    assert frames(tmp_path / name)[0] == [0, 1, 2, 3]
    assert find_bags([tmp_path]) == [tmp_path / name]
    (tmp_path / "m.mcap").write_bytes(bytes(mcap(2).data))
    (tmp_path / "m.mcap").rename(tmp_path / name / "m.mcap")
    assert frames(tmp_path / name / "m.mcap")[0] == [0, 1]


def test_a_log_that_was_not_merged_is_read_too(tmp_path):
    """A recorder with write-ahead logging that was killed leaves its last messages beside the database."""
    file = humble_db3(tmp_path / "live.db3", frames_rows(0, 2))
    database = sqlite3.connect(file)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA wal_autocheckpoint=0")
    for _, _, log_ns, raw in frames_rows(2, 2, kinds=((RGB, "rgb8"),)):
        database.execute("INSERT INTO messages(topic_id, timestamp, data) VALUES (1, ?, ?)", (log_ns, raw))
    database.commit()
    (tmp_path / "killed").mkdir()
    for path in (file, tmp_path / "live.db3-wal"):
        shutil.copy(path, tmp_path / "killed")
    database.close()
    found, damage = frames(tmp_path / "killed/live.db3")
    assert found == [0, 1, 2, 3]
    assert "live.db3-wal" in damage[0]


def test_a_damaged_page_costs_its_rows(tmp_path):
    file = humble_db3(tmp_path / "a.db3", frames_rows(0, 40))
    data = bytearray(file.read_bytes())
    page = 4096
    at = (len(data) // page // 2) * page
    data[at : at + 64] = b"\xff" * 64
    file.write_bytes(bytes(data))
    found, damage = frames(file)
    assert 20 <= len(found) <= 40
    assert found == sorted(found)
    assert damage or len(found) == 40


def test_what_is_no_bag_is_one_line(tmp_path):
    for name in ("a.mcap", "a.db3", "a.bag", "a.db3.zstd"):
        (tmp_path / name).write_bytes(b"no bag at all")
        with pytest.raises(InputError, match="expected a rosbag, got"):
            BagSource(tmp_path / name)
    with pytest.raises(InputError, match="expected a rosbag, got no storage file"):
        (tmp_path / "empty").mkdir()
        BagSource(tmp_path / "empty")
