# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""The one reader and the one writer of depth files.

| file | meaning |
|---|---|
| 8 bit | relative: 0 = no reading, larger = farther |
| 16 bit (also wider integers in .tiff and .npy) | counts; how long one is stands in video.yaml, else a millimetre |
| float (tiff, .npy) | metres |

Colour-coded and packed depth has to be named by a `DepthCoding`: taken as it is, its luminance goes up and down with
distance, and nothing in the file says which map or byte order it is.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from m4sam_core.errors import InputError
from m4sam_core.rgbd.depth_values import doubtful_unit, has_reading, tells_nothing
from m4sam_core.rgbd.image_files import (
    IMAGE_SUFFIXES,
    image_size,
    is_coloured,
    one_channel,
    read_samples,
    write_encoded,
    write_png,
)

DEPTH_SUFFIXES = (".npy", *IMAGE_SUFFIXES)
DepthCoding = Literal["plain", "near_bright", "jet", "jet_near_red", "packed_rg", "packed_gr", "packed_gb", "packed_bg"]
DEPTH_CODINGS: tuple[DepthCoding, ...] = (
    "plain",
    "near_bright",
    "jet",
    "jet_near_red",
    "packed_rg",
    "packed_gr",
    "packed_gb",
    "packed_bg",
)
"""How distance stands in a file: as its value, inverted, as a JET colour, or in two channels, the high byte's first."""

_LEVELS = 32  # steps a channel of the table from colour to place in a colour map
_ON_MAP_SHARE = 0.9
_NEAR_MAP = 40  # largest difference per channel of a colour that a lossy file may have left of the map's


@dataclass(frozen=True)
class DepthFile:
    """A depth file's map, and what is odd about it.

    Attributes:
        depth (H, W): uint8 relative, uint16 counts, or float32 metres.
        flaw: what is odd about it, for people (details after a colon); None when nothing is.
    """

    depth: NDArray[Any]
    flaw: str | None

    @property
    def is_empty(self) -> bool:
        """Whether no pixel has a reading."""
        return not has_reading(self.depth).any()


def read_depth(path: Path, coding: DepthCoding = "plain") -> NDArray[Any]:
    """Depth (H, W) of a file: uint8 relative, uint16 counts, or float32 metres.

    Raises:
        InputError: the file cannot be decoded, or holds nothing of the coding's kind.
    """
    return look_at_depth(path, coding).depth


def look_at_depth(path: Path, coding: DepthCoding = "plain") -> DepthFile:
    """The same with what is odd about the file.

    8-bit colours become their luminance with the coding "plain", as the published loaders have it.

    Raises:
        InputError: as `read_depth`.
    """
    raw = _stored(_read_npy(path) if path.suffix.lower() == ".npy" else read_samples(path), path)
    depth = _decode(raw, path, coding)
    if coding == "plain" and is_coloured(raw):
        kind = "JET colour map" if _on_map(raw) else "packed bytes or a colour map"
        return DepthFile(depth, f"depth is a colour picture, its luminance is used, see --depth-coding: {kind}")
    return DepthFile(depth, tells_nothing(depth) or doubtful_unit(depth))


def _decode(raw: NDArray[Any], path: Path, coding: DepthCoding) -> NDArray[Any]:
    if coding == "plain":
        return one_channel(raw, path)
    if coding == "near_bright":
        return _inverted(one_channel(raw, path), path)
    if raw.ndim != 3 or raw.shape[2] < 3 or raw.dtype != np.uint8:
        raise InputError(f"{path}: expected an 8-bit colour picture for depth coding {coding}, got {raw.shape}")
    if coding.startswith("packed"):
        high, low = ("rgb".index(letter) for letter in coding[-2:])
        return raw[..., high].astype(np.uint16) << 8 | raw[..., low]
    place = _map_places()[_cells(raw)].astype(np.uint16)
    place = (256 - place if coding == "jet_near_red" else place + 1).clip(1, 255)
    return np.where(raw[..., :3].max(axis=2) > 0, place, 0).astype(np.uint8)


def depth_size(path: Path) -> tuple[int, int]:
    """(height, width) of a depth file in px, without decoding an image.

    Raises:
        InputError: unreadable or truncated.
    """
    if path.suffix.lower() != ".npy":
        try:
            return image_size(path)
        except InputError:
            if path.suffix.lower() not in (".tif", ".tiff"):
                raise
    raw = _read_npy(path) if path.suffix.lower() == ".npy" else read_samples(path)  # a TIFF of doubles is none to PIL
    height, width = raw.shape[:2]
    return height, width


def write_depth(path: Path, depth: NDArray[Any]) -> None:
    """Depth without loss: uint16 (or uint8) as `<path>.png`, float32 as `<path>.tiff`.

    Raises:
        InputError: another type, or the file cannot be written.
    """
    if depth.dtype in (np.uint8, np.uint16):
        write_png(path.with_name(f"{path.name}.png"), depth)
    elif depth.dtype == np.float32:
        write_encoded(path.with_name(f"{path.name}.tiff"), depth, [])
    else:
        raise InputError(f"{path}: expected uint16 or float32 depth, got {depth.dtype}")


def _read_npy(path: Path) -> NDArray[Any]:
    try:
        raw = np.asarray(np.load(path, allow_pickle=False))
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path}: expected a depth array, got {' '.join(str(error).split())}; replace it") from None
    if raw.ndim == 3 and 1 in (raw.shape[0], raw.shape[2]):
        raw = raw[..., 0] if raw.shape[2] == 1 else raw[0]  # (1, H, W), as torch has it
    if raw.ndim not in (2, 3) or 0 in raw.shape or raw.dtype.kind not in "uif":
        raise InputError(f"{path}: expected an array (H, W) of numbers, got {raw.shape} {raw.dtype}; convert it")
    return raw


def _stored(raw: NDArray[Any], path: Path) -> NDArray[Any]:
    """The samples of a file as uint8, uint16 or float32."""
    if raw.dtype.kind == "f":
        with np.errstate(over="ignore"):
            return raw.astype(np.float32)
    if raw.dtype in (np.uint8, np.uint16):
        return raw
    counts = np.maximum(raw, 0)  # negative counts are no reading
    if counts.max() > np.iinfo(np.uint16).max:
        raise InputError(f"{path}: expected counts up to 65535, got {counts.max()}; store metres as float32")
    return counts.astype(np.uint16)


def _inverted(depth: NDArray[Any], path: Path) -> NDArray[Any]:
    if depth.dtype not in (np.uint8, np.uint16):
        raise InputError(f"{path}: expected 8-bit or 16-bit depth for near_bright, got {depth.dtype}; choose plain")
    top = int(np.iinfo(depth.dtype).max) if depth.dtype == np.uint8 else np.iinfo(np.uint16).max - 1
    far = top + 1 - depth.astype(np.int32)
    return np.where(has_reading(depth), far, 0).astype(depth.dtype)


def _on_map(raw: NDArray[np.uint8]) -> bool:
    """Whether nearly all colours are of the JET map."""
    colours = raw[..., :3].reshape(-1, 3)
    colours = colours[colours.max(axis=1) > 0]
    if colours.size == 0:
        return False
    nearest = _jet()[_map_places()[_cells(colours)]].astype(np.int16)
    apart = np.abs(nearest - colours.astype(np.int16)).max(axis=1)
    return bool(np.mean(apart <= _NEAR_MAP) >= _ON_MAP_SHARE)


def _cells(colours: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], ...]:
    """Indices into the table of places, channel by channel."""
    return tuple(colours[..., channel] // (256 // _LEVELS) for channel in range(3))


def _jet() -> NDArray[np.uint8]:
    """(256, 3) R, G, B of the JET map, blue first."""
    ramp = np.arange(256, dtype=np.uint8)[None]
    return np.ascontiguousarray(cv2.applyColorMap(ramp, cv2.COLORMAP_JET)[0, :, ::-1])


@functools.cache
def _map_places() -> NDArray[np.uint8]:
    """(L, L, L): nearest place in the JET map of every coarse colour."""
    step = 256 // _LEVELS
    axis = np.arange(_LEVELS) * step + step // 2
    colours = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3).astype(np.float32)
    jet = _jet().astype(np.float32)
    distance = (jet**2).sum(1)[None] - 2 * colours @ jet.T  # the colour's own square does not change the order
    return distance.argmin(axis=1).astype(np.uint8).reshape(_LEVELS, _LEVELS, _LEVELS)
