# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Tags and lines of objects.jsonl from the node's topics."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest

pytestmark = pytest.mark.ros


def test_labels_and_markers_of_one_stamp_are_a_frame(tmp_path):
    from builtin_interfaces.msg import Time
    from std_msgs.msg import Header

    from m4sam_core.objects import CameraModel, ObjectFinder
    from m4sam_ros.messages.convert import numpy_to_image
    from m4sam_ros.messages.objects import markers
    from m4sam_ros.recorder.objects import ObjectDetails
    from m4sam_ros.recorder.recording import OBJECTS_NAME, RecordedFrame, Recording

    mask, depth = np.zeros((120, 160), np.uint8), np.full((120, 160), 3.0, np.float32)
    mask[40:80, 40:100], depth[40:80, 40:100] = 255, 1.5
    mask[10:20, 120:140], depth[10:20, 120:140] = 255, 0
    found = ObjectFinder().update(mask, None, depth, 0.0, camera=CameraModel(160, 120, 120, 120, 79.5, 59.5))
    header = Header(stamp=Time(sec=3, nanosec=7), frame_id="eye")
    details = ObjectDetails()
    details.take_markers(SimpleNamespace(markers=markers(header, found.objects).markers))
    assert details.of(3 * 10**9 + 7, 0.0) is None
    details.take_labels(numpy_to_image(found.labels, "mono16", header))
    tags, record = details.of(3 * 10**9 + 7, 0.0)
    assert [(tag.id, tag.is_main, tag.text) for tag in tags] == [
        (1, True, f"1  {round(found.main.distance_m, 3):.2f} m"),
        (2, False, "2"),
    ]
    assert (record["frame_id"], record["objects"][1]["box"]) == ("eye", None)

    rgb = np.full((120, 160, 3), 90, np.uint8)
    recording = Recording(tmp_path, masks=False, video=False, sheet_tiles=1)
    recording.add(RecordedFrame(3 * 10**9 + 7, rgb, mask, "caption", tags, record))
    recording.close({})
    assert [json.loads(line) for line in (tmp_path / OBJECTS_NAME).read_text().splitlines()] == [record]
