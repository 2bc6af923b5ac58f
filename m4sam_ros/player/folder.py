# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""A clip folder as a source of the player: images become messages."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from m4sam_core.errors import InputError
from m4sam_core.rgbd.clip_folder import (
    DEFAULT_FPS,
    DEPTH_FOLDERS,
    RGB_FOLDERS,
    clip_folder,
    frame_times,
    images_by_stem,
    match_names,
    unread_files,
    unread_note,
)
from m4sam_core.rgbd.depth_files import DEPTH_SUFFIXES, look_at_depth, read_depth
from m4sam_core.rgbd.depth_values import in_millimetres, to_metres
from m4sam_core.rgbd.image_files import read_rgb, rgb_flaw
from m4sam_core.rgbd.video_yaml import VIDEO_YAML, read_video_yaml
from m4sam_ros.messages.compressed import rgb_to_compressed
from m4sam_ros.messages.compressed_depth import numpy_to_compressed_depth
from m4sam_ros.messages.convert import numpy_to_image
from m4sam_ros.player.settings import PlayConfig
from m4sam_ros.player.source import DEPTH, INFO, RGB, Item, ros_header

_CACHE_BYTES = 256 * 1024 * 1024


class FolderSource:
    """`<folder>/rgb` and `<folder>/depth`, images of equal stem; also the layout that `m4sam bag to-dataset` writes.

    An rgb image without depth is played without. Depth is published as millimetres, or as float metres where its files
    are; counts by the clip's `depth_unit_m`, 8-bit relative depth over `RELATIVE_NEAR_M` to `RELATIVE_FAR_M`.

    Raises:
        InputError: no such folders, or nothing in common.
    """

    def __init__(self, folder: Path, cfg: PlayConfig) -> None:
        self._cfg = cfg
        rgb, depth = clip_folder(folder, RGB_FOLDERS), clip_folder(folder, DEPTH_FOLDERS)
        self._rgb = images_by_stem(rgb)
        self._depth = images_by_stem(depth, DEPTH_SUFFIXES)
        match_names({"rgb": self._rgb, "depth": self._depth}, lambda *_: None)
        stems = list(self._rgb)
        if not stems:
            got = unread_files(rgb) or "none"
            raise InputError(f"clip {folder}: expected images in rgb/, got {got}; see docs/viewers.md for the layout")
        if not set(stems) & set(self._depth):
            others = "" if self._depth else unread_files(depth, DEPTH_SUFFIXES)
            got = f", but {others}" if others else ""
            raise InputError(
                f"clip {folder}: expected images of equal stem in rgb/ and depth/, got none in common{got}"
            )
        self._stems = stems[: cfg.max_frames or None]
        self._info = read_video_yaml(folder / VIDEO_YAML)
        times = frame_times(self._stems, self._info, cfg.fps)
        self._offsets_ns, self._first_stamp_ns = times.offsets_ns, times.first_ns or 0
        self.period_ns = self._offsets_ns[-1] + _typical_step(self._offsets_ns, cfg.fps or DEFAULT_FPS)
        notes = unread_note(rgb), unread_note(depth, DEPTH_SUFFIXES), *self._look()
        self.notes = [note for note in notes if note is not None]
        if not _is_matrix((self._info.intrinsics or {}).get("k")):
            self.notes.append(
                f"no intrinsics in {VIDEO_YAML}: camera_info, and so every position, is that of an ideal pinhole of "
                f"{cfg.horizontal_fov_deg:g} degrees (horizontal_fov_deg)"
            )
        self._cache: dict[tuple[str, str], np.ndarray] = {}
        self._cached_bytes = 0
        self._size: tuple[int, int] | None = None

    def _look(self) -> list[str]:
        """What is odd about the first frame's files, and so about all of them."""
        notes = []
        with contextlib.suppress(InputError):  # told when it is due
            if (flaw := rgb_flaw(self._rgb[self._stems[0]])) is not None:
                notes.append(flaw)
            first = next((self._depth[stem] for stem in self._stems if stem in self._depth), None)
            flaw = look_at_depth(first).flaw if first is not None else None
            notes += [flaw] if flaw is not None else []
        return notes

    def kinds(self) -> dict[str, tuple[type, str]]:
        """See `Source`."""
        from sensor_msgs.msg import CameraInfo, CompressedImage, Image

        kinds: dict[str, tuple[type, str]] = {RGB: (Image, ""), DEPTH: (Image, ""), INFO: (CameraInfo, "")}
        if self._cfg.transport == "compressed":
            kinds |= {RGB: (CompressedImage, "/compressed"), DEPTH: (CompressedImage, "/compressedDepth")}
        return kinds

    def preload(self) -> None:
        """Decode the images that fit into memory; one that cannot be read is told of when it is due."""
        for item in self.items():
            if item.channel == INFO:
                continue
            with contextlib.suppress(InputError):
                self._pixels(item.channel, item.key)
                if (item.channel, item.key) not in self._cache:
                    return

    def items(self) -> Iterator[Item]:
        """See `Source`."""
        for stem, offset_ns in zip(self._stems, self._offsets_ns, strict=True):
            stamp_ns = self._first_stamp_ns + offset_ns
            yield Item(INFO, offset_ns, stamp_ns, stem)
            yield Item(RGB, offset_ns, stamp_ns, stem)
            if stem in self._depth:
                yield Item(DEPTH, offset_ns, stamp_ns, stem)

    def message(self, item: Item, stamp_ns: int) -> Any:
        """See `Source`."""
        header = ros_header(stamp_ns, self._cfg.frame_id)
        if item.channel == INFO:
            return _camera_info(header, self._image_size(), self._info.intrinsics or {}, self._cfg.horizontal_fov_deg)
        pixels = self._pixels(item.channel, item.key)
        if self._cfg.transport == "compressed":
            make = rgb_to_compressed if item.channel == RGB else numpy_to_compressed_depth
            return make(pixels, header)
        if item.channel == RGB:
            encoding = self._cfg.rgb_encoding
            return numpy_to_image(pixels if encoding == "rgb8" else pixels[..., ::-1], encoding, header)
        return numpy_to_image(pixels, "32FC1" if pixels.dtype == np.float32 else "16UC1", header)

    def _image_size(self) -> tuple[int, int]:
        if self._size is None:
            self._size = self._pixels(RGB, self._stems[0]).shape[:2]
        return self._size

    def _pixels(self, channel: str, stem: str) -> np.ndarray:
        """Decoded once while the clip fits into memory, else every time."""
        found = self._cache.get((channel, stem))
        if found is not None:
            return found
        pixels = read_rgb(self._rgb[stem]) if channel == RGB else self._read_depth(stem)
        if self._cached_bytes + pixels.nbytes <= _CACHE_BYTES:
            self._cache[channel, stem] = pixels
            self._cached_bytes += pixels.nbytes
        return pixels

    def _read_depth(self, stem: str) -> np.ndarray:
        """Millimetres or float metres, whichever is asked for or nearer to the file."""
        depth, unit_m = read_depth(self._depth[stem]), self._info.depth_unit_m
        wanted = self._cfg.depth_encoding
        if wanted == "32FC1" or (wanted == "auto" and depth.dtype == np.float32):
            metres = to_metres(depth, unit_m)
            return np.where(metres > 0, metres, np.float32(np.nan))
        return in_millimetres(depth, unit_m)


def _typical_step(offsets_ns: list[int], fps: float) -> int:
    steps = [late - early for early, late in itertools.pairwise(offsets_ns)]
    return int(np.median(steps)) if steps else round(1e9 / fps)


def _is_matrix(k: Any) -> bool:
    """Whether it is a 3x3 one, row-major."""
    return isinstance(k, list) and len(k) == 9


def _camera_info(header: Any, size: tuple[int, int], intrinsics: Mapping[str, Any], fov_deg: float) -> Any:
    """Calibration of the clip where it has one, else an ideal pinhole of the given field of view."""
    from sensor_msgs.msg import CameraInfo

    height, width = size
    focal_px = width / 2 / float(np.tan(np.radians(fov_deg) / 2))
    ideal = [focal_px, 0.0, width / 2, 0.0, focal_px, height / 2, 0.0, 0.0, 1.0]
    given = intrinsics.get("k")
    k = [float(value) for value in given] if given is not None and _is_matrix(given) else ideal
    info = CameraInfo(
        header=header,
        height=int(intrinsics.get("height") or height),
        width=int(intrinsics.get("width") or width),
        distortion_model=str(intrinsics.get("distortion_model") or "plumb_bob"),
    )
    info.d = [float(value) for value in intrinsics.get("d") or [0.0] * 5]
    info.k = k
    info.r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    info.p = [k[0], k[1], k[2], 0.0, k[3], k[4], k[5], 0.0, 0.0, 0.0, 1.0, 0.0]
    return info
