"""Datasets back into rosbags, and bags with a model's masks added."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from m4sam_core.errors import ConfigError, InputError
from m4sam_core.host.plain_yaml import load_yaml
from m4sam_core.rgbd.bags.frames import Drops, TopicChoice, choose_topics, read_frames
from m4sam_core.rgbd.bags.source import BagSource, check_topic
from m4sam_core.rgbd.bags.write import ImageBagWriter, Storage
from m4sam_core.rgbd.image_files import read_mask, read_rgb
from m4sam_training.data.frames import from_metres, read_frame_depth, to_metres
from m4sam_training.data.scan import Scan, Video
from m4sam_training.data.stems import safe_name

RGB_TOPIC, DEPTH_TOPIC, MASK_TOPIC = "/rgb/image", "/depth/image", "/saliency/mask"
INFO_TOPIC = "/rgb/camera_info"
_START_NS = 1_700_000_000_000_000_000
_FALLBACK_FPS = 25.0


def export_videos(
    scan: Scan, out: Path, storage: Storage = "mcap", progress: Callable[[str], None] = print
) -> list[Path]:
    """Write every video of a split as a bag `<out>/<video>` with rgb, depth and mask topics.

    Metric depth is written as it is stored (16UC1 or 32FC1, bit for bit); the relative depth of 8-bit datasets is
    spread over 0.5 to 5 m. Bags that exist already are left alone, so a stopped run can be repeated.

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
        with ImageBagWriter(partial, storage) as writer:
            _write_video(writer, scan, video)
        _rename_bag(partial, target)
        progress(f"{target}: {len(video.frames)} frames")
        written.append(target)
    return written


def _write_video(writer: ImageBagWriter, scan: Scan, video: Video) -> None:
    meta = _metadata(scan, video)
    frame_id = str(meta.get("frame_id") or "camera_color_optical_frame")
    intrinsics = meta.get("intrinsics")
    for index, frame in enumerate(video.frames):
        stamp_ns = _stamp_ns(frame.stem, index, video.fps)
        rgb = read_rgb(frame.rgb)
        depth = read_frame_depth(frame, rgb, "real")
        if depth.dtype == np.uint8:
            depth = from_metres(to_metres(depth, None), np.zeros(0, np.uint16), 0.001)
        writer.write_image(RGB_TOPIC, rgb, "rgb8", stamp_ns, frame_id)
        encoding = "16UC1" if depth.dtype == np.uint16 else "32FC1"
        writer.write_image(DEPTH_TOPIC, depth, encoding, stamp_ns, frame_id)
        if frame.mask is not None:
            writer.write_image(MASK_TOPIC, read_mask(frame.mask), "mono8", stamp_ns, frame_id)
        if isinstance(intrinsics, dict):
            writer.write_camera_info(INFO_TOPIC, intrinsics, stamp_ns, frame_id)


def _metadata(scan: Scan, video: Video) -> dict[str, Any]:
    path = video.frames[0].rgb.parents[1] / (scan.layout.metadata or "video.yaml")
    if not scan.layout.metadata:
        return {}
    try:
        return load_yaml(path)
    except ConfigError:
        return {}  # already reported by the scan, which goes on with millimetres


def _stamp_ns(stem: str, index: int, fps: float | None) -> int:
    """The stem when it is a stamp of this century in nanoseconds, else a stamp made from the frame rate."""
    if stem.isdigit() and 10**17 < int(stem) < 5 * 10**18:
        return int(stem)
    return _START_NS + round(index * 1e9 / (fps or _FALLBACK_FPS))


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
    """What `predict_bag` did: masks written, what was left out by reason, damage of the bag."""

    masks: int = 0
    drops: Drops = field(default_factory=Drops)
    damage: list[str] = field(default_factory=list)


def predict_bag(
    bag: Path,
    out: Path,
    model: str,
    rgb_topic: str | None = None,
    depth_topic: str | None = None,
    mask_topic: str = MASK_TOPIC,
    storage: Storage = "mcap",
) -> PredictReport:
    """Copy a bag and add the model's masks, each with the header stamp of its rgb image.

    Args:
        bag: the bag; rosbag2 messages are copied byte for byte, ROS 1 messages are converted.
        out: the new bag.
        model: name or path.
        rgb_topic: None: the only plausible one.
        depth_topic: None: the only plausible one.
        mask_topic: topic of the masks.
        storage: mcap or sqlite3.

    Raises:
        ConfigError: `out` exists, or the mask topic is in the bag already.
        InputError: the bag cannot be read.
        CheckpointError: the model cannot be loaded.
    """
    check_topic(mask_topic)
    if out.exists():
        raise ConfigError(f"{out}: expected a new bag, got something that exists; nothing is ever overwritten")
    partial = out.with_name(f".{out.name}.partial")
    scratch = out.with_name(f".{out.name}.ros1")
    report = PredictReport()
    try:
        with _open_as_ros2(bag, scratch) as source:
            if mask_topic in {topic.name for topic in source.topics}:
                raise ConfigError(f"{bag}: expected no topic {mask_topic} yet, got one; choose another --mask-topic")
            topics = choose_topics(source, rgb_topic, depth_topic, "")
            shutil.rmtree(partial, ignore_errors=True)
            out.parent.mkdir(parents=True, exist_ok=True)
            with ImageBagWriter(partial, storage) as writer:
                _copy_all(source, writer)
                _add_masks(source, topics, writer, model, mask_topic, report)
            report.damage = list(dict.fromkeys(source.damage))
        if report.masks == 0:
            raise InputError(f"{bag}: expected at least one pair of rgb and depth, got none")
        _rename_bag(partial, out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(scratch, ignore_errors=True)
    return report


def _open_as_ros2(bag: Path, scratch: Path) -> BagSource:
    """The bag; of a ROS 1 bag a converted copy at `scratch`."""
    source = BagSource(bag)
    if not source.is_ros1:
        return source
    source.close()
    from rosbags.convert.converter import ConverterError, convert
    from rosbags.typesys import Stores, get_typestore

    types = get_typestore(Stores.ROS2_HUMBLE)
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.parent.mkdir(parents=True, exist_ok=True)
    try:
        convert([bag], scratch, "mcap", 8, None, "none", types, types, (), (), (), ())
    except ConverterError as error:
        raise InputError(f"{bag}: expected a ROS 1 bag that can be converted, got {error}") from None
    return BagSource(scratch)


def _add_masks(
    source: BagSource, topics: TopicChoice, writer: ImageBagWriter, model: str, mask_topic: str, report: PredictReport
) -> None:
    from m4sam_core.pipeline import SaliencyPipeline

    pipeline = SaliencyPipeline.from_name(model)
    try:
        for frame in read_frames(source, topics, report.drops):
            result = pipeline.process(frame.rgb, frame.depth, frame.stamp_ns * 1e-9)
            writer.write_image(mask_topic, result.mask, "mono8", frame.stamp_ns, frame.frame_id, frame.log_ns)
            report.masks += 1
    finally:
        pipeline.close()


def _copy_all(source: BagSource, writer: ImageBagWriter) -> None:
    copies = {id(connection): writer.copy_connection(connection) for connection in source.connections}
    for connection, log_ns, raw in source.raw_messages():
        writer.copy(copies[id(connection)], log_ns, bytes(raw))
