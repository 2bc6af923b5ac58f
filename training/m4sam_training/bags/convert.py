# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""A rosbag into videos of the `m4sam` layout: paired, cut, split, resumable, each file written exactly once."""

from __future__ import annotations

import json
import shutil
import uuid
import zlib
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from m4sam_core.errors import ConfigError, InputError, M4SamError
from m4sam_core.host.progress import tracked
from m4sam_core.rgbd.bags.frames import BagFrame, Drops, frame_count, read_frames, read_intrinsics
from m4sam_core.rgbd.bags.source import BagSource
from m4sam_core.rgbd.bags.topics import TopicChoice, choose_topics
from m4sam_core.rgbd.depth_files import write_depth
from m4sam_core.rgbd.depth_values import DEFAULT_UNIT_M
from m4sam_core.rgbd.image_files import write_png
from m4sam_core.rgbd.masks import MaskRule
from m4sam_core.rgbd.video_yaml import VIDEO_YAML, write_video_yaml
from m4sam_training.bags.commit import commit, finished, identity, locked
from m4sam_training.bags.labels import Label, count_strays, find_annotations, make_labeller
from m4sam_training.bags.late_masks import add_late_masks
from m4sam_training.bags.scene_cuts import SceneCutter
from m4sam_training.data.names import safe_name
from m4sam_training.data.predicted_masks import PSEUDO, PredictedMask, write_predicted

Cut = Literal["scene", "time", "none"]
Split = Literal["auto", "train", "val", "test"]
CUTS: tuple[Cut, ...] = ("scene", "time", "none")
SPLITS: tuple[Split, ...] = ("auto", "train", "val", "test")
STATE_FOLDER = ".bags"
_MAX_GAP_S = 2.0
_LATER: dict[str, Any] = {"mask_values": "auto", "depth_unit_m": None}
"""Settings that came later: left at their defaults, a bag that was finished before them stays finished."""


@dataclass(frozen=True)
class ConvertConfig:
    """How bags become videos.

    Attributes:
        rgb_topic, depth_topic: None: the only plausible ones.
        mask_topic: None: a topic called mask if there is one; "": none.
        mask_values: which values of masks and annotations are salient, see `MaskRule.parse`.
        depth_unit_m: length of one unit of the recorded depth; None: millimetres in integers, metres in floats. Metres.
        annotations: folder with `<stamp_ns>.png` masks, also in subfolders named like the video or the bag.
        model: name or path of a model that makes pseudo labels for frames without another mask.
        min_confidence: pseudo labels below are left out; in [0, 1].
        cut: a new video at every scene change, every `segment_s` seconds, or only at gaps ("none").
        segment_s: length of a video with cut "time".
        min_frames: shorter videos are left out.
        every: keep each n-th paired frame.
        tolerance_s: largest stamp difference of rgb and depth; None adapts to the frame rate.
        split: all videos into this split; "auto": by a hash of the recording's name, in the two shares below. Videos of
            one recording show the same place and stay together.
        val_share, test_share: of the recordings, with split "auto".
    """

    rgb_topic: str | None = None
    depth_topic: str | None = None
    mask_topic: str | None = None
    mask_values: str = "auto"
    depth_unit_m: float | None = None
    annotations: Path | None = None
    model: str | None = None
    min_confidence: float = 0.0
    cut: Cut = "scene"
    segment_s: float = 30.0
    min_frames: int = 2
    every: int = 1
    tolerance_s: float | None = None
    split: Split = "auto"
    val_share: float = 0.1
    test_share: float = 0.1

    def fingerprint(self) -> str:
        """Changes with every setting; a finished bag is only skipped for the same settings."""
        values = {k: v for k, v in asdict(self).items() if k not in _LATER or v != _LATER[k]}
        return f"{zlib.crc32(json.dumps(values, sort_keys=True, default=str).encode()):08x}"


@dataclass
class BagReport:
    """What became of one bag.

    Attributes:
        bag: its path.
        name: the videos are called `<name>_<number>`.
        videos: "split/video" -> frames.
        labelled: frames with a mask.
        drops: what was left out, by reason.
        damage: what was wrong with the file.
        notes: what is odd but used, with the number of frames.
        topics: which topics were used.
        error: why the bag could not be converted at all; None when it was.
        resumed: the bag had been converted before.
        late_masks: masks drawn since then, which were added.
    """

    bag: str
    name: str
    videos: dict[str, int] = field(default_factory=dict)
    labelled: int = 0
    drops: dict[str, Any] = field(default_factory=dict)
    damage: list[str] = field(default_factory=list)
    notes: dict[str, int] = field(default_factory=dict)
    topics: dict[str, str | None] = field(default_factory=dict)
    error: str | None = None
    resumed: bool = False
    late_masks: int = 0


def convert_bag(bag: Path, name: str, out: Path, cfg: ConvertConfig, title: str = "") -> BagReport:
    """Convert one bag; where it was already converted with the same settings, only masks drawn since then are added.

    Videos are written to a scratch folder and moved into place when the whole bag is done, under a lock: a killed,
    repeated or doubled run leaves every file written once or not at all.

    Args:
        bag: the bag.
        name: plain name for its videos.
        out: the dataset's folder.
        cfg: settings.
        title: of the progress bar; default: the name.

    Raises:
        ConfigError: a name that is no plain file name, or videos in the way that are not this bag's.
        InputError: the bag cannot be read, or its topics cannot be chosen.
    """
    if not safe_name(name):
        raise ConfigError(f"bag name: expected a plain file name, got {name!r}")
    state = out / STATE_FOLDER
    state.mkdir(parents=True, exist_ok=True)
    key = {**identity(bag), "settings": cfg.fingerprint()}
    marker = state / f"{name}.json"
    done = _finished(marker, key)
    if done is not None:
        return _with_late_masks(done, out, cfg)
    scratch = state / f"{name}.{uuid.uuid4().hex[:8]}.partial"
    try:
        report = _write_videos(bag, name, scratch, cfg, title or name)
        with locked(state / f"{name}.lock"):
            done = _finished(marker, key)
            if done is not None:
                return done
            commit(scratch, out, marker, list(report.videos), asdict(report), key)
    except (M4SamError, OSError):
        done = _finished(marker, key)  # another process finished this bag meanwhile and cleared our scratch folder
        if done is None:
            raise
        return done
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return report


def _with_late_masks(report: BagReport, out: Path, cfg: ConvertConfig) -> BagReport:
    drops = Drops()
    rule = MaskRule.parse(cfg.mask_values)
    annotations = find_annotations(cfg.annotations, report.name, drops, rule)
    if annotations:
        for video in report.videos:
            report.late_masks += add_late_masks(out / video, annotations, rule, drops)
        count_strays(annotations, (out / video for video in report.videos), drops)
        report.labelled = sum(1 for video in report.videos for _ in (out / video / "mask").glob("*.png"))
        report.drops = {**report.drops, **drops.as_dict()}
    return report


def split_of(recording: str, cfg: ConvertConfig) -> str:
    """The split a recording's videos belong to; the same name always lands in the same split.

    By its first video's name: datasets of before, when each video went its own way, had that one there.
    """
    if cfg.split != "auto":
        return cfg.split
    place = zlib.crc32(_video_name(recording, 1).encode()) / 2**32
    if place < cfg.test_share:
        return "test"
    return "val" if place < cfg.test_share + cfg.val_share else "train"


def _video_name(recording: str, number: int) -> str:
    return f"{recording}_{number:03d}"


# ------------------------------------------------------------------------------------------- writing


def _write_videos(bag: Path, name: str, scratch: Path, cfg: ConvertConfig, title: str) -> BagReport:
    report, drops = BagReport(str(bag), name), Drops()
    with BagSource(bag) as source:
        topics = choose_topics(source, cfg.rgb_topic, cfg.depth_topic, cfg.mask_topic)
        report.topics = asdict(topics)
        intrinsics = read_intrinsics(source, topics)
        rule = MaskRule.parse(cfg.mask_values)
        unit_m = cfg.depth_unit_m or DEFAULT_UNIT_M
        labeller_of = (cfg.annotations, cfg.model, name, drops, cfg.min_confidence, rule, topics.mask, unit_m)
        with make_labeller(*labeller_of) as labeller:
            writer: _VideoWriter | None = None
            number = 0
            cutter = SceneCutter(cfg.cut, cfg.segment_s, _MAX_GAP_S, unit_m)
            frames = read_frames(source, topics, drops, cfg.tolerance_s, rule, cfg.depth_unit_m)
            for index, frame in enumerate(tracked(frames, title, frame_count(source, topics))):
                reason = cutter.cut_before(frame)
                if writer is None or reason is not None:
                    if writer is not None:
                        writer.close(report, drops)
                    number += 1
                    labeller.new_scene(reason or "begin")
                    writer = _VideoWriter(scratch, name, number, cfg, topics, intrinsics, reason or "begin")
                label = labeller.label(frame, writer.video, drops)
                if index % cfg.every == 0:
                    writer.add(frame, label)
            if writer is not None:
                writer.close(report, drops)
            count_strays(labeller.annotations, (scratch / video for video in report.videos), drops)
        report.damage = list(dict.fromkeys(source.damage))
    report.drops, report.notes = drops.as_dict(), dict(drops.notes)
    if not report.videos:
        reasons = ", ".join(f"{reason} ({n})" for reason, n in drops.counts.most_common()) or "no messages"
        damage = f"; {report.damage[0]}" if report.damage else ""
        raise InputError(
            f"{bag}: expected at least one video of {cfg.min_frames} paired frames, got none: {reasons}{damage}"
        )
    return report


class _VideoWriter:
    """One video in the scratch folder."""

    def __init__(
        self,
        scratch: Path,
        recording: str,
        number: int,
        cfg: ConvertConfig,
        topics: TopicChoice,
        intrinsics: Any,
        begins: str,
    ) -> None:
        self.video = _video_name(recording, number)
        self._recording = recording
        self._split = split_of(recording, cfg)
        self._folder = scratch / self._split / self.video
        self._cfg, self._topics, self._intrinsics, self._begins = cfg, topics, intrinsics, begins
        self._stamps: list[int] = []
        self._labels: dict[int, Label] = {}
        self._encodings: set[str] = set()
        self._frame_id = ""
        for sub in ("rgb", "depth", "mask"):
            (self._folder / sub).mkdir(parents=True)

    def add(self, frame: BagFrame, label: Label | None) -> None:
        stem = str(frame.stamp_ns)
        write_png(self._folder / "rgb" / f"{stem}.png", frame.rgb)
        write_depth(self._folder / "depth" / stem, frame.depth)
        self._stamps.append(frame.stamp_ns)
        self._encodings.add(str(frame.depth.dtype))
        self._frame_id = frame.frame_id
        if label is not None:
            write_png(self._folder / "mask" / f"{stem}.png", label.mask)
            self._labels[frame.stamp_ns] = label

    def close(self, report: BagReport, drops: Drops) -> None:
        if len(self._stamps) < self._cfg.min_frames:
            drops.add("video too short", f"{self.video}: {len(self._stamps)} frames", len(self._stamps))
            shutil.rmtree(self._folder)
            return
        gaps = np.diff(sorted(self._stamps))
        values = {
            "fps": round(float(1e9 / np.median(gaps)), 3) if gaps.size and np.median(gaps) > 0 else None,
            "stems": "stamp_ns",
            "depth_unit_m": self._cfg.depth_unit_m or DEFAULT_UNIT_M,
            "depth_types": sorted(self._encodings),
            "frame_id": self._frame_id,
            "source": Path(report.bag).name,
            "recording": self._recording,
            "topics": asdict(self._topics),
            "begins_with": self._begins,
            "labels": sorted({label.source for label in self._labels.values()}),
            "intrinsics": self._intrinsics,
        }
        write_video_yaml(self._folder / VIDEO_YAML, values)
        predicted = {str(stamp): label for stamp, label in self._labels.items() if label.source.startswith(PSEUDO)}
        write_predicted(self._folder, {stem: PredictedMask(it.source, it.confidence) for stem, it in predicted.items()})
        report.videos[f"{self._split}/{self.video}"] = len(self._stamps)
        report.labelled += len(self._labels)


def _finished(marker: Path, key: dict[str, Any]) -> BagReport | None:
    """The report of an earlier conversion with the same key."""
    values = finished(marker, key)
    return None if values is None else BagReport(**{**values, "resumed": True})
