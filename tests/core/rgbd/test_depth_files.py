# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""One meaning of a depth file's numbers, and a word where they cannot mean it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from m4sam_core.config import DepthConfig
from m4sam_core.errors import InputError
from m4sam_core.rgbd.depth_files import DEPTH_CODINGS, depth_size, look_at_depth, read_depth, write_depth
from m4sam_core.rgbd.depth_values import fit_depth, from_metres, has_reading, in_millimetres, same_shape, to_metres
from m4sam_core.vision.depth import prepare_depth
from tests.core.rgbd.properties import SEEDED
from tests.core.vision.depth_maps import unit_map

RAMP = np.tile(np.arange(1, 241, dtype=np.uint16) * 250, (16, 1))


def save(path, array):
    cv2.imwrite(str(path), array)
    return path


def test_what_is_no_reading():
    assert has_reading(np.array([0, 1, 65534, 65535], np.uint16)).tolist() == [False, True, True, False]
    assert has_reading(np.array([0, 1, 255], np.uint8)).tolist() == [False, True, True]
    assert has_reading(np.array([-1, 0, np.nan, np.inf, 65535.0])).tolist() == [False, False, False, False, True]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.int32, np.uint32, np.int64])
def test_arrays_of_integers_are_counts(tmp_path, dtype):
    np.save(tmp_path / "d.npy", np.array([[0, 1, 100]], dtype))
    depth = read_depth(tmp_path / "d.npy")
    assert depth.tolist() == [[0, 1, 100]]
    assert depth.dtype == (np.uint8 if dtype == np.uint8 else np.uint16)


def test_an_array_of_one_map_is_that_map(tmp_path):
    wanted = np.arange(12, dtype=np.uint16).reshape(3, 4)
    for shape in ((3, 4), (1, 3, 4), (3, 4, 1)):
        np.save(tmp_path / "d.npy", wanted.reshape(shape))
        np.testing.assert_array_equal(read_depth(tmp_path / "d.npy"), wanted)
        assert depth_size(tmp_path / "d.npy") == (3, 4)


def test_negative_counts_are_no_reading_and_large_ones_are_refused(tmp_path):
    np.save(tmp_path / "d.npy", np.array([[-5, 7]]))
    assert read_depth(tmp_path / "d.npy").tolist() == [[0, 7]]
    np.save(tmp_path / "d.npy", np.array([[70_000]]))
    with pytest.raises(InputError, match="counts up to 65535"):
        read_depth(tmp_path / "d.npy")


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_arrays_of_floats_are_metres(tmp_path, dtype):
    np.save(tmp_path / "d.npy", np.array([[[1.5], [0.25]]], dtype))
    depth = read_depth(tmp_path / "d.npy")
    assert depth.dtype == np.float32
    assert depth.tolist() == [[1.5, 0.25]]


@pytest.mark.parametrize("most", [255, 2047, 10_000, 65535])
def test_portable_grey_maps_are_counts_whatever_their_range(tmp_path, most):
    counts = np.linspace(0, most, 12).astype(np.uint16).reshape(3, 4)
    samples = counts.astype(np.uint8) if most < 256 else counts.astype(">u2")
    (tmp_path / "d.pgm").write_bytes(b"P5\n# a camera's\n4 3\n%d\n" % most + samples.tobytes())
    np.testing.assert_array_equal(read_depth(tmp_path / "d.pgm"), counts)
    (tmp_path / "half.pgm").write_bytes((tmp_path / "d.pgm").read_bytes()[:-5])
    with pytest.raises(InputError, match=r"half\.pgm"):
        read_depth(tmp_path / "half.pgm")


@pytest.mark.parametrize("content", [b"", b"no array", np.zeros(3).tobytes()])
def test_what_is_no_array_is_named(tmp_path, content):
    (tmp_path / "d.npy").write_bytes(content)
    with pytest.raises(InputError, match=r"d\.npy: expected a depth array"):
        read_depth(tmp_path / "d.npy")


def test_float_depth_in_millimetres_is_noticed(tmp_path):
    path = save(tmp_path / "d.tiff", RAMP.astype(np.float32))
    assert look_at_depth(path).flaw == "float depth is not in metres: median 30125"
    assert look_at_depth(save(tmp_path / "m.tiff", RAMP.astype(np.float32) / 10_000)).flaw is None
    assert look_at_depth(save(tmp_path / "0.png", RAMP * 0)).flaw == "depth without any reading"


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_a_colour_map_is_noticed_named_and_undone(tmp_path, suffix):
    near_to_far = (RAMP // 250).astype(np.uint8)
    path = save(tmp_path / f"d.{suffix}", cv2.applyColorMap(near_to_far, cv2.COLORMAP_JET))
    flaw = look_at_depth(path).flaw
    assert flaw is not None
    assert "colour picture" in flaw
    assert "JET" in flaw
    assert np.abs(read_depth(path, "jet").astype(int) - near_to_far).max() <= 8
    assert np.abs(256 - read_depth(path, "jet_near_red").astype(int) - near_to_far - 1).max() <= 8
    assert look_at_depth(path, "jet").flaw is None


@pytest.mark.parametrize("coding", [name for name in DEPTH_CODINGS if name.startswith("packed")])
def test_packed_depth_is_noticed_and_undone(tmp_path, coding):
    rgb = np.zeros((*RAMP.shape, 3), np.uint8)
    high, low = ("rgb".index(letter) for letter in coding[-2:])
    rgb[..., high], rgb[..., low] = RAMP >> 8, RAMP & 255
    path = save(tmp_path / "d.png", rgb[..., ::-1])
    flaw = look_at_depth(path).flaw
    assert flaw is not None
    assert "packed" in flaw
    np.testing.assert_array_equal(read_depth(path, coding), RAMP)


def test_near_is_bright_on_request(tmp_path):
    path = save(tmp_path / "d.png", np.array([[0, 255, 1]], np.uint8))
    assert read_depth(path, "near_bright").tolist() == [[0, 1, 255]]
    path = save(tmp_path / "d16.png", np.array([[0, 65535, 65534, 1]], np.uint16))
    assert read_depth(path, "near_bright").tolist() == [[0, 0, 1, 65534]]


def test_a_coding_that_a_file_cannot_have_is_refused(tmp_path):
    with pytest.raises(InputError, match="depth coding jet"):
        read_depth(save(tmp_path / "d.png", RAMP), "jet")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_depth_is_written_and_read_without_loss(tmp_path, dtype):
    depth = (RAMP // 250).astype(dtype)
    write_depth(tmp_path / "1.5", depth)
    (written,) = tmp_path.iterdir()
    np.testing.assert_array_equal(read_depth(written), depth)
    assert read_depth(written).dtype == dtype


def test_a_smaller_map_is_enlarged_without_new_distances():
    depth = np.array([[1000, 4000], [0, 1000]], np.uint16)
    large = fit_depth(depth, 60, 60)
    assert large.shape == (60, 60)
    assert set(np.unique(large)) == {0, 1000, 4000}
    assert same_shape((192, 256), (1440, 1920))
    assert same_shape((480, 848), (720, 1280))
    assert not same_shape((480, 640), (720, 1280))
    assert not same_shape((0, 0), (720, 1280))


def test_every_room_enlarges_registered_depth():
    small = np.tile(np.linspace(1000, 3000, 30).astype(np.uint16)[:, None], (1, 40))
    prepared = prepare_depth(small, 60, 80, DepthConfig())
    assert prepared.note is None
    np.testing.assert_array_equal(
        unit_map(prepared), unit_map(prepare_depth(fit_depth(small, 60, 80), 60, 80, DepthConfig()))
    )
    assert prepare_depth(small, 60, 100, DepthConfig()).rgb_only


READINGS = st.lists(
    st.one_of(st.integers(0, 65535), st.floats(allow_nan=True, allow_infinity=True)), min_size=1, max_size=40
)


@SEEDED
@given(READINGS, st.sampled_from([np.uint8, np.uint16, np.float32, np.float64]), st.sampled_from([None, 2e-4, 1e-3]))
def test_metres_are_finite_and_hold_a_distance_where_there_is_a_reading(values, dtype, unit_m):
    if np.issubdtype(dtype, np.integer):
        values = [int(value) % (np.iinfo(dtype).max + 1) if np.isfinite(value) else 0 for value in values]
    with np.errstate(over="ignore"):
        depth = np.array(values, np.float64).astype(dtype)[None]
        metres = to_metres(depth, unit_m)
        single = depth.astype(np.float32) if dtype == np.float64 else depth
    assert metres.dtype == np.float32
    assert np.isfinite(metres).all()
    np.testing.assert_array_equal(metres > 0, has_reading(single))


@SEEDED
@given(st.lists(st.integers(0, 65534), min_size=1, max_size=40), st.sampled_from([np.uint8, np.uint16]))
def test_lengths_there_and_back(counts, dtype):
    depth = np.array([count % np.iinfo(dtype).max for count in counts], dtype)[None]
    np.testing.assert_array_equal(from_metres(to_metres(depth, 0.001), depth, 0.001), depth)
    if dtype == np.uint16:
        np.testing.assert_array_equal(in_millimetres(depth, 0.001), depth)
        assert np.abs(in_millimetres(depth, 0.0002).astype(float) - depth / 5)[depth >= 5].max(initial=0) <= 0.5
