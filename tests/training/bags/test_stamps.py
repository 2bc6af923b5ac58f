# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""A stamp of 0: the beginning of a simulator's time, or none at all."""

from __future__ import annotations

import numpy as np
import pytest

from m4sam_core.rgbd.bags.write import ImageBagWriter
from m4sam_training.bags.convert import ConvertConfig, convert_bag
from tests.training.recorded import noise_frame

STEP_NS, LOGGED_NS = 33_000_000, 1_700_000_000_000_000_000


def converted(tmp_path, stamps_ns):
    """The frames' names of a recording whose messages arrived every 33 ms, stamped so; masks on each second frame."""
    rng = np.random.default_rng(0)
    with ImageBagWriter(tmp_path / "b") as writer:
        for index, stamp_ns in enumerate(stamps_ns):
            _, rgb, depth = noise_frame(rng, index)
            log_ns = LOGGED_NS + index * STEP_NS
            writer.write_image("/cam/color", rgb, "bgr8", stamp_ns, "cam", log_ns)
            writer.write_image("/cam/depth", depth, "16UC1", stamp_ns, "cam", log_ns)
            if index % 2 == 0:
                writer.write_image("/labels", np.full((24, 32), 255, np.uint8), "mono8", stamp_ns, "cam", log_ns)
    cfg = ConvertConfig(split="train", cut="none", mask_topic="/labels")
    report = convert_bag(tmp_path / "b", "b", tmp_path / "out", cfg)
    stems, masks = (
        sorted(int(path.stem) for path in (tmp_path / "out" / "train" / "b_001" / kind).iterdir())
        for kind in ("rgb", "mask")
    )
    return stems, masks, {reason: entry["count"] for reason, entry in report.drops.items()}


def test_time_that_begins_at_zero_keeps_its_first_frame(tmp_path):
    stamps = [index * STEP_NS for index in range(6)]
    assert converted(tmp_path, stamps) == (stamps, stamps[::2], {})


def test_stamps_that_were_never_set_are_the_time_of_recording(tmp_path):
    logged = [LOGGED_NS + index * STEP_NS for index in range(6)]
    assert converted(tmp_path, [0] * 6) == (logged, logged[::2], {})


@pytest.mark.parametrize("behind_ns", [0, 2_000_000])
def test_a_first_stamp_that_was_not_set_yet_is_the_time_of_recording(tmp_path, behind_ns):
    stamps = [LOGGED_NS - behind_ns + index * STEP_NS for index in range(6)]
    assert converted(tmp_path, [0, *stamps[1:]])[0] == [LOGGED_NS, *stamps[1:]]
