# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""From a bag's topics to paired frames, with the robot's own decoders and pairer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from m4sam_core.errors import InputError
from m4sam_core.rgbd.bags.mask_topic import StoredMasks, read_mask_topic
from m4sam_core.rgbd.bags.source import COMPRESSED, BagMessage, BagSource
from m4sam_core.rgbd.bags.topics import TopicChoice, base_name
from m4sam_core.rgbd.camera_info import is_rectified, shown_region
from m4sam_core.rgbd.compressed import compressed_to_rgb
from m4sam_core.rgbd.compressed_depth import compressed_to_depth
from m4sam_core.rgbd.depth_values import doubtful_unit, is_registered, tells_nothing, to_metres
from m4sam_core.rgbd.encodings import doubt_of, image_to_depth, image_to_rgb, too_few_bits
from m4sam_core.rgbd.masks import AUTO, MaskRule
from m4sam_core.rgbd.pairing import NearestStampPairer, Pair

_NS = 1e-9


@dataclass(frozen=True)
class BagFrame:
    """One paired frame.

    Attributes:
        stamp_ns: the rgb image's header stamp.
        log_ns: when the later of the two was recorded.
        rgb (H, W, 3): uint8.
        depth (h, w): uint16 counts or float32 metres, as recorded; smaller than rgb when it was registered so.
        mask (H, W): uint8 0 or 255; None without one for this stamp.
        frame_id: the rgb image's coordinate frame.
        skew_s: depth stamp minus rgb stamp.
    """

    stamp_ns: int
    log_ns: int
    rgb: np.ndarray
    depth: np.ndarray
    mask: np.ndarray | None
    frame_id: str
    skew_s: float


@dataclass
class Drops:
    """What was left out of a bag, by reason, with the first few cases of each; and what is odd but used."""

    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)
    notes: Counter[str] = field(default_factory=Counter)

    def add(self, reason: str, detail: str = "", count: int = 1) -> None:
        """Count `count` cases of a reason."""
        if count < 1:
            return
        self.counts[reason] += count
        cases = self.examples.setdefault(reason, [])
        if detail and len(cases) < 5:
            cases.append(detail)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {reason: {"count": n, "examples": self.examples.get(reason, [])} for reason, n in self.counts.items()}


def frame_count(source: BagSource, topics: TopicChoice) -> int | None:
    """How many colour images a bag says it has, for a progress bar; None when it does not."""
    return next((topic.count for topic in source.topics if topic.name == topics.rgb), None)


def read_frames(
    source: BagSource,
    topics: TopicChoice,
    drops: Drops,
    tolerance_s: float | None = None,
    rule: MaskRule = AUTO,
    unit_m: float | None = None,
) -> Iterator[BagFrame]:
    """Paired frames in the order of their rgb stamps; what cannot be used is counted in `drops`.

    Masks are found by the rgb image's stamp, which the saliency node copies. Depth is never reused for a second frame.

    Args:
        source: an open bag.
        topics: from `choose_topics`.
        drops: filled while reading.
        tolerance_s: largest stamp difference of a pair; None adapts to the frame rate as the node does.
        rule: which values of the mask topic are salient.
        unit_m: length of one unit of the recorded depth; floats become metres by it. None: they are metres.
    """
    masks = read_mask_topic(source, topics.mask, rule, drops.add, drops.notes) if topics.mask else StoredMasks({})
    pairer: NearestStampPairer[BagMessage, BagMessage] = NearestStampPairer(
        tolerance_s=tolerance_s, capacity=60, missing_depth="drop", depth_wait_s=2.0
    )
    for message in source.messages((topics.rgb, topics.depth)):
        add = pairer.add_rgb if message.topic == topics.rgb else pairer.add_depth
        for pair in add(message.stamp_ns * _NS, message):
            yield from _decoded(pair, masks, drops, unit_m)
    for pair in pairer.flush():
        yield from _decoded(pair, masks, drops, unit_m)
    for reason, count in pairer.drops.items():
        drops.add(f"rgb without a pair: {reason}", count=count)
    drops.add("depth without a pair", count=pairer.counts["depth_unused"] + pairer.counts["depth_late"])
    if left := masks.left():
        drops.add("mask without a pair of its stamp", f"{left[0]} and others", len(left))


def read_intrinsics(source: BagSource, topics: TopicChoice) -> dict[str, Any] | None:
    """Width, height, K and distortion of the rgb images from the first CameraInfo; None without one.

    Of rectified images (image_rect*) P is their K, and they have no distortion; of a region of interest the principal
    point is its own.
    """
    if topics.camera_info is None:
        return None
    message = next(source.messages((topics.camera_info,)), None)
    if message is None:
        return None
    info = message.decoded
    given = (info.k, info.d, info.p) if hasattr(info, "k") else (info.K, info.D, info.P)  # ROS 2, ROS 1
    k, d, p = ([float(value) for value in values] for values in given)
    if is_rectified(base_name(topics.rgb)):
        k, d = [p[index] for index in (0, 1, 2, 4, 5, 6, 8, 9, 10)], []
    region = shown_region(info, _first_shape(source, topics.rgb)) if info.roi.width else None
    if region is not None:
        k[2], k[5] = k[2] - region.x_offset, k[5] - region.y_offset
    shown = region or info
    return {
        "width": int(shown.width),
        "height": int(shown.height),
        "k": k,
        "distortion_model": str(info.distortion_model),
        "d": d,
    }


def _first_shape(source: BagSource, rgb: str) -> tuple[int, int] | None:
    """Rows and columns of the first image that can be read."""
    for message in source.messages((rgb,)):
        try:
            height, width = decode_rgb(message).shape[:2]
        except InputError:
            continue
        return height, width
    return None


def decode_rgb(message: BagMessage) -> np.ndarray:
    """Colour image (H, W, 3) uint8 of an Image or CompressedImage.

    Raises:
        InputError: damaged, or of an encoding that is no picture.
    """
    decode = compressed_to_rgb if message.msgtype == COMPRESSED else image_to_rgb
    return decode(message.decoded, message.topic)


def decode_depth(message: BagMessage) -> np.ndarray:
    """Depth (H, W) uint16 or float32 of an Image, or of a CompressedImage without loss.

    Raises:
        InputError: damaged, or of an encoding that is no depth.
    """
    decode = compressed_to_depth if message.msgtype == COMPRESSED else image_to_depth
    return decode(message.decoded, message.topic)


def _decoded(
    pair: Pair[BagMessage, BagMessage], masks: StoredMasks, drops: Drops, unit_m: float | None
) -> Iterator[BagFrame]:
    if pair.depth is None or pair.skew_s is None:
        drops.add("rgb without a pair: no depth")
        return
    stamp_ns = pair.rgb.stamp_ns
    try:
        rgb, depth = decode_rgb(pair.rgb), decode_depth(pair.depth)
    except InputError as error:
        drops.add("image cannot be decoded", f"{stamp_ns}: {error}")
        return
    frame_id = str(pair.rgb.decoded.header.frame_id)
    if depth.shape != rgb.shape[:2]:
        if not is_registered(depth, str(pair.depth.decoded.header.frame_id), rgb.shape[:2], frame_id):
            detail = f"{stamp_ns}: depth {depth.shape}, rgb {rgb.shape[:2]}; record the aligned depth topic"
            drops.add("depth of another size than rgb", detail)
            return
        drops.notes["depth of another size than rgb, resized when it is used"] += 1
    for doubt in (doubt_of(pair.rgb.decoded) or too_few_bits(pair.rgb.decoded, rgb), doubt_of(pair.depth.decoded)):
        if doubt is not None:
            drops.notes[doubt] += 1
    if unit_m is not None and depth.dtype == np.float32:
        depth = to_metres(depth) * np.float32(unit_m)
    if (nothing := tells_nothing(depth)) is not None:
        drops.notes[nothing] += 1
    if (doubt := doubtful_unit(depth)) is not None:
        drops.notes[f"{doubt.split(':')[0]}; tell its unit with --depth-unit"] += 1
    mask = masks.take(stamp_ns)
    if mask is not None and mask.shape != rgb.shape[:2]:
        drops.add("mask of another size than rgb", f"{stamp_ns}: mask {mask.shape}, rgb {rgb.shape[:2]}")
        mask = None
    log_ns = max(pair.rgb.log_ns, pair.depth.log_ns)
    yield BagFrame(stamp_ns, log_ns, rgb, depth, mask, frame_id, pair.skew_s)
