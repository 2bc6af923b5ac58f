# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Scene changes: true cuts are found, what only looks like one is not."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
import pytest

from m4sam_core.config import DepthConfig, SceneConfig
from m4sam_core.stream.scene import HardEvents, SceneDetector, scene_score, threshold_of
from m4sam_core.vision.cues import compare_frames, describe_frame
from m4sam_core.vision.depth import prepare_depth

HEIGHT, WIDTH, FPS = 120, 160, 15.0


@cache
def place(seed):
    """A textured place, wider than the view: rgb and distance in metres."""
    rng = np.random.default_rng(seed)
    rgb = np.full((HEIGHT, 3 * WIDTH, 3), rng.uniform(60, 190, 3), np.float32)
    metres = np.full((HEIGHT, 3 * WIDTH), rng.uniform(2, 4), np.float32)
    for scale, amplitude in ((30, 40), (10, 20), (4, 10)):
        noise = rng.uniform(-1, 1, (HEIGHT // scale + 2, 3 * WIDTH // scale + 2, 3)).astype(np.float32)
        rgb += amplitude * cv2.resize(noise, (3 * WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    for _ in range(15):
        x, y = int(rng.integers(3 * WIDTH)), int(rng.integers(HEIGHT))
        corner = (x + int(rng.integers(10, 50)), y + int(rng.integers(10, 50)))
        cv2.rectangle(rgb, (x, y), corner, rng.uniform(0, 255, 3).tolist(), -1)
        cv2.rectangle(metres, (x, y), corner, float(rng.uniform(1, 3)), -1)
    return np.clip(rgb, 0, 255).astype(np.uint8), metres


def view(scene, left=WIDTH):
    window = (slice(None), slice(left, left + WIDTH))
    return scene[0][window].copy(), scene[1][window].copy()


def cues(frame, with_depth=True):
    rgb, metres = frame
    return describe_frame(rgb, prepare_depth(metres if with_depth else None, HEIGHT, WIDTH, DepthConfig()))


def watch(frames, cfg=None, with_depth=True, fps=FPS):
    detector = SceneDetector(cfg or SceneConfig())
    return [detector.update(cues(frame, with_depth), index / fps) for index, frame in enumerate(frames)]


def resets(frames, **kwargs):
    return [index for index, verdict in enumerate(watch(frames, **kwargs)) if verdict.changed]


def expose(frame, gain):
    linear = (frame[0] / 255.0) ** 2.2 * gain
    return (np.clip(linear, 0, 1) ** (1 / 2.2) * 255).astype(np.uint8), frame[1]


def blurred(frame, length):
    return cv2.blur(frame[0], (length, 3)), frame[1]


def still(seed, count):
    return [view(place(seed)) for _ in range(count)]


# ------------------------------------------------------------------------------------------ true cuts


@pytest.mark.parametrize("with_depth", [True, False])
@pytest.mark.parametrize("pair", [(0, 1), (2, 3), (4, 5), (6, 7)])
def test_a_cut_is_found_one_frame_later(pair, with_depth):
    assert resets(still(pair[0], 20) + still(pair[1], 20), with_depth=with_depth) == [21]


def test_every_cut_of_a_chain_is_found():
    frames = [frame for seed in range(6) for frame in still(seed, 15)]
    assert resets(frames) == [16, 31, 46, 61, 76]


def test_a_cut_into_another_exposure_is_found():
    frames = still(0, 20) + [expose(frame, 0.4) for frame in still(1, 20)]
    assert resets(frames) == [21]


def test_a_cut_into_a_moving_view_is_found():
    other = place(1)
    assert resets(still(0, 20) + [view(other, WIDTH + 6 * index) for index in range(20)]) == [21]


def test_a_cut_while_the_lights_are_off_is_found_when_they_come_back():
    frames = still(0, 20) + [expose(frame, 0.0) for frame in still(0, 20)] + still(1, 20)
    assert resets(frames) == [41]


@pytest.mark.parametrize("confirm", [1, 2, 4])
def test_confirmation_is_a_setting(confirm):
    assert resets(still(0, 20) + still(1, 20), cfg=SceneConfig(confirm_frames=confirm)) == [19 + confirm]


def test_cooldown_puts_the_second_reset_off():
    frames = still(0, 20) + still(1, 4) + still(2, 20)
    assert resets(frames) == [21, 30], "0.6 s = 9 frames after the first"
    assert resets(frames, cfg=SceneConfig(cooldown_s=0.0)) == [21, 25]


# ------------------------------------------------------------------------------------- innocent changes


def test_a_still_view_scores_nothing():
    assert max(verdict.score for verdict in watch(still(0, 10))) < 0.02


@pytest.mark.parametrize("with_depth", [True, False])
@pytest.mark.parametrize("gain", [0.2, 0.4, 2.5])
def test_exposure_step(gain, with_depth):
    frames = still(0, 20) + [expose(frame, gain) for frame in still(0, 20)] + still(0, 20)
    assert resets(frames, with_depth=with_depth) == []


@pytest.mark.parametrize("length", [1, 2, 3])
@pytest.mark.parametrize("with_depth", [True, False])
def test_flash(length, with_depth):
    frames = still(0, 20) + [expose(frame, 20) for frame in still(0, length)] + still(0, 20)
    assert resets(frames, with_depth=with_depth) == []


def test_lights_off_and_on():
    frames = still(0, 20) + [expose(frame, 0.0) for frame in still(0, 60)] + still(0, 20)
    verdicts = watch(frames)
    assert not any(verdict.changed for verdict in verdicts)
    assert all(verdict.suspect for verdict in verdicts[20:80]), "darkness must not be remembered"
    assert not any(verdict.suspect for verdict in verdicts[80:])


@pytest.mark.parametrize("length", [9, 21, 41])
def test_blur_burst(length):
    frames = still(0, 20) + [blurred(frame, length) for frame in still(0, 8)] + still(0, 20)
    assert resets(frames) == []


@pytest.mark.parametrize("step_px", [2, 10, 25])
def test_pan(step_px):
    scene = place(0)
    frames = [view(scene, min(index * step_px, 2 * WIDTH)) for index in range(40)]
    assert resets(frames) == []


@pytest.mark.parametrize("kind", ["grey", "noise", "other scene", "torn"])
@pytest.mark.parametrize("with_depth", [True, False])
def test_a_lone_bad_frame(kind, with_depth):
    rgb, metres = view(place(0))
    bad = {
        "grey": (np.full_like(rgb, 128), np.zeros_like(metres)),
        "noise": (np.random.default_rng(0).integers(0, 256, rgb.shape, dtype=np.uint8), metres),
        "other scene": view(place(1)),
        "torn": (np.roll(rgb, HEIGHT // 2, axis=0)[:, ::-1].copy(), metres),
    }[kind]
    verdicts = watch([*still(0, 20), bad, *still(0, 20)], with_depth=with_depth)
    assert not any(verdict.changed for verdict in verdicts)
    assert not any(verdict.suspect for verdict in verdicts[21:])


def test_a_hand_passing_through():
    frames = []
    for index in range(40):
        rgb, metres = view(place(0))
        covered = int(0.75 * WIDTH * max(0.0, 1 - abs(index - 20) / 8))
        rgb[:, :covered], metres[:, :covered] = (200, 150, 120), 0.35
        frames.append((rgb, metres))
    assert resets(frames) == []


def test_a_moving_object():
    frames = []
    for index in range(40):
        rgb, metres = view(place(0))
        cv2.circle(rgb, (4 * index, HEIGHT // 2), 30, (255, 40, 40), -1)
        cv2.circle(metres, (4 * index, HEIGHT // 2), 30, 0.8, -1)
        frames.append((rgb, metres))
    assert resets(frames) == []


def test_depth_failing_and_coming_back():
    frames = still(0, 20) + [(rgb, np.zeros_like(metres)) for rgb, metres in still(0, 20)] + still(0, 20)
    assert resets(frames) == []


# ----------------------------------------------------------------------------------------------- cues


def test_cues_ignore_exposure_and_find_shifts():
    scene = place(0)
    start = cues(view(scene))
    brighter = compare_frames(start, cues(expose(view(scene), 1.5)))
    moved = compare_frames(start, cues(view(scene, WIDTH + 40)))
    other = compare_frames(start, cues(view(place(1))))
    assert brighter.structure < 0.1
    assert brighter.brightness > 0.05
    assert moved.shift_px == pytest.approx(40 * 64 / WIDTH, abs=1)
    assert moved.structure < 0.2
    assert other.structure > 0.9
    assert scene_score(brighter) < scene_score(moved) + 0.2 < scene_score(other)


def test_sharpness_falls_with_blur_and_not_with_exposure():
    frame = view(place(0))
    sharp = cues(frame).sharpness
    assert cues(expose(frame, 0.5)).sharpness == pytest.approx(sharp, rel=0.25)
    assert cues(blurred(frame, 21)).sharpness < 0.75 * sharp


def test_cues_do_not_depend_on_the_cameras_size():
    rgb, metres = view(place(0))
    double = (np.repeat(np.repeat(rgb, 2, 0), 2, 1), np.repeat(np.repeat(metres, 2, 0), 2, 1))
    large = describe_frame(double[0], prepare_depth(double[1], 2 * HEIGHT, 2 * WIDTH, DepthConfig()))
    assert scene_score(compare_frames(cues((rgb, metres)), large)) < 0.05


@pytest.mark.parametrize("value", [0, 128, 255])
def test_flat_frames_are_no_trouble(value):
    rgb = np.full((HEIGHT, WIDTH, 3), value, np.uint8)
    flat = describe_frame(rgb, prepare_depth(None, HEIGHT, WIDTH, DepthConfig()))
    difference = compare_frames(flat, cues(view(place(0))))
    assert np.isfinite([difference.colour, difference.structure, difference.brightness]).all()
    assert flat.exposure == (1.0 if value == 128 else 0.0)


# ---------------------------------------------------------------------------------- settings and facts


def test_sensitivity_orders_thresholds():
    thresholds = [threshold_of(SceneConfig(sensitivity=value)) for value in (0.0, 0.1, 0.3, 0.5, 0.7, 1.0)]
    assert thresholds == sorted(thresholds, reverse=True)
    assert thresholds[0] == float("inf")
    assert thresholds[-1] == 0.0
    assert resets(still(0, 20) + still(1, 20), cfg=SceneConfig(sensitivity=0.0)) == []
    assert resets(still(0, 20) + still(1, 20), cfg=SceneConfig(enabled=False)) == []


def test_the_encoders_descriptor_can_decide():
    cfg = SceneConfig(encoder_weight=1.0)
    detector = SceneDetector(cfg)
    here, there = np.array([1.0, 0.0, 0.2], np.float32), np.array([0.0, 1.0, 0.2], np.float32)
    same_picture = cues(view(place(0)))
    log = [detector.update(same_picture, index / FPS, here if index < 15 else there) for index in range(30)]
    assert log[14].score < 0.01
    assert log[15].score > 0.9
    assert [index for index, verdict in enumerate(log) if verdict.changed] == [16]


def test_hard_events():
    events = HardEvents(max_gap_s=2.0)
    assert events.update(10.0, "a") is None
    assert events.update(10.0, "a") is None
    assert events.update(12.0, "a") is None
    assert events.update(14.5, "a") == "gap of 2.50 s"
    assert events.update(14.4, "a") == "time went back by 0.100 s"
    assert events.update(14.5, "b") == "camera changed"
    events.clear()
    assert events.update(0.0, "c") is None
