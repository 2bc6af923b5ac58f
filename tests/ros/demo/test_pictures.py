# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""`make pictures`'s program: a clip through the real node over DDS, and what its messages look like."""

from __future__ import annotations

import subprocess
import sys

import cv2
import numpy as np
import pytest
import yaml

pytestmark = pytest.mark.ros

HEIGHT, WIDTH = 120, 160
SQUARE = (slice(30, 80), slice(40, 100))


@pytest.fixture
def clip(tmp_path):
    folder = tmp_path / "clip"
    for name in ("rgb", "depth"):
        (folder / name).mkdir(parents=True)
    rgb, depth = np.full((HEIGHT, WIDTH, 3), 90, np.uint8), np.full((HEIGHT, WIDTH), 3000, np.uint16)
    rgb[SQUARE], depth[SQUARE] = (40, 40, 250), 1000
    depth[:10] = 4000
    for index in range(20):
        cv2.imwrite(str(folder / "rgb" / f"{index:04d}.png"), rgb)
        cv2.imwrite(str(folder / "depth" / f"{index:04d}.png"), depth)
    k = [150.0, 0.0, 79.5, 0.0, 150.0, 59.5, 0.0, 0.0, 1.0]
    about = {"fps": 15, "frame_id": "camera", "intrinsics": {"width": WIDTH, "height": HEIGHT, "k": k}}
    (folder / "video.yaml").write_text(yaml.safe_dump(about))
    return folder


def pictures(ros_env, *arguments):
    command = [sys.executable, "-m", "m4sam_ros.demo.pictures", "--model", "identity", *map(str, arguments)]
    return subprocess.run(command, env=ros_env, capture_output=True, text=True, timeout=120, check=False)


def test_every_consumer_has_its_picture(clip, ros_env, tmp_path):
    out = tmp_path / "out"
    shown = pictures(ros_env, "--clip", clip, "--out", out, "--rate", "0.5")
    assert shown.returncode == 0, shown.stderr
    drawn = {path.stem.removeprefix("for_"): cv2.imread(str(path)) for path in out.iterdir()}
    assert set(drawn) == {"follow", "bundle", "grasp", "costmap", "slam"}
    left, right = np.array_split(drawn["slam"], 2, axis=1)
    middle = (slice(120, 160), slice(150, 200))
    assert left[middle].max() > 100
    assert right[middle].max() < 40  # the object is gone from depth_background
    colours = np.array_split(drawn["grasp"], 2, axis=1)[0]
    red = (colours[..., 2] > 150) & (colours[..., 0] < 120)
    assert 0.02 < red.mean() < 0.9  # the square's points and nothing else of the picture
    assert drawn["follow"].shape[:2] == (480, 640)


def test_a_clip_in_which_nothing_stands_out_is_named(clip, ros_env, tmp_path):
    for path in (clip / "depth").iterdir():
        cv2.imwrite(str(path), np.zeros((HEIGHT, WIDTH), np.uint16))
    shown = pictures(ros_env, "--clip", clip, "--out", tmp_path / "out", "--rate", "1.0")
    assert shown.returncode == 1
    assert "every output of a frame" in shown.stderr
    assert not (tmp_path / "out").exists()
