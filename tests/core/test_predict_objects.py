# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""objects.jsonl of a folder: a line per frame, the same however often the run was stopped."""

from __future__ import annotations

import json

import numpy as np
import pytest
import yaml

from m4sam_core.host.journal import Journal
from m4sam_core.objects import CameraModel
from m4sam_core.predict_folder import JOURNAL, list_frames
from m4sam_core.predict_objects import OBJECTS_FILE, recorded_camera, write_objects
from m4sam_core.rgbd.image_files import write_png
from m4sam_core.rgbd.video_yaml import VideoInfo, read_video_yaml
from tests.core.objects.scenes import K, scene

INTRINSICS = {"width": 320, "height": 240, "k": K}


@pytest.fixture
def predicted(tmp_path):
    """A clip of six frames in two scenes, with its masks."""
    for name in ("rgb", "depth", "out"):
        (tmp_path / name).mkdir()
    lines = []
    for index in range(6):
        mask, depth = scene((40 + 5 * index, 60, 60, 80, 1.5))
        write_png(tmp_path / "rgb" / f"{index}.png", np.full((240, 320, 3), 90, np.uint8))
        write_png(tmp_path / "depth" / f"{index}.png", (depth * 500).astype(np.uint16))
        write_png(tmp_path / "out" / f"{index}.png", mask)
        lines.append({"stem": str(index), "scene": index // 3})
    with Journal(tmp_path / "out" / JOURNAL, {"kind": "run"}, lines):
        pass
    (tmp_path / "video.yaml").write_text(yaml.safe_dump({"intrinsics": INTRINSICS, "frame_id": "eye"}))
    return tmp_path


def write(folder, info=None):
    info = info or read_video_yaml(folder / "video.yaml")
    result = write_objects(list_frames(folder / "rgb", folder / "depth"), folder / "out", 15.0, info, 0.002, "plain")
    return result, [json.loads(line) for line in (folder / "out" / OBJECTS_FILE).read_text().splitlines()]


def test_every_frame_is_a_line_with_its_objects(predicted):
    (count, note), lines = write(predicted)
    assert (count, note) == (2, None)  # the same thing in two scenes is two
    assert [line["stem"] for line in lines] == [str(index) for index in range(6)]
    assert [line["objects"][0]["id"] for line in lines] == [1, 1, 1, 2, 2, 2]
    assert {line["frame_id"] for line in lines} == {"eye"}
    assert lines[1]["stamp_ns"] == round(1e9 / 15)
    np.testing.assert_allclose([line["objects"][0]["centroid_m"][2] for line in lines], 1.5, atol=0.01)
    assert lines[0]["objects"][0]["score"] is None


def test_without_intrinsics_it_says_so(predicted):
    (_, note), lines = write(predicted, VideoInfo())
    assert "no intrinsics" in note
    assert lines[0]["objects"][0]["centroid_m"] is None


@pytest.mark.parametrize(
    ("values", "why"),
    [({"k": K}, "width"), ({**INTRINSICS, "k": K[:4]}, "k of 4 numbers"), ({**INTRINSICS, "k": [0] * 9}, "calibrated")],
)
def test_intrinsics_that_are_none_are_named(values, why):
    camera, note = recorded_camera(VideoInfo(intrinsics=values))
    assert camera is None
    assert why in note
    assert recorded_camera(VideoInfo(intrinsics=INTRINSICS)) == (CameraModel.from_info(320, 240, K), None)
