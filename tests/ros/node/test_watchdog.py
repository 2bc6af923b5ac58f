# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""The one line that says why nothing comes."""

from __future__ import annotations

import re

import pytest

from m4sam_ros.node.reasons import Facts, InputFacts, why, why_no_depth, why_no_mask, why_no_time


def facts(rgb=None, depth=None, **changes):
    inputs = {
        "rgb": {"topic": "/cam/rgb", "publishers": 1, "received": 150} | (rgb or {}),
        "depth": {"topic": "/cam/depth", "publishers": 1, "received": 150} | (depth or {}),
    }
    return Facts(rgb=InputFacts(**inputs["rgb"]), depth=InputFacts(**inputs["depth"]), **changes)


CASES = {
    "no publisher": ({"rgb": {"publishers": 0, "received": 0}}, "no publisher on /cam/rgb; start the camera or remap"),
    "no message": ({"rgb": {"received": 0}}, r"1 publisher\(s\) on /cam/rgb but no message; is the camera streaming"),
    "no clock": ({"rgb": {"received": 0}, "clock": why_no_time(0, -1)}, "/clock is silent while use_sim_time is set"),
    "paused": (
        {"rgb": {"received": 0}, "clock": why_no_time(5 * 10**9, 5 * 10**9)},
        r"but no message, and simulated time stands still at 5\.000 s; is the simulation paused",
    ),
    "paused camera": (
        {"rgb": {"late": 150}, "clock": why_no_time(5 * 10**9, 5 * 10**9)},
        r"stamps of /cam/rgb do not advance, and simulated time stands still at 5\.000 s",
    ),
    "qos": (
        {"rgb": {"received": 0, "incompatible_policy": "reliability"}},
        "QoS mismatch on /cam/rgb: its publisher's reliability .* set qos.reliability:=auto",
    ),
    "unusable": (
        {"rgb": {"bad": 150, "last_error": "encoding: expected x"}},
        "every message on /cam/rgb .* encoding: expected x",
    ),
    "frozen stamps": ({"rgb": {"late": 150}}, "stamps of /cam/rgb do not advance"),
    "model fails": ({"model_error": "cuda:0: out of memory"}, "the model fails: cuda:0: out of memory"),
    "slow model": ({"busy_s": 6.2}, "busy with one frame for 6.2 s"),
    "depth silent": (
        {"depth": {"publishers": 0, "received": 0}, "missing_depth": "drop"},
        "no publisher on /cam/depth",
    ),
    "tolerance": (
        {"missing_depth": "drop", "tolerance_s": 0.0166, "nearest_miss_s": 0.031},
        "no pairs within the tolerance of 17 ms, the nearest depth is 31 ms away; set sync.tolerance_s",
    ),
    "two clocks": (
        {"missing_depth": "drop", "tolerance_s": 0.02, "nearest_miss_s": 1.7e9},
        "the nearest depth is 1700000000 s away; are both stamped by the same clock",
    ),
    "no pairs yet": ({"missing_depth": "drop"}, "no depth message has come near"),
    "dropped": ({"drops": {"too_old": 140, "busy": 10}}, r"every frame was dropped \(10 busy, 140 too_old\)"),
}


@pytest.mark.parametrize("case", CASES)
def test_silence_is_explained_in_one_line(case):
    changes, pattern = CASES[case]
    line = why_no_mask(facts(**changes))
    assert line.startswith("no mask: ")
    assert "\n" not in line

    assert re.search(pattern, line), line


def test_time_that_runs_either_way_is_no_problem():
    assert [why_no_time(now, 7) for now in (1, 6, 8)] == [""] * 3


def test_nothing_to_say_while_masks_come_or_are_not_wanted():
    assert why_no_mask(facts(masks=1)) is None
    assert why_no_mask(facts(enabled=False)) is None
    assert why_no_depth(facts(masks=1)) is None
    assert why_no_depth(facts(masks=0)) is None


def test_masks_without_depth_are_explained():
    assert "no publisher on /cam/depth" in why_no_depth(facts(masks=9, depth={"publishers": 0, "received": 0}))
    line = why_no_depth(facts(masks=9, depth_note="depth is 320x240, rgb 640x480"))
    assert "depth is 320x240, rgb 640x480" in line
    assert "every message on /cam/depth is unusable" in why_no_depth(facts(masks=9, depth={"bad": 150}))


def test_depth_by_another_clock_is_told_as_one():
    line = why_no_depth(facts(masks=9, unpaired=9, depth_note="no depth", tolerance_s=0.033, nearest_miss_s=3.0))
    assert line == (
        "masks from rgb alone: no pairs within the tolerance of 33 ms, the nearest depth is 3000 ms away; "
        "are both stamped by the same clock?"
    )
    assert "registered" in why_no_depth(facts(masks=9, unpaired=2, depth_note="not registered"))


def test_many_unusable_messages_are_told_though_masks_come():
    line = why(facts(masks=9, depth={"bad": 60, "last_error": "/cam/depth step: expected 1280"}))
    assert line == "many messages on /cam/depth are unusable: /cam/depth step: expected 1280"
    assert why(facts(masks=9, depth={"bad": 150})).startswith("masks from rgb alone: every message on /cam/depth")
    assert why(facts(masks=9, depth={"bad": 3})) is None


def test_one_topic_for_both_inputs_and_doubtful_images_are_told():
    assert "both read from /ir; remap" in why(facts(masks=9, rgb={"topic": "/ir"}, depth={"topic": "/ir"}))
    assert why(facts(masks=9, doubt="/cam/rgb step: odd")) == "/cam/rgb step: odd"


def test_pictures_of_nothing_are_told_before_missing_depth():
    line = "/cam/rgb: rgb: nothing can be seen"
    assert why(facts(masks=9, blank_rgb=line, depth={"publishers": 0, "received": 0})) == line
    assert why(facts(masks=0, blank_rgb=line)) != line


def test_a_camera_that_hangs_is_told_before_missing_depth():
    line = "/cam/rgb: the same image for 9 s"
    assert why(facts(masks=9, frozen=line, depth={"publishers": 0, "received": 0})) == line


def test_two_cameras_under_one_name_are_suspected():
    line = why(facts(masks=9, time_jumps=40, depth_note="outlines do not match", rgb={"publishers": 2}))
    assert line.startswith("2 publishers on /cam/rgb: two cameras or players share the name")


def test_unsteady_stamps_are_told():
    assert "jumped 40 times in 5 s; does the driver stamp" in why(facts(masks=9, time_jumps=40))
    line = why(facts(masks=9, rgb={"late": 60}))
    assert "the stamps of /cam/rgb go back and forth: 60 of 150 messages are older" in line
    assert why(facts(masks=9, time_jumps=2, rgb={"late": 9})) is None


def test_a_memory_that_never_lives_is_told_with_its_cause():
    text = {"frame_id": "frame_id changes between 'a' and 'b'", "picture": "cut"}
    line = why(facts(masks=40, new_scenes={"frame_id": 20, "picture": 1}, scene_text=text))
    assert line.startswith("the scene begins anew 252 times a minute: frame_id changes between 'a' and 'b'")
    assert why(facts(masks=40, new_scenes={"picture": 2}, scene_text=text)) is None  # a film with cuts
    assert why(facts(masks=75, new_scenes={"picture": 4}, scene_text=text)) is None


def test_two_nodes_of_one_name_are_told():
    line = why(facts(masks=40, mask_topic="/saliency/mask", mask_publishers=2))
    assert line.startswith("2 publishers of /saliency/mask: another node has the same name")


def test_a_topic_of_another_type_is_no_silent_camera():
    kinds = {"kind": "sensor_msgs/msg/Image", "foreign_type": "sensor_msgs/msg/CompressedImage", "received": 0}
    line = why(facts(rgb={**kinds, "topic": "/cam/image_raw/compressed"}))
    assert "carries sensor_msgs/msg/CompressedImage, the node reads sensor_msgs/msg/Image" in line
    assert "set image_transport:=compressed and remap the input to /cam/image_raw" in line
    line = why(facts(rgb={**kinds, "topic": "/points", "foreign_type": "sensor_msgs/msg/PointCloud2"}))
    assert "remap the input to another topic" in line


def test_what_hurts_more_is_told_first():
    both = facts(masks=9, camera_info="camera_info: wrong", depth={"publishers": 0, "received": 0})
    assert why(both).startswith("masks from rgb alone")
    assert why(facts(masks=9, camera_info="camera_info: wrong")) == "camera_info: wrong"


def test_the_same_with_other_figures_is_no_new_line():
    from m4sam_ros.node.watchdog import REPEAT_S, Repeats

    repeats = Repeats()
    near = ["the nearest depth is 41.5 ms away", "the nearest depth is 38 ms away"]
    lines = [*near, "no camera on /cam1/rgb", "no camera on /cam2/rgb"]
    assert [repeats.due(line, 1.0 + index) for index, line in enumerate(lines)] == [True, False, True, True]
    assert not repeats.due(lines[3], 4.0 + REPEAT_S - 0.1)
    assert repeats.due(lines[3], 4.0 + REPEAT_S)
    assert not repeats.due(None, 5.0 + REPEAT_S)
    assert repeats.due(lines[3], 6.0 + REPEAT_S)
