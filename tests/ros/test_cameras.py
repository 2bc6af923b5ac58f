# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Camera presets: each is valid, and a broken one says what is wrong."""

from pathlib import Path

import pytest
import yaml

from m4sam_core.errors import ConfigError
from m4sam_ros.cameras import known_cameras, load_camera, markdown_table

REPO = Path(__file__).resolve().parents[2]
CAMERAS = ("azure_kinect", "gazebo", "oak", "orbbec", "realsense", "tum", "zed")
# What the drivers' own documentation says (docs/cameras.md).
TOPICS = {
    "realsense": ("/camera/camera/color/image_raw", "/camera/camera/aligned_depth_to_color/image_raw"),
    "orbbec": ("/camera/color/image_raw", "/camera/depth/image_raw"),
    "oak": ("/oak/rgb/image_raw", "/oak/stereo/image_raw"),
    "zed": ("/zed/zed_node/rgb/color/rect/image", "/zed/zed_node/depth/depth_registered"),
    "azure_kinect": ("/rgb/image_raw", "/depth_to_rgb/image_raw"),
    "gazebo": ("/rgbd_camera/image", "/rgbd_camera/depth_image"),
    "tum": ("/camera/rgb/image_color", "/camera/depth/image"),
}


def test_the_cameras_there_are():
    assert known_cameras() == CAMERAS


@pytest.mark.parametrize("name", CAMERAS)
def test_preset_is_valid_and_names_the_drivers_topics(name):
    preset = load_camera(name)
    assert (preset.topics.rgb, preset.topics.depth) == TOPICS[name]


def test_two_cameras_of_a_kind_get_topics_of_their_own():
    preset = load_camera("realsense")
    assert preset.topics_of("front").rgb == "/front/camera/color/image_raw"
    assert preset.topics_of("front") != preset.topics_of("rear")
    assert preset.topics_of() == preset.topics


def test_unknown_camera_lists_the_known_ones():
    with pytest.raises(ConfigError, match=r"azure_kinect, gazebo, .*got 'webcam'"):
        load_camera("webcam")


def test_a_name_is_no_path():
    with pytest.raises(ConfigError, match="expected one of"):
        load_camera("../saliency")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"topics": {"rgb": "camera/rgb", "depth": "/depth"}}, r"topics\.rgb.*absolute topic"),
        ({"topics": {"rgb": "/rgb"}}, r"topics\.depth.*required"),
        ({"encodings": {"rgb": ["rgb9"], "depth": ["16UC1"]}}, "rgb9"),
        ({"depth_unit": "metres"}, "depth in metres: expected 32FC1"),
        ({"parameters": {"threshold": 3.0}}, r"parameters.*threshold"),
        ({"parameters": {"depth.max_mm": 3.0}}, r"max_mm"),
        ({"colour": "red"}, "colour: unknown setting"),
        ({"driver_note": ""}, "driver_note"),
    ],
)
def test_broken_preset_names_the_field(tmp_path, change, reason):
    values = yaml.safe_load((REPO / "config/cameras/orbbec.yaml").read_text())
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({**values, **change}))
    with pytest.raises(ConfigError, match=reason):
        load_camera("mine", tmp_path)


@pytest.mark.parametrize("text", ["- a\n- b\n", "topics: [1, 2\n", ""])
def test_file_that_is_no_mapping(tmp_path, text):
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"mine\.yaml: (expected|name: Field required)"):
        load_camera("mine", tmp_path)


def test_docs_show_every_preset():
    assert markdown_table() in (REPO / "docs" / "cameras.md").read_text()
