# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Fast ways to metres and to pixels that are left, against the plain ones: not a bit may differ."""

from __future__ import annotations

import numpy as np
import pytest

from m4sam_core.objects.depth import FARTHEST_M, NEAREST_M, metres, only_where
from m4sam_core.objects.regions import find_regions
from m4sam_core.objects.things import cut_things

ODD = (0.0, -0.0, np.nan, np.inf, -np.inf, -1.0, 9.99e-4, 1e-3, 1.5, 1e3, 1000.1, 1e300)


def plain_metres(depth, unit_m):
    with np.errstate(over="ignore", invalid="ignore"):
        values = depth.astype(np.float32) * np.float32(unit_m if depth.dtype == np.uint16 else 1)
        usable = (values >= np.float32(NEAREST_M)) & (values <= np.float32(FARTHEST_M))
    if depth.dtype == np.uint16:
        usable &= depth != 65535
    return np.where(usable, values, np.float32(0))


@pytest.mark.parametrize("unit_m", [0.001, 0.0001, 0.00003, 0.25])
def test_every_count_in_metres(unit_m):
    depth = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    assert metres(depth, unit_m).tobytes() == plain_metres(depth, unit_m).tobytes()
    assert metres(depth[::3, 5:200:2], unit_m).tobytes() == plain_metres(depth[::3, 5:200:2], unit_m).tobytes()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("values", [ODD, (0.0, 1.5, 2.0)], ids=["odd", "usual"])
def test_every_kind_of_number_in_metres(dtype, values):
    with np.errstate(over="ignore"):
        depth = np.array(values).astype(dtype).repeat(7).reshape(-1, 7)
    depth.flags.writeable = False
    before = depth.tobytes()
    assert metres(depth, 0.001).tobytes() == plain_metres(depth, 0.001).tobytes()
    assert depth.tobytes() == before


@pytest.mark.parametrize(
    ("dtype", "otherwise"), [(np.uint16, 0), (np.uint16, 7), (np.float32, 0), (np.float32, np.nan), (np.uint8, 0)]
)
def test_only_where_is_where(dtype, otherwise):
    rng = np.random.default_rng(0)
    values, kept = (rng.random((41, 60)) * 200).astype(dtype)[::2, 3:], rng.random((21, 57)) < 0.4
    values.flags.writeable = False
    expected = np.where(kept, values, np.asarray(otherwise, dtype))
    found = only_where(kept, values, otherwise)
    assert found.dtype == dtype
    assert found.tobytes() == expected.tobytes()


def test_area_and_centre_of_a_thing_are_exact():
    rng = np.random.default_rng(1)
    mask = np.zeros((90, 140), np.uint8)
    mask[12:71, 30:111] = np.where(rng.random((59, 81)) < 0.97, 255, 0)
    (thing,) = cut_things(mask, find_regions(mask > 127, None, 0.2), 1, 100, 5)
    rows, columns = np.nonzero(mask)
    assert thing.area_px == len(rows)
    assert thing.centre_px == pytest.approx((columns.mean(), rows.mean()), abs=1e-9)
    np.testing.assert_array_equal(thing.inside, mask[thing.window] > 127)
