# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""A camera that sends its last image again and again is told from one that sees a still scene."""

import numpy as np
import pytest

from m4sam_ros.node.standstill import STILL_S, Standstill

TOPICS = ("/cam/rgb", "/cam/depth")
RNG = np.random.default_rng(0)


def noisy(image: np.ndarray) -> np.ndarray:
    """The same scene, seen once more: a few pixels are a step brighter."""
    image = image.copy()
    image.reshape(-1)[RNG.integers(0, image.size, image.size // 50)] += 1
    return image


@pytest.fixture(params=[np.uint16, np.float32])
def seen(request):
    rgb = RNG.integers(10, 200, (240, 320, 3), np.uint8)
    depth = RNG.integers(500, 3000, (240, 320)).astype(request.param)
    if request.param == np.float32:
        depth[::3] = np.nan  # NaN differs from itself, but not from one frame to the next
    return rgb, depth


def lines(frames, rate_hz=10.0):
    watch = Standstill()
    return [watch.problem(rgb, depth, index / rate_hz, TOPICS) for index, (rgb, depth) in enumerate(frames)]


def test_a_still_scene_has_noise(seen):
    assert not any(lines([tuple(map(noisy, seen)) for _ in range(80)]))


def test_a_camera_that_hangs_is_told_after_a_while_and_no_more_when_it_lives(seen):
    said = lines([seen] * 80 + [tuple(map(noisy, seen))])
    first = next(index for index, line in enumerate(said) if line)
    assert first == round(STILL_S * 10)
    assert said[first].startswith("/cam/rgb: the same image for 5 s or more")
    assert set(said[first:-1]) == {said[first]}  # one line, so that it is logged once in a while
    assert said[-1] is None


def test_depth_that_hangs_while_colour_lives(seen):
    rgb, depth = seen
    said = lines([(noisy(rgb), depth) for _ in range(60)])
    assert said[50].startswith("/cam/depth: the same depth for 5 s or more")
    assert "/cam/rgb changes" in said[50]


def test_no_depth_and_depth_without_a_reading_hang_nowhere(seen):
    rgb, depth = seen
    assert not any(lines([(noisy(rgb), None) for _ in range(60)]))
    assert not any(lines([(noisy(rgb), np.zeros_like(depth)) for _ in range(60)]))


def test_depth_that_comes_and_goes_begins_anew(seen):
    rgb, depth = seen
    assert not any(lines([(noisy(rgb), depth if index % 20 else None) for index in range(100)]))


def test_another_size_is_another_image(seen):
    rgb, depth = seen
    assert not any(lines([(rgb, depth), (rgb[:120], depth[:120])] * 40))
