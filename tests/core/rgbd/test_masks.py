# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""What is salient in a mask, whatever its values are; and what does not say so is refused."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from m4sam_core.errors import ConfigError, InputError
from m4sam_core.rgbd.masks import MaskRule, mixed_values, read_ignored, read_mask, understand
from tests.core.rgbd.properties import SEEDED

INSIDE = np.zeros((32, 40), bool)
INSIDE[8:24, 10:26] = True
WANTED = np.where(INSIDE, 255, 0).tolist()


def two(value, dtype=np.uint8):
    return np.where(INSIDE, value, 0).astype(dtype)


def three_classes():
    return np.select([INSIDE, np.arange(40) > 30], [1, 2], 0).astype(np.uint8)


def palette(colours, values=None):
    image = Image.fromarray(two(1) if values is None else values, "P")
    image.putpalette([channel for colour in colours for channel in colour])
    return image


def with_alpha(colour, alpha):
    return Image.fromarray(np.dstack([np.broadcast_to(np.uint8(colour), (*INSIDE.shape, 3)), alpha]))


def soft():
    ring = cv2.dilate(two(255), np.ones((3, 3), np.uint8)) > 0
    return Image.fromarray(np.where(INSIDE, 255, np.where(ring, 90, 0)).astype(np.uint8))


FILES = {
    "0 and 255": Image.fromarray(two(255)),
    "0 and 1": Image.fromarray(two(1)),
    "one class id": Image.fromarray(two(15)),
    "one bit": Image.fromarray(INSIDE),
    "16 bit, full": Image.fromarray(two(65535, np.uint16)),
    "16 bit, 0 and 255": Image.fromarray(two(255, np.uint16)),
    "16 bit, 0 and 1": Image.fromarray(two(1, np.uint16)),
    "16 bit, an instance id": Image.fromarray(two(26001, np.uint16)),
    "red on black": Image.fromarray(two(1)[..., None] * np.uint8([200, 0, 0])),
    "dark red of a palette": palette([(0, 0, 0), (128, 0, 0)]),
    "palette of black and white": palette([(0, 0, 0), (255, 255, 255)]),
    "palette with white first": palette([(255, 255, 255), (0, 0, 0)], np.where(INSIDE, 0, 1).astype(np.uint8)),
    "white with alpha": with_alpha((255, 255, 255), two(255)),
    "black with alpha": with_alpha((0, 0, 0), two(255)),
    "cut-out": Image.fromarray(np.dstack([np.random.default_rng(0).integers(0, 255, (32, 40, 3), np.uint8), two(255)])),
    "opaque alpha": Image.fromarray(np.dstack([two(255)] * 3 + [np.full(INSIDE.shape, 255, np.uint8)])),
    "grey with alpha": Image.fromarray(np.dstack([np.full(INSIDE.shape, 255, np.uint8), two(255)]), "LA"),
    "soft edges": soft(),
}


@pytest.mark.parametrize("kind", FILES)
def test_masks_of_every_kind(tmp_path, kind):
    FILES[kind].save(tmp_path / "m.png")
    assert read_mask(tmp_path / "m.png").tolist() == WANTED


@pytest.mark.parametrize("suffix", ["jpg", "bmp", "tiff", "webp"])
def test_masks_of_every_format(tmp_path, suffix):
    Image.fromarray(two(255)).convert("RGB" if suffix == "webp" else "L").save(tmp_path / f"m.{suffix}", quality=95)
    assert read_mask(tmp_path / f"m.{suffix}").tolist() == WANTED


def test_float_masks(tmp_path):
    cv2.imwrite(str(tmp_path / "m.tiff"), two(1, np.float32))
    assert read_mask(tmp_path / "m.tiff").tolist() == WANTED


AMBIGUOUS = {
    "several class ids": three_classes(),
    "a class and the void around it": np.select([INSIDE, np.arange(40) > 38], [15, 255], 0).astype(np.uint8),
    "nothing but 1": np.ones((8, 8), np.uint8),
    "two ids without background": np.where(INSIDE, 1, 2).astype(np.uint8),
    "two colours": np.dstack([three_classes() == 1, three_classes() == 2, np.zeros(INSIDE.shape, bool)])
    * np.uint8(200),
    "white background": np.where(INSIDE[..., None], np.uint8([255, 0, 0]), np.uint8(255)),
    "bright class ids": np.select([INSIDE, np.arange(40) > 30], [62, 200], 0).astype(np.uint8),
}


@pytest.mark.parametrize("kind", AMBIGUOUS)
def test_what_does_not_say_what_is_salient_is_refused(kind):
    with pytest.raises(InputError, match=r"--mask-values|save its class ids"):
        understand(AMBIGUOUS[kind])


@pytest.mark.parametrize(
    ("text", "salient"),
    [("1", [1]), ("2", [2]), ("1,2", [1, 2]), ("1-2", [1, 2]), ("nonzero", [1, 2]), ("bright", [])],
)
def test_the_user_says_which_values_are_salient(text, salient):
    expected = np.where(np.isin(three_classes(), salient), 255, 0)
    np.testing.assert_array_equal(understand(three_classes(), MaskRule.parse(text)).mask, expected)


def test_values_of_a_palette_file_are_its_indices(tmp_path):
    palette([(0, 0, 0), (128, 0, 0), (0, 128, 0)], three_classes()).save(tmp_path / "m.png")
    with pytest.raises(InputError, match="colours"):
        read_mask(tmp_path / "m.png")
    assert read_mask(tmp_path / "m.png", MaskRule.parse("1")).tolist() == WANTED


def test_a_palette_in_which_classes_look_the_same_is_refused(tmp_path):
    """It was an empty mask."""
    palette([(0, 0, 0)] * 4, two(3)).save(tmp_path / "m.png")
    with pytest.raises(InputError, match="several numbers look the same; say which are salient with --mask-values"):
        read_mask(tmp_path / "m.png")
    assert read_mask(tmp_path / "m.png", MaskRule.parse("3")).tolist() == WANTED


def test_alpha_on_request():
    rgba = np.dstack([two(255), two(255), two(255), np.where(INSIDE, 0, 255).astype(np.uint8)])
    np.testing.assert_array_equal(understand(rgba, MaskRule.parse("alpha")).mask, 255 - np.array(WANTED))
    with pytest.raises(InputError, match="alpha"):
        understand(two(255), MaskRule.parse("alpha"))


@pytest.mark.parametrize("text", ["", "white", "1;2", "-1", "1-"])
def test_rules_that_mean_nothing_are_refused(text):
    with pytest.raises(ConfigError, match="mask values"):
        MaskRule.parse(text)


IGNORED = {
    **{kind: FILES[kind] for kind in ("0 and 255", "0 and 1", "one bit", "16 bit, 0 and 1", "16 bit, 0 and 255")},
    **{kind: FILES[kind] for kind in ("black with alpha", "white with alpha", "cut-out", "opaque alpha")},
    "parts of a robot": Image.fromarray(np.where(INSIDE, 1 + np.arange(40) % 3, 0).astype(np.uint8)),
    "the darkest blue of a palette": palette([(0, 0, 0), (0, 0, 1)]),
}


@pytest.mark.parametrize("kind", IGNORED)
def test_what_is_not_black_does_not_count(tmp_path, kind):
    IGNORED[kind].save(tmp_path / "m.png")
    assert read_ignored(tmp_path / "m.png").tolist() == WANTED


def test_a_lossy_file_leaves_near_black_black(tmp_path):
    mask = np.zeros((45, 50), np.uint8)
    mask[11:30, 13:37] = 255
    Image.fromarray(mask).save(tmp_path / "m.jpg", quality=60)
    assert np.mean((read_ignored(tmp_path / "m.jpg") > 0) != (mask > 0)) < 0.02
    Image.fromarray(mask // 255 * 3).save(tmp_path / "dark.jpg", quality=95)
    assert np.mean((read_ignored(tmp_path / "dark.jpg") > 0) != (mask > 0)) < 0.1


def test_masks_that_are_unusual_are_said_to_be():
    assert understand(two(255)).note is None
    assert understand(two(1)).note == "mask of 0 and 1, read as background and salient"
    assert understand(np.zeros((4, 4), np.uint8)).note == "mask without a salient pixel"
    assert understand(np.full((4, 4), 255, np.uint8)).note == "mask without a background pixel"


@pytest.mark.parametrize("value", [1, 2, 5, 15])
def test_the_border_of_a_class_is_not_taken_for_what_is_salient(value):
    pixels = np.zeros((60, 80), np.uint8)
    pixels[18:42, 18:42] = 255
    pixels[20:40, 20:40] = value
    with pytest.raises(InputError, match=f"got 0, {value}, 255; say which are salient"):
        understand(pixels)
    assert (understand(pixels, MaskRule.parse(str(value))).mask > 0).sum() == 400


@pytest.mark.parametrize("quality", [75, 90, 95, 100])
@pytest.mark.parametrize("size", [(48, 64), (240, 320), (480, 640)])
def test_lossy_masks_are_no_class_ids(tmp_path, quality, size):
    masks = []
    for index in range(4):
        mask = np.zeros(size, np.uint8)
        mask[12 : size[0] // 2, 8 + index : size[1] // 2] = 255
        Image.fromarray(mask).save(tmp_path / "m.jpg", quality=quality)
        masks.append(np.asarray(Image.open(tmp_path / "m.jpg")))
        np.testing.assert_array_equal(read_mask(tmp_path / "m.jpg"), mask)
    assert mixed_values(masks) is None


def test_class_ids_are_seen_over_frames_that_show_one_each():
    assert mixed_values([two(1), two(2)]) == [1, 2]
    assert mixed_values([two(1), np.zeros((4, 4), np.uint8), two(1)]) is None
    assert mixed_values([two(255), two(1)]) is None


@SEEDED
@given(
    st.sampled_from([np.uint8, np.uint16]),
    st.integers(1, 65535),
    st.lists(st.integers(0, 63), unique=True, min_size=1, max_size=60),
)
def test_any_value_on_zero_is_salient(dtype, value, places):
    value = min(value, np.iinfo(dtype).max)
    pixels = np.zeros(64, dtype)
    pixels[places] = value
    expected = np.zeros(64, np.uint8)
    expected[places] = 255
    np.testing.assert_array_equal(understand(pixels.reshape(8, 8)).mask, expected.reshape(8, 8))


@SEEDED
@given(st.lists(st.integers(0, 255), min_size=16, max_size=16))
def test_a_mask_is_understood_or_refused_and_never_empty_by_mistake(values):
    pixels = np.array(values, np.uint8).reshape(4, 4)
    try:
        mask = understand(pixels).mask
    except InputError:
        return
    assert set(np.unique(mask)) <= {0, 255}
    assert mask.any() == pixels.any()
    assert set(pixels[mask > 0].tolist()).isdisjoint(pixels[mask == 0].tolist())


@pytest.mark.parametrize(
    ("values", "dim_value", "uniform"),
    [
        ((0, 0), None, True),
        ((255, 255), None, True),
        ((0, 3), 3, False),
        ((0, 255), None, False),
        ((0, 200), None, False),
    ],
)
def test_what_may_be_a_class_is_told_by_its_value_and_not_by_a_sentence(values, dim_value, uniform):
    read = understand(np.array([values], np.uint8))
    assert (read.dim_value, read.is_uniform) == (dim_value, uniform)
