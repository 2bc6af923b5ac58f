# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""objects.jsonl of a folder: a line per frame, the same however often the run was stopped."""

from __future__ import annotations

import json

import numpy as np
import pytest

from m4sam_core.host.journal import Journal
from m4sam_core.objects import CameraModel
from m4sam_core.predict_folder import JOURNAL, NOTES
from m4sam_core.predict_objects import OBJECTS_FILE, ObjectNotes, recorded_camera, write_objects
from m4sam_core.rgbd.video_yaml import VideoInfo
from tests.core.objects.scenes import K, scene

INTRINSICS = {"width": 320, "height": 240, "k": K}


class Result:
    """Of a stream whose mask is known."""

    def __init__(self, mask, depth_doubt=None):
        self.depth_doubt = depth_doubt
        self.mask, self.probability = mask, np.where(mask > 0, np.float32(0.75), np.float32(0.1))


def lines_of(notes, frames, start=0):
    """Journal lines of frames from `start` on; three frames to a scene."""
    lines = []
    for index in range(start, frames):
        mask, depth = scene((40 + 5 * index, 60, 60, 80, 1.5))
        rgb = np.full((240, 320, 3), 90, np.uint8)
        noted = notes.note(rgb, (depth * 500).astype(np.uint16), index / 15, index // 3, Result(mask))
        lines.append({"stem": str(index), "scene": index // 3, NOTES: noted})
    return lines


def test_every_frame_is_a_line_with_its_objects(tmp_path):
    notes = ObjectNotes(VideoInfo(intrinsics=INTRINSICS, frame_id="eye"), 0.002)
    with Journal(tmp_path / JOURNAL, {"kind": "run"}, lines_of(notes, 6)):
        pass
    assert write_objects(tmp_path) == 2  # the same thing in two scenes is two
    lines = [json.loads(line) for line in (tmp_path / OBJECTS_FILE).read_text().splitlines()]
    assert [line["stem"] for line in lines] == [str(index) for index in range(6)]
    assert [line["objects"][0]["id"] for line in lines] == [1, 1, 1, 2, 2, 2]
    assert {line["frame_id"] for line in lines} == {"eye"}
    assert lines[1]["stamp_ns"] == round(1e9 / 15)
    np.testing.assert_allclose([line["objects"][0]["centroid_m"][2] for line in lines], 1.5, atol=0.01)
    assert lines[0]["objects"][0]["score"] == 0.75


def test_a_resumed_folder_numbers_on():
    info = VideoInfo(intrinsics=INTRINSICS)
    whole = lines_of(ObjectNotes(info, 0.002), 9)
    resumed = ObjectNotes(info, 0.002)
    resumed.resume(whole[:6])
    assert lines_of(resumed, 9, start=6) == whole[6:]


def test_depth_that_is_not_believed_gives_no_position():
    notes, (mask, depth) = ObjectNotes(VideoInfo(intrinsics=INTRINSICS), 0.002), scene((40, 60, 60, 80, 1.5))
    rgb, depth = np.full((240, 320, 3), 90, np.uint8), (depth * 500).astype(np.uint16)
    doubted = notes.note(rgb, depth, 0.0, 0, Result(mask, "depth: is it late?"))
    believed = notes.note(rgb, depth, 0.1, 0, Result(mask))
    assert doubted["note"] == "depth: is it late?"
    assert [line["objects"][0]["centroid_m"] is None for line in (doubted, believed)] == [True, False]
    assert doubted["objects"][0]["id"] == believed["objects"][0]["id"]


def test_without_intrinsics_it_says_so():
    notes = ObjectNotes(VideoInfo(), 0.002)
    assert "no intrinsics" in notes.lack
    assert lines_of(notes, 1)[0][NOTES]["objects"][0]["centroid_m"] is None


@pytest.mark.parametrize(
    ("values", "why"),
    [({"k": K}, "width"), ({**INTRINSICS, "k": K[:4]}, "k of 4 numbers"), ({**INTRINSICS, "k": [0] * 9}, "calibrated")],
)
def test_intrinsics_that_are_none_are_named(values, why):
    camera, note = recorded_camera(VideoInfo(intrinsics=values))
    assert camera is None
    assert why in note
    assert recorded_camera(VideoInfo(intrinsics=INTRINSICS)) == (CameraModel.from_info(320, 240, K), None)
