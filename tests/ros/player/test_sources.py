# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""What the player makes of folders and bags, without a graph."""

from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from m4sam_core.errors import InputError
from m4sam_core.rgbd.depth_files import read_depth
from m4sam_ros.player.player import Faults
from m4sam_ros.player.settings import FaultConfig, PlayConfig
from m4sam_ros.player.source import DEPTH, INFO, RGB
from m4sam_ros.player.sources import open_source

pytestmark = pytest.mark.ros


def write_clip(folder: Path, stems, rgb="rgb", depth="depth") -> Path:
    for name in (rgb, depth):
        (folder / name).mkdir(parents=True)
    for index, stem in enumerate(stems):
        cv2.imwrite(str(folder / rgb / f"{stem}.png"), np.full((6, 8, 3), (index, 10, 200), np.uint8))
        cv2.imwrite(str(folder / depth / f"{stem}.png"), np.full((6, 8), 1000 + index, np.uint16))
    return folder


def opened(folder: Path, **settings):
    return open_source(PlayConfig(source=str(folder), **settings))


def items(source, channel):
    return [item for item in source.items() if item.channel == channel]


def test_numbers_are_ordered_by_value(tmp_path):
    source = opened(write_clip(tmp_path, ["10", "9", "100"]), fps=10)
    assert [item.key for item in items(source, RGB)] == ["9", "10", "100"]
    assert [item.offset_ns for item in items(source, DEPTH)] == [0, 100_000_000, 200_000_000]
    assert source.period_ns == 300_000_000


def test_images_become_messages(tmp_path):
    source = opened(write_clip(tmp_path, ["a", "b"]), frame_id="eye")
    rgb = source.message(items(source, RGB)[1], 5_000_000_007)
    assert (rgb.encoding, rgb.height, rgb.width, rgb.step, rgb.header.frame_id) == ("rgb8", 6, 8, 24, "eye")
    assert (rgb.header.stamp.sec, rgb.header.stamp.nanosec) == (5, 7)
    assert list(rgb.data[:3]) == [200, 10, 1]
    depth = source.message(items(source, DEPTH)[1], 0)
    assert depth.encoding == "16UC1"
    assert (np.frombuffer(depth.data, np.uint16) == 1001).all()
    bgr = opened(tmp_path, rgb_encoding="bgr8")
    assert list(bgr.message(items(bgr, RGB)[1], 0).data[:3]) == [1, 10, 200]


def test_compressed_messages_decode_to_the_same(tmp_path):
    from m4sam_core.rgbd.compressed import compressed_to_rgb
    from m4sam_core.rgbd.compressed_depth import compressed_depth_to_numpy

    source = opened(write_clip(tmp_path, ["a"]), transport="compressed")
    assert {channel: suffix for channel, (_, suffix) in source.kinds().items()} == {
        RGB: "/compressed",
        DEPTH: "/compressedDepth",
        INFO: "",
    }
    rgb = compressed_to_rgb(source.message(items(source, RGB)[0], 0))
    assert np.abs(rgb.astype(int) - (200, 10, 0)).max() < 6
    assert (compressed_depth_to_numpy(source.message(items(source, DEPTH)[0], 0)) == 1000).all()


@pytest.mark.parametrize(("rgb", "depth"), [("RGB", "Depth"), ("color", "depth"), ("rgb", "SyntheticDepth")])
def test_folder_names_of_the_datasets(tmp_path, rgb, depth):
    assert len(items(opened(write_clip(tmp_path, "ab", rgb, depth)), RGB)) == 2


def test_frame_rate_comes_from_the_clip_unless_told(tmp_path):
    write_clip(tmp_path, "ab")
    assert opened(tmp_path).period_ns == pytest.approx(2e9 / 15, abs=2)
    (tmp_path / "video.yaml").write_text("fps: 30.0\n")
    assert opened(tmp_path).period_ns == pytest.approx(2e9 / 30, abs=2)
    assert opened(tmp_path, fps=5).period_ns == pytest.approx(2e9 / 5, abs=2)


def test_stems_that_are_stamps_give_the_timing(tmp_path):
    first = 1_700_000_000_000_000_000
    source = opened(write_clip(tmp_path, [str(first), str(first + 40_000_000), str(first + 110_000_000)]))
    assert [item.offset_ns for item in items(source, RGB)] == [0, 40_000_000, 110_000_000]
    assert [item.stamp_ns for item in items(source, RGB)] == [first, first + 40_000_000, first + 110_000_000]


def test_rgb_without_depth_is_played(tmp_path):
    write_clip(tmp_path, "abc")
    (tmp_path / "depth" / "b.png").unlink()
    (tmp_path / "rgb" / ".hidden.png").write_bytes(b"")
    source = opened(tmp_path)
    assert len(items(source, RGB)) == 3
    assert [item.key for item in items(source, DEPTH)] == ["a", "c"]


def test_max_frames(tmp_path):
    assert len(items(opened(write_clip(tmp_path, "abcd"), max_frames=3), RGB)) == 3


def test_intrinsics_of_the_clip_and_the_ideal_pinhole(tmp_path):
    write_clip(tmp_path, "a")
    source = opened(tmp_path, horizontal_fov_deg=90)
    info = source.message(items(source, INFO)[0], 0)
    assert (info.width, info.height, info.k[0], info.k[2]) == (8, 6, pytest.approx(4), 4)
    (tmp_path / "video.yaml").write_text("intrinsics: {k: [5, 0, 3, 0, 5, 2, 0, 0, 1], d: [0.1, 0, 0, 0, 0]}\n")
    source = opened(tmp_path)
    info = source.message(items(source, INFO)[0], 0)
    assert (info.k[0], info.d[0], info.p[2]) == (5, 0.1, 3)


def test_the_lens_and_size_of_the_calibration_are_those_of_the_clip(tmp_path):
    write_clip(tmp_path, "a")
    values = "width: 16, height: 12, k: [5, 0, 7, 0, 5, 5, 0, 0, 1], d: [0.1, 0, 0, 0], distortion_model: equidistant"
    (tmp_path / "video.yaml").write_text(f"intrinsics: {{{values}}}\n")
    source = opened(tmp_path)
    info = source.message(items(source, INFO)[0], 0)
    assert (info.width, info.height, info.distortion_model, len(info.d)) == (16, 12, "equidistant", 4)


def test_what_is_made_up_and_what_has_no_effect_is_said(tmp_path):
    clip = write_clip(tmp_path / "clip", "ab")
    notes = opened(clip, rgb_topic="/camera/rgb").notes
    assert "rgb_topic has no effect on a folder" in notes
    assert any("ideal pinhole of 60 degrees" in note for note in notes)
    (clip / "video.yaml").write_text("intrinsics: {k: [5, 0, 3, 0, 5, 2, 0, 0, 1]}\n")
    assert not any("pinhole" in note or "no effect" in note for note in opened(clip, fps=5).notes)
    bag = write_bag(tmp_path / "bag")
    assert [note for note in opened(bag, fps=5, frame_id="eye").notes if "no effect" in note] == [
        "fps has no effect on a bag",
        "frame_id has no effect on a bag",
    ]
    assert not opened(bag).notes


def write_bag(path: Path, truncated: int = -1, stamped: bool = True) -> Path:
    """Four frames of rgb and depth; the rgb message of that index ends early."""
    from rclpy.serialization import serialize_message
    from rosbags.rosbag2 import Writer
    from rosbags.typesys import Stores, get_typestore

    from m4sam_ros.messages.convert import numpy_to_image
    from m4sam_ros.player.source import ros_header

    pictures = {"/rgb/image": (np.zeros((6, 8, 3), np.uint8), "rgb8"), "/depth/image": (np.ones((6, 8), "u2"), "16UC1")}
    with Writer(path, version=8) as writer:
        types = get_typestore(Stores.ROS2_HUMBLE)
        for topic, (pixels, encoding) in pictures.items():
            connection = writer.add_connection(topic, "sensor_msgs/msg/Image", typestore=types)
            for index in range(4):
                at = (100 + index) * 10**9
                raw = bytes(serialize_message(numpy_to_image(pixels, encoding, ros_header(at * stamped, "eye"))))
                writer.write(connection, at, raw[:6] if topic == "/rgb/image" and index == truncated else raw)
    return path


@pytest.mark.parametrize(("index", "stamps"), [(0, [100, 101, 102, 103]), (2, [100, 101, 101, 103])])
def test_a_damaged_message_of_a_bag_is_left_out_and_told(tmp_path, index, stamps):
    source = opened(write_bag(tmp_path / "bag", truncated=index))
    played = items(source, RGB)
    assert [item.offset_ns for item in played] == [0, 10**9, 2 * 10**9, 3 * 10**9]
    with pytest.raises(InputError, match="expected a header, got 6 bytes"):
        source.message(played[index], 0)
    assert [item.stamp_ns // 10**9 for item in played] == stamps


def test_a_bag_without_stamps_is_played_whole(tmp_path):
    source = opened(write_bag(tmp_path / "bag", stamped=False))
    played = items(source, RGB)
    assert [(item.offset_ns, item.stamp_ns) for item in played] == [(index * 10**9, 0) for index in range(4)]
    assert source.message(played[3], 0)


def test_depth_files_of_every_kind(tmp_path):
    write_clip(tmp_path, ["eight", "metres", "tiff", "counts"])
    for path in (tmp_path / "depth").iterdir():
        path.unlink()
    cv2.imwrite(str(tmp_path / "depth/eight.png"), np.array([[0, 1, 255]], np.uint8))
    np.save(tmp_path / "depth/metres.npy", np.array([[0.5, np.nan]]))
    cv2.imwrite(str(tmp_path / "depth/tiff.tiff"), np.array([[1.25, 2.5]], np.float32))
    cv2.imwrite(str(tmp_path / "depth/counts.png"), np.array([[0, 65535, 10_000]], np.uint16))
    (tmp_path / "video.yaml").write_text("depth_unit_m: 0.0002\n")

    def played(**settings):
        source = opened(tmp_path, **settings)
        messages = {item.key: source.message(item, 0) for item in items(source, DEPTH)}
        kinds = {"16UC1": np.uint16, "32FC1": np.float32}
        return {name: np.frombuffer(msg.data, kinds[msg.encoding]).tolist() for name, msg in messages.items()}

    assert played() == {
        "counts": [0, 0, 2000],
        "eight": [0, 500, 5000],
        "metres": pytest.approx([0.5, np.nan], nan_ok=True),
        "tiff": [1.25, 2.5],
    }
    assert played(depth_encoding="16UC1")["metres"] == [500, 0]
    assert played(depth_encoding="32FC1")["counts"] == pytest.approx([np.nan, np.nan, 2.0], nan_ok=True)


def test_unreadable_files_are_named(tmp_path):
    write_clip(tmp_path, "ab")
    (tmp_path / "depth" / "b.png").write_bytes(b"no image")
    source = opened(tmp_path)
    with pytest.raises(InputError, match=r"b\.png: expected an image"):
        source.message(items(source, DEPTH)[1], 0)
    (tmp_path / "x.npy").write_bytes(b"no array")
    with pytest.raises(InputError, match=r"x\.npy: expected"):
        read_depth(tmp_path / "x.npy")


def test_unusable_folders_say_what_was_expected(tmp_path):
    with pytest.raises(InputError, match="source:="):
        open_source(PlayConfig())
    with pytest.raises(InputError, match="does not exist"):
        opened(tmp_path / "nowhere")
    with pytest.raises(InputError, match="expected a folder rgb"):
        opened(tmp_path)
    write_clip(tmp_path, [])
    with pytest.raises(InputError, match="got none"):
        opened(tmp_path)
    cv2.imwrite(str(tmp_path / "rgb" / "a.png"), np.zeros((2, 2, 3), np.uint8))
    with pytest.raises(InputError, match="equal stem"):
        opened(tmp_path)
    (tmp_path / "depth" / "a.exr").write_bytes(b"?")
    with pytest.raises(InputError, match=r"none in common, but 1 \.exr"):
        opened(tmp_path)
    cv2.imwrite(str(tmp_path / "depth" / "a.png"), np.ones((2, 2), np.uint16))
    assert opened(tmp_path).notes.count(f"{tmp_path / 'depth'}: 1 .exr not read, for want of a reader") == 1


@pytest.mark.parametrize("text", ["- 1", "fps: [", "fps: \xff"])
def test_broken_video_yaml(tmp_path, text):
    write_clip(tmp_path, "a")
    (tmp_path / "video.yaml").write_text(text, encoding="latin-1")
    with pytest.raises(InputError, match=r"video\.yaml"):
        opened(tmp_path)


def test_faults_are_the_same_for_the_same_seed():
    def decisions(seed):
        faults = Faults(FaultConfig(seed=seed, drop_rgb=0.3, drop_depth=0.1, jitter_s=0.01, stamp_jitter_s=0.002))
        order = [INFO, RGB, DEPTH] * 2000
        return [(faults.drops(c), faults.delay_ns(c), faults.stamp_shift_ns(c)) for c in order]

    first = decisions(1)
    assert first == decisions(1)
    assert first != decisions(2)
    assert set(first[::3]) == {(False, 0, 0)}
    dropped = Counter(drop for drop, _, _ in first[1::3])[True]
    assert 520 < dropped < 680
    assert max(delay for _, delay, _ in first) <= 10_000_000
    assert max(abs(shift) for _, _, shift in first) <= 2_000_000


def test_slower_depth_camera():
    faults = Faults(FaultConfig(depth_every=3))
    assert [faults.drops(DEPTH) for _ in range(6)] == [False, True, True, False, True, True]


def test_ros1_bag_becomes_ros2_messages(tmp_path):
    from rclpy.serialization import deserialize_message
    from rosbags.rosbag1 import Writer
    from rosbags.typesys import Stores, get_typestore
    from sensor_msgs.msg import CameraInfo, Image

    store = get_typestore(Stores.ROS1_NOETIC)
    kinds = store.types
    with Writer(tmp_path / "tum.bag") as writer:
        for topic, encoding, width in (("/camera/rgb/image_color", "bgr8", 3), ("/camera/depth/image", "32FC1", 4)):
            connection = writer.add_connection(topic, "sensor_msgs/msg/Image", typestore=store)
            for index in range(3):
                stamp = kinds["builtin_interfaces/msg/Time"](100 + index, 5)
                header = kinds["std_msgs/msg/Header"](index, stamp, "eye")
                data = np.full(2 * 4 * width, index, np.uint8)
                message = kinds["sensor_msgs/msg/Image"](header, 2, 4, encoding, 0, 4 * width, data)
                raw = store.serialize_ros1(message, "sensor_msgs/msg/Image")
                writer.write(connection, (100 + index) * 10**9, raw)
        name = "sensor_msgs/msg/CameraInfo"
        connection = writer.add_connection("/camera/rgb/camera_info", name, typestore=store)
        region = kinds["sensor_msgs/msg/RegionOfInterest"](0, 0, 0, 0, False)
        matrices = {"D": np.zeros(5), "K": np.arange(9.0), "R": np.eye(3).ravel(), "P": np.zeros(12)}
        info = kinds[name](
            header=header,
            height=2,
            width=4,
            distortion_model="plumb_bob",
            binning_x=0,
            binning_y=0,
            roi=region,
            **matrices,
        )
        writer.write(connection, 101 * 10**9, store.serialize_ros1(info, name))
    source = opened(tmp_path / "tum.bag")
    (calibration,) = items(source, INFO)
    assert list(deserialize_message(source.message(calibration, 0), CameraInfo).k) == list(range(9))
    assert source.period_ns == pytest.approx(3e9, abs=10)
    played = [deserialize_message(source.message(item, 7), Image) for item in items(source, RGB)]
    assert [(msg.encoding, msg.width, msg.data[0], msg.header.frame_id) for msg in played] == [
        ("bgr8", 4, index, "eye") for index in range(3)
    ]
    assert (played[0].header.stamp.sec, played[0].header.stamp.nanosec) == (0, 7)
    assert [item.stamp_ns for item in items(source, DEPTH)] == [(100 + index) * 10**9 + 5 for index in range(3)]


@pytest.mark.parametrize("name", ["broken.bag", "broken.mcap", "broken.db3"])
def test_file_that_is_no_bag(tmp_path, name):
    (tmp_path / name).write_bytes(b"no bag at all")
    with pytest.raises(InputError, match="expected a rosbag"):
        opened(tmp_path / name)
