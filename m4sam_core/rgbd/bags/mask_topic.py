# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Masks on a recording's topic: raw or compressed; ids, probabilities, colours, alpha. All of a topic mean the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from m4sam_core.errors import InputError
from m4sam_core.rgbd.bags.source import COMPRESSED, BagMessage, BagSource
from m4sam_core.rgbd.compressed import compressed_values
from m4sam_core.rgbd.encodings import image_to_numpy, image_to_rgb
from m4sam_core.rgbd.image_files import swapped_colours
from m4sam_core.rgbd.masks import AUTO, Mask, MaskRule, mixed_values, understand

_LARGEST_ID = 65535
Pixels = NDArray[Any]


class StoredMasks:
    """Masks by the stamp of their image, packed: thousands must fit in memory."""

    def __init__(self, packed: dict[int, bytes]) -> None:
        self._packed = packed

    def take(self, stamp_ns: int) -> Mask | None:
        """The mask (H, W) uint8, 0 or 255, of an image; None when it has none, or gave it away before."""
        data = self._packed.pop(stamp_ns, None)
        return None if data is None else _unpack(data)

    def left(self) -> list[int]:
        """Stamps of the masks that no image took. Nanoseconds."""
        return sorted(self._packed)


def read_mask_topic(
    source: BagSource, topic: str, rule: MaskRule, leave_out: Callable[[str, str, int], None], notes: Counter[str]
) -> StoredMasks:
    """Every mask of a topic.

    Args:
        source: an open bag.
        topic: of the masks.
        rule: which of their values are salient.
        leave_out: takes the reason, an example and the number of what cannot be used.
        notes: counts what is odd but used.
    """
    stored: dict[int, bytes] = {}
    floats: dict[int, float] = {}
    for message in source.messages((topic,)):
        try:
            pixels = _pixels(message)
        except InputError as error:
            leave_out("mask cannot be decoded", f"{message.stamp_ns}: {error}", 1)
            continue
        if message.stamp_ns in stored:
            leave_out("second mask of a stamp", str(message.stamp_ns), 1)
        stored[message.stamp_ns] = _pack(pixels)
        floats.pop(message.stamp_ns, None)
        if pixels.dtype == np.float32:
            floats[message.stamp_ns] = float(pixels.max())
    try:
        _scale_floats(stored, floats)
    except InputError as error:
        leave_out("mask cannot be understood", f"{topic}: {error}", len(stored))
        return StoredMasks({})
    ids = mixed_values(map(_unpack, stored.values())) if rule == AUTO else None
    if ids is not None:
        listed = ", ".join(map(str, ids[:8]))
        reason = f"mask of several class ids ({listed}), say which are salient with --mask-values"
        leave_out(reason, "", len(stored))
        return StoredMasks({})
    masks: dict[int, bytes] = {}
    for stamp_ns, data in stored.items():
        try:
            read = understand(_unpack(data), rule, topic)
        except InputError as error:
            leave_out("mask cannot be understood", f"{stamp_ns}: {error}", 1)
            continue
        if read.note is not None:
            notes[read.note] += 1
        masks[stamp_ns] = _pack(read.mask)
    return StoredMasks(masks)


def _pixels(message: BagMessage) -> Pixels:
    """What a message holds: a grey plane of 8 or 16 bit or float, or colours R, G, B with alpha where it has one."""
    if message.msgtype == COMPRESSED:
        return compressed_values(message.decoded, message.topic)
    values = image_to_numpy(message.decoded, message.topic)
    if values.ndim == 2 and values.dtype.kind == "f":
        return np.nan_to_num(values.astype(np.float32), posinf=0.0, neginf=0.0)
    if values.ndim == 2 and not str(message.decoded.encoding).startswith(("bayer", "nv")):
        return values.astype(values.dtype.newbyteorder("="))
    rgb = image_to_rgb(message.decoded, message.topic)
    if values.ndim < 3 or values.shape[2] != 4:
        return rgb
    alpha = values[..., 3]
    return np.dstack([rgb, alpha if alpha.dtype == np.uint8 else (alpha >> 8).astype(np.uint8)])


def _scale_floats(stored: dict[int, bytes], floats: dict[int, float]) -> None:
    """Float masks of a topic as 8 or 16 bit, by the largest value of all: probabilities, 0 to 255, or whole ids.

    Args:
        stored: packed masks by stamp; those of floats are replaced.
        floats: stamps of float masks, with each one's largest value.

    Raises:
        InputError: they are none of these.
    """
    largest = max(floats.values(), default=0.0)
    for stamp in floats:
        values = np.maximum(_unpack(stored[stamp]), 0)
        whole = bool((values == np.rint(values)).all())
        if largest <= 1:
            stored[stamp] = _pack((values * 255).astype(np.uint8))
        elif largest <= _LARGEST_ID and (whole or largest <= 255):
            stored[stamp] = _pack(np.rint(values).astype(np.uint8 if largest <= 255 else np.uint16))
        else:
            raise InputError(f"expected float masks of 0 to 1, 0 to 255 or whole numbers, got up to {largest:g}")


def _pack(pixels: Pixels) -> bytes:
    """As a PNG (8 or 16 bit) or TIFF (float) file; values are kept."""
    suffix = ".tiff" if pixels.dtype == np.float32 else ".png"
    return cv2.imencode(suffix, np.ascontiguousarray(swapped_colours(pixels)))[1].tobytes()


def _unpack(data: bytes) -> Pixels:
    return swapped_colours(np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)))
