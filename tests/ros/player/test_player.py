# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""The player as a process over DDS."""

import json
import signal
from pathlib import Path

import cv2
import numpy as np
import pytest

pytestmark = pytest.mark.ros

PLAYER = "m4sam_ros.player"
SOON = "start_delay_s:=0.3"


@pytest.fixture
def clip(tmp_path):
    folder = tmp_path / "clip"
    for name in ("rgb", "depth"):
        (folder / name).mkdir(parents=True)
    for index in range(12):
        cv2.imwrite(str(folder / "rgb" / f"{index:04}.png"), np.full((48, 64, 3), 10 * index, np.uint8))
        cv2.imwrite(str(folder / "depth" / f"{index:04}.png"), np.full((48, 64), 500 + index, np.uint16))
    (folder / "video.yaml").write_text("fps: 40.0\n")
    return folder


@pytest.fixture
def ears(bench):
    """(rgb, depth): everything received on the two topics."""
    from rclpy.qos import QoSProfile
    from sensor_msgs.msg import Image

    return tuple(
        bench.listen(Image, f"/saliency/{name}/image", QoSProfile(depth=200), matched=False)
        for name in ("rgb", "depth")
    )


def stamp(msg) -> int:
    return msg.header.stamp.sec * 10**9 + msg.header.stamp.nanosec


def stamps(messages) -> list[int]:
    return [stamp(msg) for msg in messages]


def play(bench, source: Path, *parameters: str) -> dict:
    """Play to the end; the summary."""
    player = bench.execute(PLAYER, f"source:={source}", SOON, *parameters)
    bench.until(lambda: not player.alive, "the end of the clip")
    assert player.popen.returncode == 0, player.log
    bench.spin(0.1)
    return json.loads(player.log.strip().splitlines()[-1])


def test_every_frame_arrives_once_in_pairs_at_the_clips_rate(bench, ears, clip, tmp_path):
    rgb, depth = ears
    summary = play(bench, clip, f"summary:={tmp_path / 'summary.json'}")
    assert summary["rgb_published"] == summary["depth_published"] == len(rgb) == len(depth) == 12
    assert json.loads((tmp_path / "summary.json").read_text()) == summary
    assert stamps(rgb) == stamps(depth)
    assert set(np.diff(stamps(rgb))) == {25_000_000}
    assert [msg.data[0] for msg in rgb] == [10 * index for index in range(12)]
    assert [int(np.frombuffer(msg.data, np.uint16)[0]) for msg in depth] == list(range(500, 512))
    assert summary["seconds"] > 0.2  # twelve frames at 40 Hz


@pytest.mark.parametrize(
    ("mode", "jumps_back", "distinct"), [("live", False, 36), ("rewind", True, 12), ("recorded", True, 12)]
)
def test_stamps_over_loops(bench, ears, clip, mode, jumps_back, distinct):
    rgb, _ = ears
    summary = play(bench, clip, "loops:=3", f"stamps:={mode}")
    assert (summary["loops"], len(rgb)) == (3, 36)
    steps = np.diff(stamps(rgb))
    assert bool((steps < 0).any()) == jumps_back
    assert len(set(stamps(rgb))) == distinct
    if mode == "recorded":
        assert stamp(rgb[0]) == 0
    if mode == "live":
        assert set(steps) == {25_000_000}


def test_faults_reach_the_topics(bench, ears, clip):
    rgb, depth = ears
    faults = ("faults.drop_rgb:=0.3", "faults.depth_stamp_offset_s:=-0.007", "faults.jitter_s:=0.02", "faults.seed:=3")
    summary = play(bench, clip, "loops:=2", *faults)
    assert summary["rgb_published"] + summary["rgb_dropped"] == 24
    assert len(rgb) == summary["rgb_published"] < 24
    assert len(depth) == 24
    assert stamps(depth) == sorted(stamps(depth))
    assert set(stamps(rgb)) <= {at + 7_000_000 for at in stamps(depth)}


def test_unreadable_file_is_left_out(bench, ears, clip):
    rgb, depth = ears
    (clip / "depth" / "0004.png").write_bytes(b"no image")
    summary = play(bench, clip)
    assert summary["depth_unreadable"] == 1
    assert (len(rgb), len(depth)) == (12, 11)


def test_clock_follows_the_stamps(bench, ears, clip):
    from rosgraph_msgs.msg import Clock

    rgb, _ = ears
    ticks = bench.listen(Clock, "/clock", 200, matched=False)
    play(bench, clip, "clock:=true", "stamps:=recorded", "loops:=2")
    times = [tick.clock.sec * 10**9 + tick.clock.nanosec for tick in ticks]
    assert int((np.diff(times) < 0).sum()) == 1, "time goes back once, between the loops"
    assert max(times) == pytest.approx(max(stamps(rgb)), abs=30_000_000)
    assert len(times) > 20


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_an_endless_player(bench, ears, clip, number):
    rgb, _ = ears
    player = bench.execute(PLAYER, f"source:={clip}", SOON, "loops:=0")
    bench.until(lambda: len(rgb) > 20, "two loops")
    code, seconds = player.stop(number)
    assert code == 0, player.log
    assert seconds < 2
    assert "Traceback" not in player.log
    assert json.loads(player.log.strip().splitlines()[-1])["rgb_published"] >= 20


def test_it_waits_for_subscribers(bench, clip):
    from rclpy.qos import QoSProfile
    from sensor_msgs.msg import Image

    player = bench.execute(PLAYER, f"source:={clip}", SOON)
    bench.until(lambda: bench.ros.count_publishers("/saliency/depth/image"), "the player")
    bench.spin(1.0)
    heard = [bench.listen(Image, f"/saliency/{name}/image", QoSProfile(depth=200)) for name in ("rgb", "depth")]
    bench.until(lambda: not player.alive, "the end")
    assert [len(messages) for messages in heard] == [12, 12]


@pytest.mark.parametrize(
    ("parameter", "reason"),
    [
        ("source:=/nowhere/at/all", "does not exist"),
        ("rate:=-1.0", "rate"),
        ("stamps:=backwards", "live, rewind, recorded"),
        ("faults.drop_rgb:=1.5", r"faults.drop_rgb"),
    ],
)
def test_what_cannot_be_played_is_said_in_one_line(bench, clip, parameter, reason):
    parameters = [parameter] if parameter.startswith("source") else [f"source:={clip}", parameter]
    player = bench.execute(PLAYER, *parameters)
    bench.until(lambda: not player.alive, "the error")
    assert player.popen.returncode == 2
    assert reason in player.log
    assert "Traceback" not in player.log


# ------------------------------------------------------------------------------------------------ bags


def write_bag(path: Path, storage: str, frames: int = 10) -> list[bytes]:
    """A small RGB-D bag, depth two milliseconds behind rgb; the rgb messages as stored."""
    from rosbags.rosbag2 import StoragePlugin, Writer
    from rosbags.typesys import Stores, get_typestore

    store = get_typestore(Stores.ROS2_HUMBLE)
    kinds = store.types
    stored = []
    with Writer(path, version=9, storage_plugin=StoragePlugin[storage]) as writer:
        image = "sensor_msgs/msg/Image"
        rgb = writer.add_connection("/cam/color/image_raw", image, typestore=store)
        depth = writer.add_connection("/cam/depth/image_raw", image, typestore=store)
        mask = writer.add_connection("/cam/mask", image, typestore=store)
        for index in range(frames):
            at = 1_700_000_000_000_000_000 + index * 20_000_000
            for connection, encoding, width, late in (
                (rgb, "bgr8", 3, 0),
                (depth, "16UC1", 2, 2_000_000),
                (mask, "mono8", 1, 0),
            ):
                time = kinds["builtin_interfaces/msg/Time"]((at + late) // 10**9, (at + late) % 10**9)
                data = np.full(6 * 4 * width, index, np.uint8)
                header = kinds["std_msgs/msg/Header"](time, "eye")
                raw = bytes(store.serialize_cdr(kinds[image](header, 4, 6, encoding, 0, 6 * width, data), image))
                writer.write(connection, at + late + 5_000_000, raw)
                stored += [raw] if connection is rgb else []
    return stored


@pytest.mark.parametrize("storage", ["SQLITE3", "MCAP"])
def test_bag_is_played_bit_by_bit(bench, ears, tmp_path, storage):
    from rclpy.serialization import serialize_message

    stored = write_bag(tmp_path / "bag", storage)
    rgb, depth = ears
    summary = play(bench, tmp_path / "bag", "stamps:=recorded")
    assert (summary["rgb_published"], summary["depth_published"]) == (10, 10)
    assert [serialize_message(msg) for msg in rgb] == stored
    assert [late - early for early, late in zip(stamps(rgb), stamps(depth), strict=True)] == [2_000_000] * 10


def test_looped_bag_with_live_stamps_goes_on(bench, ears, tmp_path):
    write_bag(tmp_path / "bag", "MCAP")
    rgb, depth = ears
    play(bench, next((tmp_path / "bag").glob("*.mcap")), "loops:=2", "max_frames:=8")
    assert len(rgb) == 16
    steps = np.diff(stamps(rgb))
    assert (steps > 0).all()
    assert set(steps[:7]) == {20_000_000}
    assert all(d - r == 2_000_000 for r, d in zip(stamps(rgb), stamps(depth), strict=True))


def test_bag_with_two_depth_topics_asks_which(bench, tmp_path):
    write_bag(tmp_path / "bag", "MCAP")
    player = bench.execute(PLAYER, f"source:={tmp_path / 'bag'}", "depth_topic:=/cam/depht")
    bench.until(lambda: not player.alive, "the error")
    assert player.popen.returncode == 2
    assert "image topics of the bag: /cam/color/image_raw (10) bgr8, /cam/depth/image_raw (10) 16UC1, " in player.log


def test_a_summary_that_cannot_be_written_ends_it_with_one_line(bench, clip):
    player = bench.execute(PLAYER, f"source:={clip}", "wait_for_subscribers:=0", "summary:=/dev/null/run/summary.json")
    bench.until(lambda: not player.alive, "the end")
    assert player.popen.returncode == 1
    assert "summary: /dev/null/run/summary.json" in player.log
    assert "Traceback" not in player.log
