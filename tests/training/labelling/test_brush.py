# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Label Studio's brush code, by its description and by its own converter."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from m4sam_core.errors import InputError
from m4sam_training.labelling.label_studio import decode_brush, encode_brush


def test_the_brush_code_is_the_documented_one():
    """Two rows worked out by hand: 32 bit count, 5 bit size of a value, the four sizes, then the runs."""
    mask = np.array([[0, 255, 255]], np.uint8)
    bits = f"{12:032b}" + "00111" + "0010" + "0011" + "0111" + "1111"
    bits += "1" + "00" + "011" + f"{0:08b}" + "1" + "00" + "111" + f"{255:08b}"
    bits += "0" * (-len(bits) % 8)
    assert encode_brush(mask) == [int(bits[at : at + 8], 2) for at in range(0, len(bits), 8)]
    literal = f"{4:032b}" + "00111" + "0010" + "0011" + "0111" + "1111" + "0" + "00" + "011"
    literal += "".join(f"{value:08b}" for value in (1, 2, 3, 200))
    literal += "0" * (-len(literal) % 8)
    code = [int(literal[at : at + 8], 2) for at in range(0, len(literal), 8)]
    assert decode_brush(code, 1, 1).tolist() == [[200]]
    with pytest.raises(InputError, match="ends early"):
        decode_brush(encode_brush(mask)[:-2], 1, 3)
    with pytest.raises(InputError, match="expected a brush mask of 2x1 px, got 3 px"):
        decode_brush(encode_brush(mask), 1, 2)


@pytest.mark.parametrize("seed", range(3))
def test_the_brush_code_is_label_studios(seed):
    brush = pytest.importorskip("label_studio_converter.brush")
    rng = np.random.default_rng(seed)
    mask = np.where(cv2.GaussianBlur(rng.random((33, 47), np.float32), (0, 0), 2) > 0.5, 255, 0).astype(np.uint8)
    theirs = np.asarray(brush.decode_rle(encode_brush(mask))).reshape(33, 47, 4)
    np.testing.assert_array_equal(theirs, np.repeat(mask[..., None], 4, axis=2))
    code = brush.encode_rle(np.repeat(mask.reshape(-1), 4))
    np.testing.assert_array_equal(decode_brush(code, 33, 47), mask)


def test_large_masks_cross_the_longest_run():
    mask = np.zeros((200, 400), np.uint8)
    mask[190:, :] = 255
    np.testing.assert_array_equal(decode_brush(encode_brush(mask), 200, 400), mask)
