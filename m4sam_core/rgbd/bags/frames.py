"""From a bag's topics to paired frames, with the robot's own decoders and pairer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np

from m4sam_core.errors import InputError
from m4sam_core.rgbd.bags.source import BagMessage, BagSource, Topic, check_topic
from m4sam_core.rgbd.compressed import compressed_to_rgb
from m4sam_core.rgbd.compressed_depth import compressed_depth_to_numpy
from m4sam_core.rgbd.encodings import DEPTH_ENCODINGS, image_to_depth, image_to_numpy, image_to_rgb
from m4sam_core.rgbd.pairing import NearestStampPairer, Pair

IMAGE, COMPRESSED, CAMERA_INFO = (
    "sensor_msgs/msg/Image",
    "sensor_msgs/msg/CompressedImage",
    "sensor_msgs/msg/CameraInfo",
)
_NS = 1e-9
_DERIVED_WORDS = ("mask", "overlay", "probability", "confidence", "infra", "/ir/", "left", "right")


@dataclass(frozen=True)
class TopicChoice:
    """Which topics of a bag play which part; None where there is none."""

    rgb: str
    depth: str
    mask: str | None = None
    camera_info: str | None = None


@dataclass(frozen=True)
class BagFrame:
    """One paired frame.

    Attributes:
        stamp_ns: the rgb image's header stamp.
        log_ns: when the later of the two was recorded.
        rgb (H, W, 3): uint8.
        depth (H, W): uint16 counts or float32 metres, as recorded.
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
    """What was left out of a bag, by reason, with the first few cases of each."""

    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)

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


def choose_topics(
    source: BagSource, rgb: str | None = None, depth: str | None = None, mask: str | None = None
) -> TopicChoice:
    """The given topics, or the only plausible ones.

    Args:
        source: an open bag.
        rgb: topic of the colour images; None: the one that looks like it.
        depth: topic of the depth maps; None: the one that looks like it.
        mask: topic of the masks; None: a mono8 topic called mask if there is one; "": none.

    Raises:
        InputError: a topic is missing, ambiguous, or no image topic; the text lists the bag's image topics.
    """
    topics = {t.name: t for t in source.topics if t.plain and t.msgtype in (IMAGE, COMPRESSED) and t.count > 0}
    for given in (rgb, depth, mask):
        if given and check_topic(given) not in topics:
            raise InputError(f"{source.path}: expected images on {given}, got none; {_listing(source)}")
    depth = depth or _only(source, "depth", [t for t in topics.values() if _looks_like_depth(source, t)])
    taken = {depth, mask}
    pictures = [t for t in topics.values() if t.name not in taken and _looks_like_rgb(source, t)]
    rgb = rgb or _only(source, "rgb", _prefer_raw(pictures))
    if mask is None:
        named = [t.name for t in topics.values() if t.msgtype == IMAGE and t.name.rsplit("/", 1)[-1] == "mask"]
        mask = named[0] if len(named) == 1 else None
    infos = [t.name for t in source.topics if t.msgtype == CAMERA_INFO and t.count and t.plain]
    beside = [name for name in infos if name.rsplit("/", 1)[0] == rgb.rsplit("/", 1)[0]]
    return TopicChoice(rgb, depth, mask or None, beside[0] if beside else None)


def read_frames(
    source: BagSource, topics: TopicChoice, drops: Drops, tolerance_s: float | None = None
) -> Iterator[BagFrame]:
    """Paired frames in the order of their rgb stamps; what cannot be used is counted in `drops`.

    Masks are found by the rgb image's stamp, which the saliency node copies. Depth is never reused for a second frame.

    Args:
        source: an open bag.
        topics: from `choose_topics`.
        drops: filled while reading.
        tolerance_s: largest stamp difference of a pair; None adapts to the frame rate as the node does.
    """
    masks = _read_masks(source, topics.mask, drops) if topics.mask else {}
    pairer: NearestStampPairer[BagMessage, BagMessage] = NearestStampPairer(
        tolerance_s=tolerance_s, capacity=60, missing_depth="drop", depth_wait_s=2.0
    )
    for message in source.messages((topics.rgb, topics.depth)):
        add = pairer.add_rgb if message.topic == topics.rgb else pairer.add_depth
        for pair in add(message.stamp_ns * _NS, message):
            yield from _decoded(pair, masks, drops)
    for pair in pairer.flush():
        yield from _decoded(pair, masks, drops)
    for reason, count in pairer.drops.items():
        drops.add(f"rgb without a pair: {reason}", count=count)
    drops.add("depth without a pair", count=pairer.counts["depth_unused"] + pairer.counts["depth_late"])


def read_intrinsics(source: BagSource, topics: TopicChoice) -> dict[str, Any] | None:
    """Width, height, K and distortion of the rgb camera from its first CameraInfo; None without one."""
    if topics.camera_info is None:
        return None
    for message in source.messages((topics.camera_info,)):
        info = message.decoded
        matrix = info.k if hasattr(info, "k") else info.K
        distortion = info.d if hasattr(info, "d") else info.D
        return {
            "width": int(info.width),
            "height": int(info.height),
            "k": [float(x) for x in matrix],
            "distortion_model": str(info.distortion_model),
            "d": [float(x) for x in distortion],
        }
    return None


def decode_rgb(message: BagMessage) -> np.ndarray:
    """Colour image (H, W, 3) uint8 of an Image or CompressedImage.

    Raises:
        InputError: damaged, or of an encoding that is no picture.
    """
    decode = compressed_to_rgb if message.msgtype == COMPRESSED else image_to_rgb
    return decode(message.decoded, message.topic)


def decode_depth(message: BagMessage) -> np.ndarray:
    """Depth (H, W) uint16 or float32 of an Image or compressedDepth message.

    Raises:
        InputError: damaged, or of an encoding that is no depth.
    """
    decode = compressed_depth_to_numpy if message.msgtype == COMPRESSED else image_to_depth
    return decode(message.decoded, message.topic)


def _decoded(pair: Pair[BagMessage, BagMessage], masks: dict[int, bytes], drops: Drops) -> Iterator[BagFrame]:
    if pair.depth is None or pair.skew_s is None:
        drops.add("rgb without a pair: no depth")
        return
    stamp_ns = pair.rgb.stamp_ns
    try:
        rgb, depth = decode_rgb(pair.rgb), decode_depth(pair.depth)
    except InputError as error:
        drops.add("image cannot be decoded", f"{stamp_ns}: {error}")
        return
    if depth.shape != rgb.shape[:2]:
        detail = f"{stamp_ns}: depth {depth.shape}, rgb {rgb.shape[:2]}; record the aligned depth topic"
        drops.add("depth of another size than rgb", detail)
        return
    mask = _unpacked(masks.get(stamp_ns))
    if mask is not None and mask.shape != depth.shape:
        drops.add("mask of another size than rgb", f"{stamp_ns}: mask {mask.shape}, rgb {rgb.shape[:2]}")
        mask = None
    log_ns = max(pair.rgb.log_ns, pair.depth.log_ns)
    yield BagFrame(stamp_ns, log_ns, rgb, depth, mask, str(pair.rgb.decoded.header.frame_id), pair.skew_s)


def _read_masks(source: BagSource, topic: str, drops: Drops) -> dict[int, bytes]:
    """Every mask by stamp, as png bytes: a mask is recorded after its rgb image, and thousands must fit in memory."""
    masks: dict[int, bytes] = {}
    for message in source.messages((topic,)):
        try:
            grey = image_to_numpy(message.decoded, topic)
        except InputError as error:
            drops.add("mask cannot be decoded", f"{message.stamp_ns}: {error}")
            continue
        if grey.ndim != 2 or grey.dtype != np.uint8:
            drops.add("mask is not mono8", f"{message.stamp_ns}: {message.decoded.encoding}")
            continue
        binary = np.where(grey > 127, np.uint8(255), np.uint8(0))
        masks[message.stamp_ns] = cv2.imencode(".png", binary)[1].tobytes()
    return masks


def _unpacked(png: bytes | None) -> np.ndarray | None:
    return None if png is None else np.asarray(cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_GRAYSCALE))


def _first(source: BagSource, topic: Topic) -> BagMessage | None:
    return next(source.messages((topic.name,)), None)


def _looks_like_depth(source: BagSource, topic: Topic) -> bool:
    if "depth" not in topic.name.lower() or any(word in topic.name.lower() for word in ("masked", "overlay")):
        return False
    first = _first(source, topic)
    if first is None:
        return False
    if topic.msgtype == COMPRESSED:
        return "compressedDepth" in str(first.decoded.format)
    return first.decoded.encoding in DEPTH_ENCODINGS


def _looks_like_rgb(source: BagSource, topic: Topic) -> bool:
    if any(word in f"{topic.name.lower()}/" for word in ("depth", *_DERIVED_WORDS)):
        return False
    first = _first(source, topic)
    if first is None:
        return False
    try:
        decode_rgb(first)
    except InputError:
        return False
    return True


def _prefer_raw(topics: list[Topic]) -> list[Topic]:
    """Leaves out `<topic>/compressed` where `<topic>` itself was recorded."""
    raw = {topic.name for topic in topics if topic.msgtype == IMAGE}
    return [t for t in topics if t.msgtype == IMAGE or t.name.removesuffix("/compressed") not in raw]


def _only(source: BagSource, role: str, topics: list[Topic]) -> str:
    candidates = _prefer_raw(topics)
    aligned = [topic for topic in candidates if "aligned" in topic.name or "registered" in topic.name]
    candidates = aligned if len(aligned) == 1 else candidates
    if len(candidates) == 1:
        return candidates[0].name
    names = ", ".join(topic.name for topic in candidates) or "none"
    option = f"give --{role}-topic"
    raise InputError(f"{source.path}: expected one {role} topic, got {names}; {option}. {_listing(source)}")


def _listing(source: BagSource) -> str:
    names = [f"{t.name} ({t.count})" for t in source.topics if t.msgtype in (IMAGE, COMPRESSED)]
    return f"image topics of the bag: {', '.join(names) or 'none'}"
