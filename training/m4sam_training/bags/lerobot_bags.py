# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Bags as the episodes of a LeRobot data set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from m4sam_core.errors import ConfigError, M4SamError
from m4sam_core.rgbd.bags.frames import Drops, read_frames
from m4sam_core.rgbd.bags.source import BagSource
from m4sam_core.rgbd.bags.topics import TopicChoice, choose_topics, is_prediction
from m4sam_core.rgbd.depth_values import DEFAULT_UNIT_M
from m4sam_core.rgbd.masks import AUTO
from m4sam_training.bags.labels import make_labeller
from m4sam_training.bags.lerobot import LerobotReport, RgbAs, Shot, write_lerobot
from m4sam_training.bags.lerobot_files import STAMP
from m4sam_training.bags.scene_cuts import SceneCutter
from m4sam_training.data.predicted_masks import PSEUDO

_PAUSE_S = 2.0
_LOOK_AT = 100
_SAME_RATE = 1.2  # rates whose ratio is below are one rate


@dataclass(frozen=True)
class LerobotConfig:
    """How bags become episodes.

    Attributes:
        task: what is done, in words.
        rgb_as: video or image.
        fps: None: by the stamps of the first bag. Hertz.
        rgb_topic, depth_topic: None: the only plausible ones.
        mask_topic: None: a topic called mask if there is one; "": none.
        depth_unit_m: length of one unit of the recorded depth; None: millimetres in integers, metres in floats.
        model: name or path of a model that makes masks for frames without another; None: none.
    """

    task: str = "look"
    rgb_as: RgbAs = "video"
    fps: int | None = None
    rgb_topic: str | None = None
    depth_topic: str | None = None
    mask_topic: str | None = None
    depth_unit_m: float | None = None
    model: str | None = None


def bags_to_lerobot(bags: Sequence[Path], out: Path, cfg: LerobotConfig) -> tuple[LerobotReport, list[str], Drops]:
    """Write a data set; a bag that cannot be read is left out.

    Args:
        bags: from `find_bags`.
        out: new or empty folder.
        cfg: settings.

    Returns:
        what was written, the bags that were left out with the reason, and the frames that were dropped.

    Raises:
        ConfigError: a package is missing, or the folder is not empty.
        InputError: no bag has a frame.
    """
    failed: list[str] = []
    drops = Drops()
    usable: list[tuple[Path, TopicChoice]] = []
    for bag in bags:
        try:
            with BagSource(bag) as source:
                usable.append((bag, choose_topics(source, cfg.rgb_topic, cfg.depth_topic, cfg.mask_topic)))
        except ConfigError:
            raise
        except M4SamError as error:
            failed.append(str(error))
    sources = sorted({_mask_source(topics, cfg) for _, topics in usable} - {""})
    rates = [_rate(bag, topics) for bag, topics in usable]
    fps = cfg.fps or (rates[0] if rates else 1)
    for (bag, _), rate in zip(usable, rates, strict=True):
        if not 1 / _SAME_RATE < rate / fps < _SAME_RATE:
            drops.notes[f"{bag.name} was recorded at {rate:g} Hz, its time runs as if at {fps:g}; use {STAMP}"] += 1

    def episodes() -> Iterator[Iterator[Shot]]:
        for bag, topics in usable:
            yield from _episodes(bag, topics, cfg, drops)

    unit_m = cfg.depth_unit_m or DEFAULT_UNIT_M
    source_text = " or ".join(sources) or None
    report = write_lerobot(episodes(), out, fps, cfg.task, cfg.rgb_as, unit_m, source_text)
    return report, failed, drops


def _episodes(bag: Path, topics: TopicChoice, cfg: LerobotConfig, drops: Drops) -> Iterator[Iterator[Shot]]:
    """One for every stretch without a pause; each has to be read to its end before the next is asked for."""
    unit_m = cfg.depth_unit_m or DEFAULT_UNIT_M
    cutter = SceneCutter("none", 0.0, _PAUSE_S, unit_m)
    with (
        BagSource(bag) as source,
        make_labeller(None, cfg.model, bag.name, drops, 0.0, AUTO, topics.mask, unit_m) as labeller,
    ):
        frames = read_frames(source, topics, drops, None, AUTO, cfg.depth_unit_m)
        waiting: list[Shot] = []

        def shots() -> Iterator[Shot]:
            yield from islice(waiting, 1)
            waiting.clear()
            for frame in frames:
                reason = cutter.cut_before(frame)
                if reason is not None:
                    labeller.new_scene(reason)
                label = labeller.label(frame, "", drops)
                shot = Shot(frame.stamp_ns, frame.rgb, frame.depth, label.mask if label is not None else None)
                if reason is not None:
                    waiting.append(shot)
                    return
                yield shot

        yield shots()
        while waiting:
            yield shots()
        drops.notes.update(f"{bag.name}: {damage}" for damage in dict.fromkeys(source.damage))


def _mask_source(topics: TopicChoice, cfg: LerobotConfig) -> str:
    parts = [f"{PSEUDO if is_prediction(topics.mask) else ''}topic {topics.mask}"] if topics.mask else []
    return " or ".join([*parts, *([f"{PSEUDO}{Path(cfg.model).name}"] if cfg.model else [])])


def _rate(bag: Path, topics: TopicChoice) -> int:
    """Frames per second of the first frames of a bag, at least 1."""
    with BagSource(bag) as source:
        stamps = [message.stamp_ns for message in islice(source.messages((topics.rgb,)), _LOOK_AT)]
    gaps = np.diff(sorted(stamps))
    gaps = gaps[gaps > 0]
    return max(1, round(1e9 / float(np.median(gaps)))) if gaps.size else 1
