"""Objects against the truth of generated clips: position of the visible surface, identity, and the main object."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from m4sam_core.objects import CameraModel, ObjectFinder, SceneObjects
from m4sam_training.data.corruptions import DEPTH_CORRUPTIONS, CorruptedStream
from m4sam_training.synth.builder import SceneBuilder
from m4sam_training.synth.geometry import Wobble
from m4sam_training.synth.scene import Scene, SceneStyle
from m4sam_training.synth.sensor import random_sensor, sense

FPS = 15.0
HEIGHT, WIDTH = 480, 640
SEVERITY = 3
CLEAN = "none"
OCCLUDED_S = 2.0
_OCCLUDED_FROM_S = 1.5
_MASK_JITTER_PX = 2.0
_LEAST_AREA = 0.002  # of the image; less of an object is not asked for
_STILL_S = 10.0
_STYLE = SceneStyle(arm_share=0.05)
_SEED = 7_000_000  # far from the seeds of the training clips


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


@dataclass
class PositionScore:
    """Errors of the centroid, relative to the distance.

    Attributes:
        errors: of the objects that have a position.
        without: objects that were found and said to have none.
        missed: objects that were not found at all.
    """

    errors: list[float] = field(default_factory=list)
    without: int = 0
    missed: int = 0

    def as_dict(self) -> dict[str, float | int | None]:
        """For JSON; errors in percent of the distance."""
        known = np.asarray(self.errors) * 100
        median, p95 = np.percentile(known, [50, 95]) if known.size else (None, None)
        total = known.size + self.without + self.missed
        return {
            "objects": total,
            "median_pct": None if median is None else round(float(median), 3),
            "p95_pct": None if p95 is None else round(float(p95), 3),
            "without_position": self.without,
            "missed": self.missed,
        }


@dataclass
class IdentityScore:
    """Whether objects keep their first id.

    Attributes:
        frames: frames in which a thing could be seen and was found, over all things.
        kept: those in which it had its first id.
        reused: ids that a new thing got though another had held them.
        by_clip: share kept, per clip.
    """

    frames: int = 0
    kept: int = 0
    reused: int = 0
    by_clip: list[float] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "consistency": round(self.kept / max(self.frames, 1), 4),
            "worst_clip": round(min(self.by_clip, default=1.0), 4),
            "frames": self.frames,
            "ids_reused": self.reused,
        }


def bench_objects(clips: int, frames: int, advance: Callable[[str], object]) -> dict[str, Any]:
    """Every measurement.

    Args:
        clips: of each kind.
        frames: of each clip.
        advance: called with what begins.

    Returns:
        `position` by fault, `identity` without and with occlusions and crossings, `attention`.
    """
    positions = {name: PositionScore() for name in (CLEAN, *DEPTH_CORRUPTIONS)}
    identity = {"free": IdentityScore(), "occluded": IdentityScore(), "crossing": IdentityScore()}
    for clip in range(clips):
        advance(f"clip {clip + 1} of {clips}")
        scene = _scene(_SEED + clip)
        seen = list(render(scene, _SEED + clip, frames))
        camera = camera_of(scene)
        for name, score in positions.items():
            found = list(_follow(seen, camera, None if name == CLEAN else CorruptedStream(name, SEVERITY, clip)))
            _score_positions(seen, found, score)
            if name == CLEAN:
                _score_identity(seen, found, identity["free"])
        hidden = _occluded(seen)
        _score_identity(hidden, list(_follow(hidden, camera, None)), identity["occluded"])
    for clip, scene in enumerate(_scenes_of_several(clips)):
        advance(f"crossing {clip + 1} of {clips}")
        crossed = _crossing(scene)
        seen = list(render(crossed, _SEED + clip, frames))
        _score_identity(seen, list(_follow(seen, camera_of(crossed), None)), identity["crossing"])
    advance("main object")
    return {
        "position": {name: score.as_dict() for name, score in positions.items()},
        "identity": {name: score.as_dict() for name, score in identity.items()},
        "attention": _attention(clips),
    }


# ------------------------------------------------------------------------------------------- clips


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


def _scene(seed: int) -> Scene:
    return SceneBuilder(_STYLE, np.random.default_rng(seed), WIDTH / HEIGHT).build()


def _occluded(seen: list[TrueFrame]) -> list[TrueFrame]:
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


def _scenes_of_several(count: int) -> Iterator[Scene]:
    """Rooms with two salient things or more."""
    scenes = (_scene(_SEED + seed) for seed in itertools.count())
    return itertools.islice((scene for scene in scenes if sum(thing.salient for thing in scene.things) > 1), count)


def _crossing(scene: Scene) -> Scene:
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


# ------------------------------------------------------------------------------------------ scores


def _follow(seen: list[TrueFrame], camera: CameraModel, fault: CorruptedStream | None) -> Iterator[SceneObjects]:
    finder = ObjectFinder()
    for frame in seen:
        depth = frame.depth if fault is None else fault(frame.depth)
        yield finder.update(frame.mask, None, depth, frame.stamp_s, camera=camera, rgb=frame.rgb)


def _asked(frame: TrueFrame) -> Iterator[tuple[int, NDArray[np.bool_]]]:
    """The things large enough to be asked for, with their pixels."""
    for number in frame.centroids:
        inside = frame.owner == number
        if np.count_nonzero(inside) >= _LEAST_AREA * inside.size:
            yield number, inside


def _id_at(labels: NDArray[np.uint16], inside: NDArray[np.bool_]) -> int:
    """The id that most of a thing's pixels carry, 0 when it was not found."""
    return int(np.bincount(labels[inside]).argmax())


def _score_positions(seen: list[TrueFrame], found: list[SceneObjects], score: PositionScore) -> None:
    for frame, answer in zip(seen, found, strict=True):
        by_id = {item.id: item for item in answer.objects}
        for number, inside in _asked(frame):
            item = by_id.get(_id_at(answer.labels, inside))
            if item is None:
                score.missed += 1
            elif item.centroid_m is None:
                score.without += 1
            else:
                truth = frame.centroids[number]
                score.errors.append(float(np.linalg.norm(truth - item.centroid_m) / np.linalg.norm(truth)))


def _score_identity(seen: list[TrueFrame], found: list[SceneObjects], score: IdentityScore) -> None:
    first: dict[int, int] = {}
    frames = kept = 0
    for frame, answer in zip(seen, found, strict=True):
        for number, inside in _asked(frame):
            held = _id_at(answer.labels, inside)
            if not held:
                continue
            if number not in first:
                score.reused += held in first.values() and not _shared(answer, held, frame, first)
                first[number] = held
            frames += 1
            kept += held == first[number]
    score.frames += frames
    score.kept += kept
    if frames:
        score.by_clip.append(kept / frames)


def _shared(answer: SceneObjects, held: int, frame: TrueFrame, first: dict[int, int]) -> bool:
    """Whether the id's first owner is in sight under it too: two things were taken for one, which is no reuse."""
    owners = [number for number, given in first.items() if given == held]
    return any(np.any(answer.labels[frame.owner == number] == held) for number in owners)


def _attention(clips: int) -> dict[str, Any]:
    """Changes of the main object in ten seconds of a still scene, and frames until it follows attention."""
    changes, delays = [], []
    for clip, room in enumerate(_scenes_of_several(clips)):
        scene = _still(room)
        frame = next(render(scene, _SEED + clip, 1))
        numbers = sorted(frame.centroids, key=lambda number: -int(np.count_nonzero(frame.owner == number)))
        camera, rng = camera_of(scene), np.random.default_rng(clip)
        finder, mains = ObjectFinder(), []
        for index in range(round(_STILL_S * FPS)):
            mask = wavering(frame.owner > 0, rng)
            found = finder.update(mask, None, frame.depth, index / FPS, camera=camera, rgb=frame.rgb)
            mains.append(None if found.main is None else found.main.id)
        changes.append(sum(one != other for one, other in itertools.pairwise(mains)))
        if len(numbers) >= 2:
            delays.append(_delay(frame, numbers[0], numbers[1], camera, rng))
    return {"most_changes_in_10_s": max(changes), "frames_to_follow": max(delays, default=None), "moves": len(delays)}


def _delay(frame: TrueFrame, before: int, after: int, camera: CameraModel, rng: np.random.Generator) -> int:
    finder, stamp = ObjectFinder(), 0
    for stamp in range(15):
        finder.update(wavering(frame.owner == before, rng), None, frame.depth, stamp / FPS, camera=camera)
    for later in range(1, 60):
        mask = wavering(frame.owner == after, rng)
        found = finder.update(mask, None, frame.depth, (stamp + later) / FPS, camera=camera)
        if found.main is not None:
            return later
    return 60


def _still(scene: Scene) -> Scene:
    def stopped(motion: Wobble) -> Wobble:
        return replace(motion, amplitude=motion.amplitude * 0)

    things = [replace(thing, path=stopped(thing.path), swing=stopped(thing.swing)) for thing in scene.things]
    return replace(scene, things=things, camera_path=stopped(scene.camera_path), camera_turn=stopped(scene.camera_turn))
