# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Datasets back into rosbags, and bags with a model's masks added."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from m4sam_core.config import DepthConfig, PipelineConfig
from m4sam_core.errors import ConfigError, InputError
from m4sam_core.host.files import write_text
from m4sam_core.host.outputs import naming
from m4sam_core.host.progress import tracked
from m4sam_core.objects import ObjectFinder, as_record
from m4sam_core.predict_objects import OBJECTS_FILE, recorded_camera
from m4sam_core.rgbd.bags.frames import Drops, frame_count, read_frames, read_intrinsics
from m4sam_core.rgbd.bags.ros1_messages import as_cdr, as_ros2
from m4sam_core.rgbd.bags.source import BagSource, check_topic
from m4sam_core.rgbd.bags.storage import Channel
from m4sam_core.rgbd.bags.topics import TopicChoice, choose_topics
from m4sam_core.rgbd.bags.write import ImageBagWriter, Storage
from m4sam_core.rgbd.clip_folder import frame_times
from m4sam_core.rgbd.depth_values import fit_depth, in_millimetres
from m4sam_core.rgbd.image_files import read_rgb
from m4sam_core.rgbd.masks import read_mask
from m4sam_core.rgbd.video_yaml import VideoInfo
from m4sam_training.data.frames import read_frame_depth
from m4sam_training.data.names import safe_name
from m4sam_training.data.videos import FALLBACK_FPS, Scan, Video

RGB_TOPIC, DEPTH_TOPIC = "/rgb/image", "/depth/image"
TRUTH_TOPIC, PREDICTED_TOPIC = "/ground_truth/mask", "/saliency/mask"
INFO_TOPIC = "/rgb/camera_info"
_START_NS = 1_700_000_000_000_000_000


def export_videos(
    scan: Scan, out: Path, storage: Storage = "mcap", progress: Callable[[str], None] = print
) -> list[Path]:
    """Write every video of a split as a bag `<out>/<video>` with rgb, depth and mask topics.

    Metric depth is written as 16UC1 millimetres, or as 32FC1 metres where its files are float (bit for bit, but for
    counts of another length); the relative depth of 8-bit datasets is spread over 0.5 to 5 m. Masks that a model made
    have a topic of their own, as the node's have. Bags that exist already are left alone, so a stopped run can be
    repeated.

    Args:
        scan: the split.
        out: folder for the bags.
        storage: mcap or sqlite3.
        progress: called with a line per bag.

    Raises:
        ConfigError: a video whose name is no plain file name.
    """
    written = []
    for video in scan.videos:
        if not safe_name(video.name):
            raise ConfigError(f"video name: expected a plain folder name, got {video.name!r}")
        target = out / video.name
        if target.exists():
            progress(f"{target}: exists already, left alone")
            continue
        partial = out / f".{video.name}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        out.mkdir(parents=True, exist_ok=True)
        try:
            with naming(target), ImageBagWriter(partial, storage) as writer:
                _write_video(writer, video)
            _rename_bag(partial, target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        progress(f"{target}: {len(video.frames)} frames")
        written.append(target)
    return written


def _write_video(writer: ImageBagWriter, video: Video) -> None:
    frame_id = video.info.frame_id or "camera_color_optical_frame"
    times = frame_times([frame.stem for frame in video.frames], video.info, assumed_fps=FALLBACK_FPS)
    start_ns = _START_NS if times.first_ns is None else times.first_ns
    for frame, offset_ns in zip(tracked(video.frames, video.name), times.offsets_ns, strict=True):
        stamp_ns = start_ns + offset_ns
        rgb = read_rgb(frame.rgb)
        depth = read_frame_depth(frame, rgb, "real", video.coding)
        if depth.dtype != np.float32:
            depth = in_millimetres(depth, video.depth_unit_m)
        writer.write_image(RGB_TOPIC, rgb, "rgb8", stamp_ns, frame_id)
        encoding = "16UC1" if depth.dtype == np.uint16 else "32FC1"
        writer.write_image(DEPTH_TOPIC, depth, encoding, stamp_ns, frame_id)
        if frame.mask is not None:
            topic = PREDICTED_TOPIC if frame.predicted else TRUTH_TOPIC
            writer.write_image(topic, read_mask(frame.mask, video.masks), "mono8", stamp_ns, frame_id)
        if video.info.intrinsics is not None:
            writer.write_camera_info(INFO_TOPIC, video.info.intrinsics, stamp_ns, frame_id)


def _rename_bag(partial: Path, target: Path) -> None:
    """Move a finished bag into place; its storage file and metadata carry the final name."""
    for path in partial.iterdir():
        if path.stem == partial.name or path.name.startswith(partial.name):
            path.rename(path.with_name(path.name.replace(partial.name, target.name, 1)))
    metadata = partial / "metadata.yaml"
    metadata.write_text(metadata.read_text().replace(partial.name, target.name))
    partial.rename(target)


@dataclass
class PredictReport:
    """What `predict_bag` did.

    Attributes:
        masks: masks written.
        drops: frames that were left out, by reason.
        damage: what was wrong with the bag.
        left_out: topics that could not be copied, and why.
        objects: different objects, when they were asked for.
    """

    masks: int = 0
    drops: Drops = field(default_factory=Drops)
    damage: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    objects: int | None = None


def predict_bag(
    bag: Path,
    out: Path,
    model: str,
    rgb_topic: str | None = None,
    depth_topic: str | None = None,
    mask_topic: str = "/saliency/mask",
    storage: Storage = "mcap",
    depth_unit_m: float | None = None,
    *,
    objects: bool = False,
) -> PredictReport:
    """Copy a bag and add the model's masks, each with the header stamp of its rgb image.

    Args:
        bag: the bag; ROS 2 messages are copied byte for byte, ROS 1 messages are converted.
        out: the new bag.
        model: name or path.
        rgb_topic: None: the only plausible one.
        depth_topic: None: the only plausible one.
        mask_topic: topic of the masks.
        storage: mcap or sqlite3.
        depth_unit_m: length of one unit of the recorded depth; None: millimetres in integers, metres in floats.
        objects: also write `out`/objects.jsonl.

    Raises:
        ConfigError: `out` exists, or the mask topic is in the bag already.
        InputError: the bag cannot be read.
        CheckpointError: the model cannot be loaded.
    """
    check_topic(mask_topic)
    if out.exists():
        raise ConfigError(f"{out}: expected a new bag, got something that exists; nothing is ever overwritten")
    partial = out.with_name(f".{out.name}.partial")
    report = PredictReport()
    try:
        with BagSource(bag) as source:
            if mask_topic in {topic.name for topic in source.topics}:
                raise ConfigError(f"{bag}: expected no topic {mask_topic} yet, got one; choose another --mask-topic")
            topics = choose_topics(source, rgb_topic, depth_topic, "")
            shutil.rmtree(partial, ignore_errors=True)
            out.parent.mkdir(parents=True, exist_ok=True)
            with naming(out), ImageBagWriter(partial, storage) as writer:
                _copy_all(source, writer, report)
                lines = _add_masks(source, topics, writer, model, mask_topic, report, depth_unit_m, objects=objects)
            if objects:
                write_text(partial / OBJECTS_FILE, "".join(f"{line}\n" for line in lines))
            report.damage = list(dict.fromkeys(source.damage))
        if report.masks == 0:
            raise InputError(f"{bag}: expected at least one pair of rgb and depth, got none")
        _rename_bag(partial, out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return report


def _add_masks(
    source: BagSource,
    topics: TopicChoice,
    writer: ImageBagWriter,
    model: str,
    mask_topic: str,
    report: PredictReport,
    unit_m: float | None,
    *,
    objects: bool,
) -> list[str]:
    """Write the masks; returns a line of JSON per frame when objects are asked for."""
    from m4sam_core.pipeline import SaliencyPipeline

    settings = PipelineConfig() if unit_m is None else PipelineConfig(depth=DepthConfig(unit_m=unit_m))
    camera, _ = recorded_camera(VideoInfo(intrinsics=read_intrinsics(source, topics))) if objects else (None, None)
    finder, lines, ids = ObjectFinder(), [], set()
    pipeline = SaliencyPipeline.from_name(model, settings)
    try:
        frames = read_frames(source, topics, report.drops, unit_m=unit_m)
        for frame in tracked(frames, "predicting", frame_count(source, topics)):
            depth = fit_depth(frame.depth, *frame.rgb.shape[:2])
            result = pipeline.process(frame.rgb, depth, frame.stamp_ns * 1e-9)
            writer.write_image(mask_topic, result.mask, "mono8", frame.stamp_ns, frame.frame_id, frame.log_ns)
            report.masks += 1
            if result.depth_note is not None:
                report.drops.notes[f"masked from rgb alone: {result.depth_note}"] += 1
            if result.rgb_note is not None:
                report.drops.notes[f"mask left empty: {result.rgb_note}"] += 1
            if objects:
                found = finder.update(
                    result.mask, result.probability, depth, result.stamp,
                    scene_id=result.scene_id, camera=camera, unit_m=settings.depth.unit_m, rgb=frame.rgb,
                    depth_doubt=result.depth_doubt,
                )  # fmt: skip
                ids |= {item.id for item in found.objects}
                lines.append(json.dumps(as_record(frame.stamp_ns, frame.frame_id, found), allow_nan=False))
    finally:
        pipeline.close()
    report.objects = len(ids) if objects else None
    return lines


def _copy_all(source: BagSource, writer: ImageBagWriter, report: PredictReport) -> None:
    """Every message as it is, ROS 1's as ROS 2 has them; channels that are neither are left out."""
    copies: dict[Channel, Any] = {}
    for channel in source.channels:
        try:
            copies[channel] = writer.copy_channel(as_ros2(channel))
        except InputError as error:
            if channel.count:
                report.left_out.append(f"{channel.topic}: {str(error).removeprefix(f'{channel.topic}: ')}")
    for channel, log_ns, raw in source.raw_messages():
        if channel not in copies:
            continue
        try:
            writer.copy(copies[channel], log_ns, as_cdr(channel, raw))
        except InputError as error:
            report.drops.add("message cannot be converted", str(error))
