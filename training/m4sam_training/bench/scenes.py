# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Generated recordings with known cuts, and with what looks like one but is not (docs/stream.md#scene-changes).

A recording is a chain of shots of generated clips. Where two shots meet is a true cut; inside a shot the picture is
disturbed by exposure ramps, flashes, blur, pans, a hand, a light switch or depth failures, none of which may reset.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import cv2
import numpy as np

from m4sam_core.config import DepthConfig, SceneConfig
from m4sam_core.stream.scene import HardEvents, SceneDetector
from m4sam_core.vision.cues import describe_frame
from m4sam_core.vision.depth import prepare_depth
from m4sam_training.bench.disturbances import EFFECTS, View, expose

FPS = 15.0
WITHIN_FRAMES = 2  # a reset counts as the cut's when it comes this soon after the first new frame
_CROP = 0.62  # share of the rendered view that the virtual camera sees; the rest is room to pan


@dataclass(frozen=True)
class BenchFrame:
    """One frame of a recording.

    Attributes:
        rgb (H, W, 3): uint8.
        depth (H, W): uint16 millimetres, None when the sensor gave none.
        stamp_s: time.
        cut: this frame is the first of a new scene, by pictures or (time going back) by a hard event.
        event: what is going on, for the statistics.
    """

    rgb: np.ndarray
    depth: np.ndarray | None
    stamp_s: float
    cut: bool
    event: str


@dataclass
class SceneScore:
    """How a detector did.

    Attributes:
        seconds: length of what was judged.
        cuts: true cuts.
        found: those with a reset within two frames.
        late: those with a reset later than that, before the next cut.
        false_resets: resets that belong to no cut, by the event they happened in.
        missed: cuts never noticed, by kind.
        delays: frames from each found cut to its reset.
    """

    seconds: float = 0.0
    cuts: int = 0
    found: int = 0
    late: int = 0
    false_resets: Counter[str] = field(default_factory=Counter)
    missed: Counter[str] = field(default_factory=Counter)
    delays: Counter[int] = field(default_factory=Counter)

    @property
    def recall(self) -> float:
        """Share of the cuts found within two frames; 1 without cuts."""
        return self.found / self.cuts if self.cuts else 1.0

    @property
    def false_per_10_min(self) -> float:
        """False resets per ten minutes of video."""
        return 600.0 * sum(self.false_resets.values()) / max(self.seconds, 1e-9)

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        figures = {name: dict(x) if isinstance(x, Counter) else x for name, x in vars(self).items()}
        return {**figures, "recall": self.recall, "false_per_10_min": self.false_per_10_min}

    def add(self, other: SceneScore) -> None:
        """Take in another recording's score."""
        self.seconds += other.seconds
        self.cuts += other.cuts
        self.found += other.found
        self.late += other.late
        self.false_resets += other.false_resets
        self.missed += other.missed
        self.delays += other.delays


def score_recording(frames: Sequence[BenchFrame] | Iterator[BenchFrame], cfg: SceneConfig) -> SceneScore:
    """Run the stream's two judges over a recording, as the session does, and compare with the truth."""
    detector, hard_events, score = SceneDetector(cfg), HardEvents(cfg.max_gap_s), SceneScore()
    open_cut: tuple[int, str] | None = None  # the last cut, while it has no reset of its own
    for index, frame in enumerate(frames):
        score.seconds += 1 / FPS
        if frame.cut and index > 0:
            if open_cut is not None:
                score.missed[open_cut[1]] += 1
            open_cut = (index, frame.event)
            score.cuts += 1
        hard = hard_events.update(frame.stamp_s, frame.rgb.shape)
        if hard is not None:
            detector.clear()
        depth = prepare_depth(frame.depth, frame.rgb.shape[0], frame.rgb.shape[1], DepthConfig())
        if not (detector.update(describe_frame(frame.rgb, depth), frame.stamp_s).changed or hard):
            continue
        if open_cut is None:
            score.false_resets[frame.event] += 1
        elif index - open_cut[0] <= WITHIN_FRAMES:
            score.found += 1
            score.delays[index - open_cut[0]] += 1
        else:
            score.late += 1
        open_cut = None
    if open_cut is not None:
        score.missed[open_cut[1]] += 1
    return score


def make_recording(
    clips: Sequence[Sequence[View]], rng: np.random.Generator, *, with_depth: bool = True
) -> Iterator[BenchFrame]:
    """Chain clips into a recording: each is a shot with one or two disturbances, each seam a cut.

    Args:
        clips: at least one; all views of one size.
        rng: source of every choice.
        with_depth: off: an rgb-only camera.
    """
    stamp_s = 0.0
    for number, clip in enumerate(clips):
        kind = "start" if number == 0 else str(rng.choice(["cut", "cut", "cut+exposure", "cut+pan", "loop"]))
        if kind == "loop":
            stamp_s = 0.0  # a bag that starts over: the clock goes back
        for index, (rgb, depth, event) in enumerate(disturbed_shot(clip, rng, kind)):
            cut = index == 0 and number > 0
            yield BenchFrame(rgb, depth if with_depth else None, stamp_s, cut, kind if cut else event)
            stamp_s += 1 / FPS


def disturbed_shot(
    clip: Sequence[View], rng: np.random.Generator, kind: str
) -> Iterator[tuple[np.ndarray, np.ndarray | None, str]]:
    """One shot: the clip through a virtual camera, with one disturbance somewhere in the middle of each half."""
    count = len(clip)
    path = _camera_path(count, rng, panning=kind == "cut+pan")
    gain = float(rng.choice([0.5, 1.8])) if kind == "cut+exposure" else 1.0
    effects: dict[int, tuple[str, Callable[[View], View]]] = {}
    for half in (0, 1):
        name = str(rng.choice(list(EFFECTS)))
        low, high = EFFECTS[name].seconds
        length = min(int(rng.uniform(low, high) * FPS) + 1, max(1, count // 2 - 12))
        begin = half * count // 2 + 8 + int(rng.integers(0, max(1, count // 2 - length - 10)))
        if name == "pan":
            path = _sweep(path, begin, length, rng)
        apply = EFFECTS[name].make(rng)
        for step in range(length):
            effects[begin + step] = (name, partial(_at, apply, step / max(1, length - 1)))
    for index, view in enumerate(clip):
        seen = _look(view, path[index])
        if gain != 1.0:
            seen = (expose(seen[0], gain), seen[1])
        name, effect = effects.get(index, ("plain", _unchanged))
        rgb, depth = effect(seen)
        yield _sensor_noise(rgb, rng), None if name == "depth lost" else depth, name


def _unchanged(view: View) -> View:
    return view


def _at(effect: Callable[[View, float], View], progress: float, view: View) -> View:
    return effect(view, progress)


def _camera_path(count: int, rng: np.random.Generator, panning: bool) -> np.ndarray:
    """(count, 2) position of the view in [0, 1], with the tremor of a hand-held or driving camera."""
    start = rng.uniform(0.3, 0.7, 2)
    tremor = np.cumsum(rng.normal(0, 0.004, (count, 2)), axis=0)
    drift = np.linspace(0, 1, count)[:, None] * rng.uniform(-0.25, 0.25, 2)
    if panning:
        drift = drift + np.linspace(0, 3, count)[:, None].clip(0, 1) * rng.choice([-0.5, 0.5], 2)
    return np.clip(start + tremor + drift, 0, 1)


def _sweep(path: np.ndarray, begin: int, length: int, rng: np.random.Generator) -> np.ndarray:
    """Fast pan to the other side and on from there."""
    path = path.copy()
    end = min(begin + length, len(path))
    target = np.array([path[begin, 0], 1.0 if path[begin, 1] < 0.5 else 0.0])
    target[0] = np.clip(target[0] + rng.uniform(-0.3, 0.3), 0, 1)
    ramp = np.linspace(0, 1, end - begin)[:, None]
    shift = target - path[begin]
    path[begin:end] += ramp * shift
    path[end:] += shift
    return np.clip(path, 0, 1)


def _look(view: View, position: np.ndarray) -> View:
    height, width = view[1].shape
    rows, columns = int(height * _CROP), int(width * _CROP)
    top, left = (round(float(x) * room) for x, room in zip(position, (height - rows, width - columns), strict=True))
    window = (slice(top, top + rows), slice(left, left + columns))
    return np.ascontiguousarray(view[0][window]), np.ascontiguousarray(view[1][window])


def _sensor_noise(rgb: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    noise = np.empty(rgb.shape, np.int16)
    cv2.setRNGSeed(int(rng.integers(1 << 31)))
    cv2.randn(noise, 0, 3)
    return cv2.add(rgb, noise, dtype=cv2.CV_8U)


def generated_shots(seed: int, count: int, seconds: float = 5.0) -> list[list[View]]:
    """Generated clips of 240x320, one scene each."""
    from m4sam_training.synth.clip import generate_clip

    frames = round(seconds * FPS)
    clips = (generate_clip(seed + index, frames, height=240, width=320, fps=FPS) for index in range(count))
    return [[(frame.rgb, frame.depth) for frame in clip] for clip in clips]


def bench_scenes(
    seed: int,
    minutes: float,
    cfg: SceneConfig,
    *,
    with_depth: bool = True,
    shots_per_recording: int = 8,
    uses: int = 4,
    advance: Callable[[float], None] | None = None,
) -> SceneScore:
    """Judge `minutes` of generated recordings; every clip is used several times, in another order and disturbance.

    Args:
        seed: of clips, order and disturbances.
        minutes: video time to judge, at least.
        cfg: the detector's settings.
        with_depth: off: an rgb-only camera.
        shots_per_recording: clips in a chain.
        uses: recordings made of the same clips before new ones are rendered.
        advance: called with the minutes judged so far.
    """
    total, number = SceneScore(), 0
    while total.seconds < 60 * minutes:
        shots = generated_shots(seed + 1000 * number, shots_per_recording)
        for use in range(uses):
            rng = np.random.default_rng((seed, number, use))
            order = rng.permutation(shots_per_recording)
            total.add(score_recording(make_recording([shots[i] for i in order], rng, with_depth=with_depth), cfg))
            if advance:
                advance(total.seconds / 60)
        number += 1
    return total


def undisturbed_score(frames: Sequence[View], cfg: SceneConfig) -> SceneScore:
    """A real recording of one scene, as it is: every reset is false."""
    plain = (BenchFrame(rgb, depth, i / FPS, False, "real clip") for i, (rgb, depth) in enumerate(frames))
    return score_recording(plain, cfg)
