# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""The one choice of topics: which of a recording's topics are colour, depth, mask and calibration.

What a topic holds decides, its name only between equals: a camera's topic may be called anything. Every transport of
one image (raw, compressed, compressedDepth) is one image, of which the raw one is taken.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from m4sam_core.errors import InputError
from m4sam_core.rgbd.bags.source import (
    CAMERA_INFO,
    COMPRESSED,
    IMAGE,
    BagMessage,
    BagSource,
    Topic,
    check_topic,
)
from m4sam_core.rgbd.compressed import compressed_to_rgb
from m4sam_core.rgbd.compressed_depth import compressed_to_depth
from m4sam_core.rgbd.encodings import DEPTH_ENCODINGS, image_to_rgb

_TRANSPORTS = ("/compressedDepth", "/compressed")
_SHOWN = 40  # letters of a format; there are longer ones
_LOOK_AT = 5  # messages of a topic that are looked at before it is given up as unreadable
_DERIVED = frozenset(
    (
        *("mask", "masks", "masked", "overlay", "probability", "prob", "confidence", "heatmap", "debug", "disparity"),
        *("label", "labels", "semantic", "segmentation", "seg"),
        *("ir", "infra", "infra1", "infra2", "infrared", "amplitude", "intensity"),
    )
)


@dataclass(frozen=True)
class TopicChoice:
    """Which topics of a bag play which part; None where there is none."""

    rgb: str
    depth: str
    mask: str | None = None
    camera_info: str | None = None


@dataclass(frozen=True)
class _Candidate:
    """A topic that could play a part.

    Attributes:
        name: the topic.
        base: the name without its transport.
        raw: it is not compressed.
        rank: of several, the larger is meant.
    """

    name: str
    base: str
    raw: bool
    rank: tuple[bool, ...]


def choose_topics(
    source: BagSource,
    rgb: str | None = None,
    depth: str | None = None,
    mask: str | None = None,
    camera_info: str | None = None,
) -> TopicChoice:
    """The given topics, or the only plausible ones.

    Args:
        source: an open bag.
        rgb: topic of the colour images; None or "": the one that looks like it.
        depth: topic of the depth maps; None or "": the one that looks like it.
        mask: topic of the masks; None: the one called mask, drawn before predicted, of several the one nearest to
            `rgb`; "": none.
        camera_info: calibration of the colour camera; None or "": the one beside it.

    Raises:
        InputError: a topic is missing, ambiguous, or no image topic; the text lists the bag's image topics.
    """
    topics = {t.name: t for t in source.topics if t.plain and t.msgtype in (IMAGE, COMPRESSED) and t.count > 0}
    for given in (rgb, depth, mask):
        if given and check_topic(given) not in topics:
            raise InputError(f"{source.path}: expected images on {given}, got none; {_listing(source)}")
    colours: list[_Candidate] = []
    depths: list[_Candidate] = []
    if not rgb:
        colours = _candidates(source, (t for t in topics.values() if t.name not in (depth, mask)), _rgb_rank)
    if not depth:
        depths = _candidates(source, (t for t in topics.values() if t.name not in (rgb, mask)), _depth_rank)
    depth = depth or _only(source, "depth", depths, rgb or _single(colours))
    rgb = rgb or _only(source, "rgb", colours, depth)
    if mask is None:
        mask = _mask_topic(source, topics.values(), rgb)
    return TopicChoice(rgb, depth, mask or None, _calibration(source, rgb, camera_info))


def is_prediction(topic: str) -> bool:
    """Whether masks on this topic are a saliency node's, under any namespace, or those of `m4sam bag predict`."""
    return f"/{base_name(topic).lstrip('/')}".endswith("/saliency/mask")


def base_name(topic: str) -> str:
    """The image's name, without the transport."""
    for transport in _TRANSPORTS:
        topic = topic.removesuffix(transport)
    return topic


def _candidates(
    source: BagSource, topics: Iterable[Topic], rank: Callable[[BagMessage], tuple[bool, ...] | None]
) -> list[_Candidate]:
    """Topics of which a message can play the part; of every image its best transport."""
    best: dict[str, _Candidate] = {}
    for topic in topics:
        ranks = (rank(message) for message in islice(source.messages((topic.name,)), _LOOK_AT))
        found = next((value for value in ranks if value is not None), None)
        if found is None:
            continue
        candidate = _Candidate(topic.name, base_name(topic.name), topic.msgtype == IMAGE, found)
        if candidate.base not in best or (candidate.raw and not best[candidate.base].raw):
            best[candidate.base] = candidate
    return list(best.values())


def _depth_rank(message: BagMessage) -> tuple[bool, ...] | None:
    """Registered to colour before not, called depth before not; None: no depth."""
    words = _words(message.topic)
    if words & _DERIVED:
        return None
    if message.msgtype == IMAGE:
        encoding = str(message.decoded.encoding)
        if encoding not in DEPTH_ENCODINGS:
            return None
        grey = encoding == "mono16"  # also what infrared cameras publish
    else:
        try:
            compressed_to_depth(message.decoded, message.topic)
        except InputError:
            return None
        grey = False
    registered = bool(words & {"aligned", "registered"}) or "depth_to_rgb" in message.topic
    return registered, "depth" in message.topic.lower(), not grey


def _rgb_rank(message: BagMessage) -> tuple[bool, ...] | None:
    """Colour before grey, a camera of its own before one of a stereo pair; None: no picture of a colour camera."""
    words = _words(message.topic)
    if words & _DERIVED or "depth" in message.topic.lower() or "right" in words:
        return None
    try:
        decode = image_to_rgb if message.msgtype == IMAGE else compressed_to_rgb
        rgb = decode(message.decoded, message.topic)
    except InputError:
        return None
    if message.msgtype == IMAGE:
        coloured = not str(message.decoded.encoding).startswith(("mono", "8UC1"))
    else:
        coloured = not bool((rgb == rgb[..., :1]).all())
    return coloured, "left" not in words


def _words(topic: str) -> set[str]:
    return set(re.split(r"[/_]+", base_name(topic).lower()))


def _best(candidates: list[_Candidate]) -> list[_Candidate]:
    return [c for c in candidates if c.rank == max(candidate.rank for candidate in candidates)]


def _single(candidates: list[_Candidate]) -> str | None:
    best = _best(candidates)
    return best[0].name if len(best) == 1 else None


def _only(source: BagSource, role: str, candidates: list[_Candidate], other: str | None) -> str:
    """The best candidate; of equals the one that stands nearest to the topic that is known already."""
    best = _best(candidates)
    if len(best) > 1 and other:
        nearness = {candidate.name: _shared(candidate.base, base_name(other)) for candidate in best}
        best = [candidate for candidate in best if nearness[candidate.name] == max(nearness.values())]
    if len(best) == 1:
        return best[0].name
    names = ", ".join(candidate.name for candidate in best) or "none"
    option = f"give --{role}-topic (play: -p {role}_topic:=...)"
    raise InputError(f"{source.path}: expected one {role} topic, got {names}; {option}. {_listing(source)}")


def _mask_topic(source: BagSource, topics: Iterable[Topic], rgb: str) -> str | None:
    """The topic called mask; None without one."""
    named = [
        _Candidate(topic.name, base, topic.msgtype == IMAGE, (not is_prediction(topic.name),))
        for topic in topics
        if (base := base_name(topic.name)).rsplit("/", 1)[-1] == "mask" and topic.name in (base, f"{base}/compressed")
    ]
    best = {candidate.base: candidate for candidate in sorted(named, key=lambda candidate: candidate.raw)}
    return _only(source, "mask", list(best.values()), rgb) if best else None


def _shared(name: str, other: str) -> int:
    """Leading namespaces two topics have in common."""
    count = 0
    for mine, theirs in zip(name.strip("/").split("/")[:-1], other.strip("/").split("/")[:-1], strict=False):
        if mine != theirs:
            break
        count += 1
    return count


def _calibration(source: BagSource, rgb: str, given: str | None) -> str | None:
    infos = [topic.name for topic in source.topics if topic.msgtype == CAMERA_INFO and topic.count and topic.plain]
    wanted = given or f"{base_name(rgb).rpartition('/')[0]}/camera_info"
    if wanted in infos:
        return wanted
    if given:
        got = ", ".join(infos) or "none"
        raise InputError(f"{source.path}: expected CameraInfo on {given}, got {got}; check the name")
    return None


def _listing(source: BagSource) -> str:
    names = [
        " ".join([f"{t.name} ({t.count})", *_holds(source, t)])
        for t in source.topics
        if t.msgtype in (IMAGE, COMPRESSED)
    ]
    return f"image topics of the bag: {', '.join(names) or 'none'}"


def _holds(source: BagSource, topic: Topic) -> Iterator[str]:
    """What a topic's first message says it holds."""
    for message in islice(source.messages((topic.name,)), 1):
        said = getattr(message.decoded, "encoding", "") or getattr(message.decoded, "format", "")
        yield str(said)[:_SHOWN] or "no format"
