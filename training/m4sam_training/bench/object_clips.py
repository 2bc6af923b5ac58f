# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Generated clips whose objects' positions and identities are known: free, hidden for a while, crossing, still."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from m4sam_core.objects import CameraModel
from m4sam_training.synth.builder import SceneBuilder
from m4sam_training.synth.geometry import Wobble
from m4sam_training.synth.scene import Scene, SceneStyle
from m4sam_training.synth.sensor import random_sensor, sense

FPS = 15.0
HEIGHT, WIDTH = 480, 640
OCCLUDED_S = 2.0
_OCCLUDED_FROM_S = 1.5
_MASK_JITTER_PX = 2.0
_STYLE = SceneStyle(arm_share=0.05)
FIRST_SEED = 7_000_000  # far from the seeds of the training clips


@dataclass(frozen=True)
class TrueFrame:
    """A frame and its truth.

    Attributes:
        owner (H, W): number of the salient thing at each pixel, 0 elsewhere.
        mask (H, W): uint8 0/255, as a network would see it: its outline wavers.
        depth (H, W): float32 metres as a camera measures it, 0 where it does not.
        rgb (H, W, 3): uint8.
        centroids: mean of each thing's visible surface, metres, by number.
        stamp_s: time.
    """

    owner: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    depth: NDArray[np.float32]
    rgb: NDArray[np.uint8]
    centroids: dict[int, NDArray[np.float64]]
    stamp_s: float


def camera_of(scene: Scene) -> CameraModel:
    """The camera that renders it."""
    focal = scene.focal_ratio * WIDTH
    return CameraModel(WIDTH, HEIGHT, focal, focal, WIDTH / 2, HEIGHT / 2)


def render(scene: Scene, seed: int, frames: int) -> Iterator[TrueFrame]:
    """A clip with what is true of it."""
    rng = np.random.default_rng(seed)
    sensor = random_sensor(rng, WIDTH, _STYLE.sensors)
    salient = np.array([0] + [number * thing.salient for number, thing in enumerate(scene.things, 1)], np.uint8)
    rays = camera_of(scene).rays((slice(0, HEIGHT), slice(0, WIDTH)))
    for index in range(frames):
        canvas = scene.draw(index / FPS, WIDTH, HEIGHT)
        owner = salient[canvas.owner]
        millimetres = sense(canvas.depth, sensor, rng, scene.focal_ratio * WIDTH)
        depth = (millimetres * np.float32(0.001)).astype(np.float32)
        rgb = np.clip(canvas.rgb, 0, 255).astype(np.uint8)
        centroids = {
            int(number): _mean_point(owner == number, canvas.depth, rays) for number in np.unique(owner) if number
        }
        yield TrueFrame(owner, wavering(owner > 0, rng), depth, rgb, centroids, index / FPS)


def wavering(inside: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.uint8]:
    """A mask (H, W) 0/255 whose outline is off by a pixel or two, differently in each frame."""
    signed = cv2.distanceTransform(inside.view(np.uint8), cv2.DIST_L2, 3)
    signed -= cv2.distanceTransform((~inside).view(np.uint8), cv2.DIST_L2, 3)
    noise = rng.normal(0, _MASK_JITTER_PX, (HEIGHT // 20, WIDTH // 20)).astype(np.float32)
    wave = cv2.resize(noise, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    return (signed + wave > 0).view(np.uint8) * np.uint8(255)


def _mean_point(
    inside: NDArray[np.bool_], depth: NDArray[np.float32], rays: NDArray[np.float32]
) -> NDArray[np.float64]:
    z = depth[inside].astype(np.float64)
    return np.array([*(rays[inside] * z[:, None]).mean(axis=0), z.mean()])


def room(seed: int) -> Scene:
    """A scene, the same for the same seed."""
    return SceneBuilder(_STYLE, np.random.default_rng(seed), WIDTH / HEIGHT).build()


def occluded(seen: list[TrueFrame]) -> list[TrueFrame]:
    """The same clip with a board held before its largest thing for two seconds."""
    areas = Counter({number: int(np.count_nonzero(seen[0].owner == number)) for number in seen[0].centroids})
    if not areas:
        return seen
    hidden = areas.most_common(1)[0][0]
    result = []
    for frame in seen:
        if not _OCCLUDED_FROM_S <= frame.stamp_s < _OCCLUDED_FROM_S + OCCLUDED_S or hidden not in frame.centroids:
            result.append(frame)
            continue
        left, top, width, height = cv2.boundingRect((frame.owner == hidden).view(np.uint8))
        board = (slice(max(0, top - 10), top + height + 10), slice(max(0, left - 10), left + width + 10))
        owner, mask, depth = frame.owner.copy(), frame.mask.copy(), frame.depth.copy()
        owner[board], mask[board] = 0, 0
        depth[board] = frame.centroids[hidden][2] * 0.5
        left_over = {number: centre for number, centre in frame.centroids.items() if (owner == number).any()}
        result.append(replace(frame, owner=owner, mask=mask, depth=depth, centroids=left_over))
    return result


def scenes_of_several(count: int) -> Iterator[Scene]:
    """Rooms with two salient things or more."""
    scenes = (room(FIRST_SEED + seed) for seed in itertools.count())
    return itertools.islice((scene for scene in scenes if sum(thing.salient for thing in scene.things) > 1), count)


def crossing(scene: Scene) -> Scene:
    """The same room with two of its things going past one another, one in front."""
    first, second = [index for index, thing in enumerate(scene.things) if thing.salient][:2]
    one, other = scene.things[first], scene.things[second]
    aside = other.position[0] - one.position[0]
    reach = max(abs(aside), (one.width_m + other.width_m) * 0.8) * (1 if aside >= 0 else -1)
    middle = (one.position[0] + other.position[0]) / 2
    things = list(scene.things)
    for index, thing, side, behind_m in ((first, one, -0.5, 0.0), (second, other, 0.5, 0.4)):
        position = thing.position.copy()
        position[0] = middle
        position[2] = one.position[2] + behind_m
        # Both sines of a Wobble alike: one sine, from one side to the other in four seconds.
        path = Wobble(np.array([side * reach, 0, 0]), np.full((2, 3), 0.125), np.full((2, 3), np.pi / 2))
        still = replace(thing.swing, amplitude=thing.swing.amplitude * 0)
        things[index] = replace(thing, position=position, path=path, swing=still)
    return replace(scene, things=things)


def still(scene: Scene) -> Scene:
    """The same with nothing that moves."""

    def stopped(motion: Wobble) -> Wobble:
        return replace(motion, amplitude=motion.amplitude * 0)

    rest = Wobble(np.zeros(3), np.zeros((2, 3)), np.zeros((2, 3)))
    things = [replace(thing, path=rest, swing=stopped(thing.swing)) for thing in scene.things]
    return replace(scene, things=things, camera_path=stopped(scene.camera_path), camera_turn=stopped(scene.camera_turn))
