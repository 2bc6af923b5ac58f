# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Whatever comes in: no exception, no number in a pose that is not one."""

from __future__ import annotations

import json

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from m4sam_core.errors import InputError
from m4sam_core.objects import CameraModel, ObjectFinder, ObjectsConfig, as_record

LENSES = [(), (-0.3, 0.1, 0.0, 0.0, 0.0), (50.0, -900.0, 3.0, 3.0, 1e4), (1e300, 0.0, 0.0, 0.0, 0.0)]
READINGS = [0, np.nan, np.inf, -np.inf, -1.0, 1e-30, 1e-3, 0.5, 1.5, 65.535, 1e6, 3e38]


@st.composite
def frames(draw):
    """A mask, depth of any kind and size, and a camera or none."""
    height, width = draw(st.integers(1, 90)), draw(st.integers(1, 120))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    mask = np.zeros((height, width), np.uint8)
    for _ in range(draw(st.integers(0, 12))):
        top, left = rng.integers(0, height), rng.integers(0, width)
        mask[top : top + rng.integers(1, 40), left : left + rng.integers(1, 40)] = 255
    if draw(st.booleans()):
        mask[rng.random(mask.shape) < 0.1] = 255  # one-pixel things
    kind = draw(st.sampled_from(["none", "metres", "counts", "relative", "doubles", "another size"]))
    depth = None
    if kind != "none":
        shape = mask.shape if kind != "another size" else (max(1, height // 2), max(1, width // 3))
        some = draw(st.lists(st.sampled_from(READINGS), min_size=1, max_size=4))
        values = rng.choice(some, shape) + rng.normal(0, draw(st.sampled_from([0, 0.01, 1])), shape)
        with np.errstate(all="ignore"):
            dtype = {"counts": np.uint16, "relative": np.uint8, "doubles": np.float64}.get(kind, np.float32)
            depth = (
                np.nan_to_num(values * 1000).astype(dtype) if kind in ("counts", "relative") else values.astype(dtype)
            )
    camera = None
    focal = draw(st.sampled_from([0.0, 1e-6, 50.0, 500.0, 1e9, float("nan")]))
    d = draw(
        st.sampled_from([(), (-0.3, 0.1, 0.0, 0.0, 0.0), (50.0, -900.0, 3.0, 3.0, 1e4), (1e300, 0.0, 0.0, 0.0, 0.0)])
    )
    try:
        camera = CameraModel.from_info(width, height, [focal, 0, width / 2, 0, focal, height / 2, 0, 0, 1], d)
    except InputError:
        assert not focal > 0 or d
    return mask, depth, camera


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(sequence=st.lists(frames(), min_size=1, max_size=3), min_area=st.sampled_from([0.0, 0.001]))
def test_nothing_raises_and_no_pose_is_nan(sequence, min_area):
    finder = ObjectFinder(ObjectsConfig(min_area=min_area))
    for index, (mask, depth, camera) in enumerate(sequence):
        found = finder.update(mask, None, depth, float(index), camera=camera)
        json.dumps(as_record(0, "", found), allow_nan=False)  # refuses NaN and infinities
        assert len({thing.id for thing in found.objects}) == len(found.objects)
        assert all(thing.centroid_m is None or thing.centroid_m[2] > 0 for thing in found.objects)


def test_two_hundred_objects_are_two_hundred():
    mask, depth = np.zeros((480, 640), np.uint8), np.full((480, 640), 2.0, np.float32)
    for index in range(200):
        row, column = divmod(index, 20)
        mask[20 + row * 45 : 44 + row * 45, 8 + column * 31 : 28 + column * 31] = 255
    finder, camera = ObjectFinder(), CameraModel(640, 480, 500, 500, 320, 240)
    first = finder.update(mask, None, depth, 0.0, camera=camera)
    again = finder.update(mask, None, depth, 0.1, camera=camera)
    assert len(first.objects) == 200
    assert {thing.id for thing in first.objects} == {thing.id for thing in again.objects}


def test_things_at_the_border_are_said_to_be_cut_off():
    mask = np.zeros((60, 80), np.uint8)
    mask[0:20, 0:20] = mask[30:50, 30:50] = 255
    found = ObjectFinder().update(
        mask, None, np.full((60, 80), 1.0, np.float32), 0.0, camera=CameraModel(80, 60, 60, 60, 40, 30)
    )
    assert {thing.box_px[0]: thing.truncated for thing in found.objects} == {0: True, 30: False}
