# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""The files of a recording, without a graph."""

import json

import cv2
import numpy as np
import pytest

from m4sam_core.errors import InputError
from m4sam_ros.recorder.recording import RecordedFrame, Recording

pytestmark = pytest.mark.ros
PERIOD_NS = 50_000_000


def frame(index: int, size=(48, 64), rgb: bool = True) -> RecordedFrame:
    mask = np.zeros(size, np.uint8)
    mask[10:20, index : index + 10] = 255
    return RecordedFrame(index * PERIOD_NS, np.full((*size, 3), 90, np.uint8) if rgb else None, mask, f"{index}")


def video(path):
    capture = cv2.VideoCapture(str(path))
    shapes = []
    while (read := capture.read())[0]:
        shapes.append(read[1].shape[:2])
    return capture.get(cv2.CAP_PROP_FPS), shapes


@pytest.mark.parametrize("count", [1, 5, 40])
def test_every_file_is_there_and_whole(tmp_path, count):
    recording = Recording(tmp_path / "out", sheet_tiles=6)
    for index in range(count):
        recording.add(frame(index % 50))
    recording.close({"frames": count})
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["contact_sheet.png", "masks", "overlay.mp4", "summary.json"]
    fps, shapes = video(tmp_path / "out" / "overlay.mp4")
    assert shapes == [(48, 64)] * count
    assert fps == pytest.approx(20 if count > 1 else 15)
    mask = cv2.imread(str(tmp_path / "out" / "masks" / "0.png"), cv2.IMREAD_UNCHANGED)
    assert (mask == frame(0).mask).all()
    assert json.loads((tmp_path / "out" / "summary.json").read_text()) == {"frames": count}


def test_sheet_is_spread_over_the_whole_recording(tmp_path):
    recording = Recording(tmp_path, masks=False, video=False, sheet_tiles=4)
    for index in range(103):
        rgb = np.full((24, 32, 3), index, np.uint8)
        recording.add(RecordedFrame(index, rgb, np.zeros((24, 32), np.uint8), ""))
    recording.close({})
    sheet = cv2.imread(str(tmp_path / "contact_sheet.png"))
    levels = [int(sheet[100, 6 + 160 + tile * 326, 0]) for tile in range(4)]
    assert levels == sorted(levels)
    assert levels[0] == 0
    assert levels[-1] >= 80


def test_odd_and_changing_sizes_fit_the_first(tmp_path):
    recording = Recording(tmp_path, masks=False)
    for size in ((47, 63), (47, 63), (96, 128), (30, 90)):
        recording.add(frame(0, size))
    recording.close({})
    assert video(tmp_path / "overlay.mp4")[1] == [(48, 64)] * 4


def test_masks_without_their_image_are_kept_and_counted(tmp_path):
    recording = Recording(tmp_path)
    recording.add(frame(0, rgb=False))
    recording.close({})
    assert (recording.frames, recording.without_rgb) == (1, 1)
    assert [path.name for path in (tmp_path / "masks").iterdir()] == ["0.png"]
    assert not (tmp_path / "overlay.mp4").exists()


def test_an_earlier_recording_is_replaced(tmp_path):
    for count in (6, 2):
        recording = Recording(tmp_path)
        assert not (tmp_path / "summary.json").exists()
        for index in range(count):
            recording.add(frame(index))
        recording.close({})
    assert len(list((tmp_path / "masks").iterdir())) == 2


def test_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="out: expected a folder"):
        Recording(tmp_path / "file" / "out")


def test_masks_that_no_recorder_wrote_stay(tmp_path):
    (tmp_path / "masks").mkdir()
    cv2.imwrite(str(tmp_path / "masks" / "0001.png"), frame(0).mask)
    with pytest.raises(InputError, match="expected a new folder or an earlier recording"):
        Recording(tmp_path)
    (tmp_path / "overlay.mp4").touch()
    (tmp_path / "rgb").mkdir()
    with pytest.raises(InputError, match="beside rgb"):
        Recording(tmp_path)
    assert (tmp_path / "masks" / "0001.png").exists()
    (tmp_path / "rgb").rmdir()
    Recording(tmp_path)


def test_one_stamp_twice_is_counted(tmp_path):
    recording = Recording(tmp_path)
    for index in (0, 1, 2, 0, 1):
        recording.add(frame(index))
    assert (recording.frames, recording.replaced) == (5, 2)
