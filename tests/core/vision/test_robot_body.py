# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""The robot's own body is found as what stays in its place (docs/node.md)."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from m4sam_core.cli.main import main
from m4sam_core.errors import InputError
from m4sam_core.rgbd.image_files import read_grey, write_png
from m4sam_core.vision.robot_body import find_robot_body

HEIGHT, WIDTH = 240, 320


def truth():
    body = np.zeros((HEIGHT, WIDTH), np.uint8)
    cv2.rectangle(body, (90, 170), (125, HEIGHT), 255, -1)
    cv2.rectangle(body, (200, 180), (230, HEIGHT), 255, -1)
    return body


def drive(frames=20, speed=7, seed=0, body=None):
    """A textured world that moves past, behind two fingers that do not, with a camera's noise."""
    rng = np.random.default_rng(seed)
    world = cv2.resize(rng.integers(0, 256, (40, 130, 3), dtype=np.uint8), (1040, 320), interpolation=cv2.INTER_CUBIC)
    body = truth() if body is None else body
    for index in range(frames):
        left = index * speed
        rgb = world[20 : 20 + HEIGHT, left : left + WIDTH].astype(np.float32)
        rgb[body > 0] = 60
        yield np.clip(rgb + rng.normal(0, 3, rgb.shape), 0, 255).astype(np.uint8)


def overlap(mask, other):
    return np.logical_and(mask, other).sum() / np.logical_or(mask, other).sum()


@pytest.mark.parametrize("seed", range(3))
def test_fingers_at_the_border_are_found(seed):
    mask = find_robot_body(drive(seed=seed))
    assert mask[truth() > 0].mean() > 0.99 * 255, "nothing of the robot is left"
    assert overlap(mask, truth()) > 0.7, "and little else is taken"


def test_a_camera_that_sees_no_robot_gives_an_empty_mask():
    assert not find_robot_body(drive(body=np.zeros((HEIGHT, WIDTH), np.uint8))).any()


def test_what_stays_in_the_middle_is_no_robot():
    carried = np.zeros((HEIGHT, WIDTH), np.uint8)
    carried[90:150, 130:190] = 255
    assert not find_robot_body(drive(body=carried)).any()


def test_a_still_camera_and_a_short_recording_are_refused():
    with pytest.raises(InputError, match="camera that moves"):
        find_robot_body(drive(speed=0))
    with pytest.raises(InputError, match="at least 8"):
        find_robot_body(drive(frames=7))


def test_the_command_reads_a_folder(tmp_path, capsys):
    (tmp_path / "rgb").mkdir()
    for index, rgb in enumerate(drive()):
        write_png(tmp_path / "rgb" / f"{index}.png", rgb)
    out, look = tmp_path / "robot.png", tmp_path / "look.png"
    assert main(["robot-mask", str(tmp_path / "rgb"), "--out", str(out), "--overlay", str(look)]) == 0
    assert "20 frames" in capsys.readouterr().out
    assert overlap(read_grey(out), truth()) > 0.7
    assert look.is_file()
