# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""The one choice of topics, for play, bag and predict alike."""

from __future__ import annotations

import struct

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m4sam_core.errors import InputError
from m4sam_core.rgbd.bags.frames import Drops, read_frames
from m4sam_core.rgbd.bags.source import BagSource
from m4sam_core.rgbd.bags.topics import base_name, choose_topics
from tests.core.rgbd.bags.recordings import (
    COMPRESSED,
    IMAGE,
    STEP_NS,
    T0,
    cdr_image,
    compressed,
    humble_db3,
    pixels,
)
from tests.core.rgbd.properties import SEEDED

PNG = cv2.imencode(".png", pixels(0, "16UC1"))[1].tobytes()
JPEG = cv2.imencode(".jpg", np.full((12, 16, 3), (10, 20, 200), np.uint8))[1].tobytes()
KINDS = {
    "jpeg": lambda index: (COMPRESSED, compressed(index, JPEG, "rgb8; jpeg compressed bgr8")),
    "png depth": lambda index: (COMPRESSED, compressed(index, PNG, "16UC1; png compressed ")),
    "jpeg depth": lambda index: (COMPRESSED, compressed(index, JPEG, "16UC1; jpeg compressed ")),
    "compressedDepth": lambda index: (
        COMPRESSED,
        compressed(index, struct.pack("<iff", 0, 0, 0) + PNG, "16UC1; compressedDepth png"),
    ),
}


def recorded(folder, topics, count=3):
    rows = []
    for index in range(count):
        for place, (topic, kind) in enumerate(topics.items()):
            made = KINDS[kind](index) if kind in KINDS else (IMAGE, cdr_image(index, kind))
            rows.append((topic, made[0], T0 + index * STEP_NS + place, made[1]))
    folder.mkdir(exist_ok=True)
    file = folder / "run.db3"
    file.unlink(missing_ok=True)
    return humble_db3(file, rows)


def chosen(folder, topics, **given):
    with BagSource(recorded(folder, topics)) as source:
        choice = choose_topics(source, **given)
    return choice.rgb, choice.depth


CAMERAS = {
    "aligned before the sensor's own": (
        {
            "/c/color/image_raw": "rgb8",
            "/c/depth/image_rect_raw": "16UC1",
            "/c/aligned_depth_to_color/image_raw": "16UC1",
        },
        "/c/aligned_depth_to_color/image_raw",
    ),
    "depth that is not called depth": ({"/cam/color": "bgr8", "/cam/z16": "16UC1"}, "/cam/z16"),
    "float depth": ({"/zed/rgb/image": "rgb8", "/zed/depth/depth_registered": "32FC1"}, "/zed/depth/depth_registered"),
    "every transport": (
        {
            "/c/color/image_raw": "rgb8",
            "/c/color/image_raw/compressed": "jpeg",
            "/c/depth/image_raw": "16UC1",
            "/c/depth/image_raw/compressedDepth": "compressedDepth",
            "/c/depth/image_raw/compressed": "png depth",
        },
        "/c/depth/image_raw",
    ),
    "PNG over compressed": (
        {"/rgb/image_raw/compressed": "jpeg", "/depth_to_rgb/image_raw/compressed": "png depth"},
        "/depth_to_rgb/image_raw/compressed",
    ),
    "JPEG depth beside lossless depth": (
        {"/c/rgb": "rgb8", "/c/depth/compressed": "jpeg depth", "/c/depth/compressedDepth": "compressedDepth"},
        "/c/depth/compressedDepth",
    ),
    "infrared, masks and confidence": (
        {
            "/c/color/image_raw": "rgb8",
            "/c/infra1/image_rect_raw": "mono8",
            "/c/ir/image_raw": "mono16",
            "/c/depth/image": "16UC1",
            "/c/aligned_depth_to_infra1/image_raw": "16UC1",
            "/c/confidence/image": "16UC1",
            "/saliency/mask": "mono8",
            "/saliency/overlay": "rgb8",
        },
        "/c/depth/image",
    ),
    "a thermal camera": ({"/c/color": "rgb8", "/thermal": "mono16", "/c/z": "16UC1"}, "/c/z"),
    "a left camera": ({"/left/image_color": "rgb8", "/right/image_color": "rgb8", "/depth": "32FC1"}, "/depth"),
    "a name with right in it": ({"/upright/color": "rgb8", "/upright/depth": "16UC1"}, "/upright/depth"),
    "depth as a coloured picture beside it": (
        {"/c/color": "rgb8", "/c/depth/colorized": "rgb8", "/c/depth/raw": "16UC1"},
        "/c/depth/raw",
    ),
}


@pytest.mark.parametrize("camera", CAMERAS)
def test_cameras(tmp_path, camera):
    topics, depth = CAMERAS[camera]
    assert chosen(tmp_path, topics) == (next(iter(topics)), depth)


def test_two_cameras_are_asked_about_and_a_given_topic_finds_its_own(tmp_path):
    topics = {f"/{side}/{kind}": code for side in ("front", "rear") for kind, code in (("rgb", "rgb8"), ("z", "16UC1"))}
    with pytest.raises(InputError, match="expected one depth topic, got /front/z, /rear/z; give --depth-topic"):
        chosen(tmp_path, topics)
    assert chosen(tmp_path, topics, rgb="/rear/rgb") == ("/rear/rgb", "/rear/z")
    assert chosen(tmp_path, topics, depth="/front/z") == ("/front/rgb", "/front/z")


def test_lossy_depth_alone_is_no_depth(tmp_path):
    with pytest.raises(InputError, match="expected one depth topic, got none"):
        chosen(tmp_path, {"/c/rgb": "rgb8", "/c/depth/compressed": "jpeg depth"})


def test_png_depth_is_read_bit_for_bit(tmp_path):
    topics = {"/rgb/image_raw/compressed": "jpeg", "/depth/compressed": "png depth"}
    with BagSource(recorded(tmp_path, topics)) as source:
        frames = list(read_frames(source, choose_topics(source), Drops()))
    assert len(frames) == 3
    for frame in frames:
        np.testing.assert_array_equal(frame.depth, pixels(0, "16UC1"))


@settings(SEEDED, max_examples=30)
@given(
    st.sets(st.sampled_from(["", "/compressed"]), min_size=1),
    st.sets(st.sampled_from(["", "/compressed", "/compressedDepth"]), min_size=1),
    st.sampled_from(["/camera", "/a/b/c", "/robot1/head_camera"]),
    st.sampled_from(["depth/image", "z16", "aligned_depth_to_color/image_raw"]),
)
def test_one_camera_is_one_camera_whatever_was_recorded_of_it(tmp_path, colour, depth, namespace, name):
    rgb_kinds = {"": "rgb8", "/compressed": "jpeg"}
    depth_kinds = {"": "16UC1", "/compressed": "png depth", "/compressedDepth": "compressedDepth"}
    topics = {f"{namespace}/color/image_raw{t}": rgb_kinds[t] for t in sorted(colour)}
    topics |= {f"{namespace}/{name}{t}": depth_kinds[t] for t in sorted(depth)}
    rgb, z = chosen(tmp_path, topics)
    assert base_name(rgb) == f"{namespace}/color/image_raw"
    assert base_name(z) == f"{namespace}/{name}"
    assert ("" in colour) == (rgb == base_name(rgb))
    assert ("" in depth) == (z == base_name(z))
