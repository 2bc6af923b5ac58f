# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Frames come in the order in which people count."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m4sam_core.rgbd.clip_folder import frame_times, images_by_stem, match_names
from m4sam_core.rgbd.order import frame_number, natural_order, stamps_ns
from m4sam_core.rgbd.video_yaml import VideoInfo
from tests.core.rgbd.properties import SEEDED


@pytest.mark.parametrize(
    "names",
    [
        ["0", "1", "2", "9", "10", "11", "100"],
        ["7", "08", "009", "10"],
        ["frame9", "frame10", "frame11b"],
        ["cam1_9", "cam1_10", "cam2_1"],
        ["9800000000", "9999999999", "10033333333"],  # stamps that gain a digit at 10 s
        ["1305031102.175304", "1305031102.2", "1305031103.0"],  # seconds, last zeros left out
        ["9.95", "10.0", "10.05"],
        ["3", "\u00b2", "\u0663"],  # a superscript and an Arabic digit are text
    ],
)
def test_numbers_in_names_count(names):
    shuffled = random.Random(0).sample(names, len(names))
    assert sorted(shuffled, key=natural_order) == names


@SEEDED
@given(st.lists(st.integers(0, 10**19), unique=True), st.integers(0, 20), st.sampled_from(["", "f_", "rgb-", "a9b"]))
def test_frames_are_ordered_by_number_however_they_are_padded(numbers, width, prefix):
    names = [f"{prefix}{number:0{width if index % 2 else 1}d}" for index, number in enumerate(numbers)]
    ordered = sorted(names, key=natural_order)
    assert [frame_number(name) for name in ordered] == sorted(numbers)


@SEEDED
@given(st.lists(st.text(max_size=12), max_size=8))
def test_the_order_is_total_for_any_names(names):
    ordered = sorted(names, key=natural_order)
    names.reverse()
    assert sorted(names, key=natural_order) == ordered
    keys = [natural_order(name) for name in ordered]
    assert all(a <= b for a, b in itertools.pairwise(keys))
    assert len({natural_order(name) for name in names}) == len(set(names))


@SEEDED
@given(st.lists(st.integers(0, 500), unique=True, min_size=1, max_size=12), st.integers(1, 6), st.integers(1, 6))
def test_files_padded_differently_belong_together(numbers, width, other):
    rgb = {f"{number:0{width}d}": Path("r") for number in numbers}
    depth = {f"d_{number:0{other}d}": Path("d") for number in numbers}
    match_names({"rgb": rgb, "depth": depth}, lambda *_: None)
    assert depth.keys() == rgb.keys()


@pytest.mark.parametrize(("first", "matched"), [(-1, False), (0, True), (1, False)])
def test_frames_that_count_from_one_more_or_less_are_not_matched(first, matched):
    rgb = {f"frame_{number + 1}": Path("r") for number in range(4)}
    depth = {f"depth_{number + 1 + first}": Path("d") for number in range(4)}
    match_names({"rgb": rgb, "depth": depth}, lambda *_: None)
    assert bool(rgb.keys() & depth.keys()) == matched


@pytest.mark.parametrize(
    ("rgb", "depth"), [("Frame_a", "frame_A"), ("caf\u00e9 left", "cafe\u0301 left"), ("\u00c9_1_x2", "e\u0301_1_x2")]
)
def test_names_that_are_spelled_in_two_ways_belong_together(rgb, depth):
    others = {depth: Path("d"), "other": Path("o")}
    told = []
    match_names({"rgb": {rgb: Path("r")}, "depth": others}, lambda *found: told.append(found))
    assert others == {rgb: Path("d"), "other": Path("o")}
    assert len(told) == 1


@pytest.mark.parametrize(("first", "told"), [(0, False), (1, True), (2, False)])
def test_frames_that_share_names_and_may_be_one_off_are_told(first, told):
    rgb, depth = ({f"{number}": Path("f/x") for number in range(start, start + 4)} for start in (0, first))
    notes = []
    match_names({"rgb": rgb, "depth": depth}, lambda *found: notes.append(found))
    assert notes == [(Path("f"), "depth may count from another number than rgb, is each one frame off?", True)] * told


def test_names_that_are_times_are_never_matched_by_their_fraction():
    depth = {"1305031109.175304": Path("d")}
    match_names({"rgb": {"1305031102.175304": Path("r")}, "depth": depth}, lambda *_: None)
    assert list(depth) == ["1305031109.175304"]


def test_a_clip_that_says_so_is_timed_by_its_names():
    stems = ["9966666666", "10000000000"]
    assert stamps_ns(stems) is None
    said = VideoInfo(fps=5.0, stamped=True)
    assert frame_times(stems, said).offsets_ns == [0, 33_333_334]
    assert frame_times(stems, said).first_ns == 9_966_666_666
    assert frame_times(stems, said, 10.0).offsets_ns == [0, 100_000_000]
    assert frame_times(stems, VideoInfo(fps=5.0)).offsets_ns == [0, 200_000_000]
    assert frame_times(stems, VideoInfo()).offsets_ns == [0, 66_666_667]


def test_names_that_are_seconds_with_a_fraction_are_stamps():
    times = frame_times(["1305031102.175304", "1305031102.211214"], VideoInfo(fps=30.0))
    assert times.offsets_ns == [0, 35_910_000]
    assert (times.first_ns, times.rate) == (1305031102175304000, pytest.approx(27.847, abs=1e-3))
    assert frame_times(["0.5", "1.0"], VideoInfo(fps=30.0)).first_ns is None


@pytest.mark.parametrize(
    ("stem", "stamp"),
    [
        ("1700000000000000000", True),
        ("946684800000000000", True),  # a clock that was never set, in the year 2000
        ("1700000000000000", False),  # microseconds
        ("20240115123456789", False),  # a date, to the millisecond
        ("638405000000000000", False),  # ticks of 100 ns
        ("20240115123456789012", False),
    ],
)
def test_only_nanoseconds_are_stamps(stem, stamp):
    assert (stamps_ns([stem]) is not None) == stamp


def test_files_of_a_folder_come_in_order_and_a_lossless_one_is_preferred(tmp_path):
    for name in ("10.jpg", "9.png", "9.jpg", "._9.png", "notes.txt", "Thumbs.db"):
        (tmp_path / name).write_bytes(b"")
    notes = []
    found = images_by_stem(tmp_path, note=lambda path, reason, used: notes.append((path.name, reason.split(":")[0])))
    assert [path.name for path in found.values()] == ["9.png", "10.jpg"]
    assert sorted(notes) == [
        ("._9.png", "hidden file"),
        ("9.jpg", "second file of the same frame"),
        ("Thumbs.db", "hidden file"),
        ("notes.txt", "not an image"),
    ]
