# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""A video is whole or not there, also when OpenCV does not say that the disk was full."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from m4sam_core.errors import InputError
from m4sam_core.rgbd.video_file import VideoFile


def noise(height, width):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("suffix", [".mp4", ".avi"])
@pytest.mark.parametrize("frames", [1, 9])
def test_every_frame_is_in_the_file(tmp_path, suffix, frames):
    with VideoFile(tmp_path / f"a{suffix}", 15.0, 65, 48) as video:
        for _ in range(frames):
            video.add(noise(48, 65))
        video.add(noise(20, 20))  # fitted in
        assert not (tmp_path / f"a{suffix}").exists()
    capture = cv2.VideoCapture(str(tmp_path / f"a{suffix}"))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == frames + 1
    assert capture.get(cv2.CAP_PROP_FRAME_WIDTH) == 66


def test_an_exception_leaves_no_file(tmp_path):
    with pytest.raises(RuntimeError), VideoFile(tmp_path / "a.mp4", 15.0, 64, 48) as video:
        video.add(noise(48, 64))
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_was_cut_short_never_gets_its_name(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"the old one")
    with pytest.raises(InputError, match="is the disk full"), VideoFile(tmp_path / "a.mp4", 15.0, 64, 48) as video:
        for _ in range(9):
            video.add(noise(48, 64))
        video.frames += 1  # as when the last one did not reach the disk
    assert (tmp_path / "a.mp4").read_bytes() == b"the old one"
    assert len(list(tmp_path.iterdir())) == 1
