"""Where the player's frames come from: a folder of images, or a rosbag. Both look the same to the player."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from m4sam_core.errors import InputError
from m4sam_core.rgbd.clip_folder import (
    DEFAULT_FPS,
    DEPTH_FOLDERS,
    RGB_FOLDERS,
    are_stamps,
    clip_images,
    frame_offsets,
    natural_order,
    read_depth,
    read_picture,
    video_settings,
)
from m4sam_ros.messages.compressed import rgb_to_compressed
from m4sam_ros.messages.compressed_depth import numpy_to_compressed_depth
from m4sam_ros.messages.convert import numpy_to_image
from m4sam_ros.player.settings import PlayConfig

RGB = "rgb"
DEPTH = "depth"
INFO = "camera_info"
CHANNELS = (RGB, DEPTH, INFO)

_CACHE_BYTES = 256 * 1024 * 1024


@dataclass(frozen=True)
class Item:
    """One message to publish.

    Attributes:
        channel: RGB, DEPTH or INFO.
        offset_ns: when it is due, from the start of the source.
        stamp_ns: its header stamp as recorded; for a folder counted from the first frame's (0 without recorded stamps).
        key: what `Source.message` makes the message of.
    """

    channel: str
    offset_ns: int
    stamp_ns: int
    key: Any


class Source(Protocol):
    """A finite recording that can be gone through again and again."""

    period_ns: int
    """One pass, including the last frame's own time."""

    def kinds(self) -> dict[str, tuple[type, str]]:
        """Message type and topic suffix ("", "/compressed", "/compressedDepth") of each channel there is."""
        ...

    def preload(self) -> None:
        """Do ahead what would cost processor time while playing: a camera leaves it to the programs it feeds."""
        ...

    def items(self) -> Iterator[Item]:
        """One pass, in the order of `offset_ns`."""
        ...

    def message(self, item: Item, stamp_ns: int) -> Any:
        """The message, or its serialised bytes, with this header stamp.

        Raises:
            InputError: its file cannot be read.
        """
        ...


def open_source(cfg: PlayConfig) -> Source:
    """The folder or bag `cfg.source`.

    Raises:
        InputError: neither; the text says what was looked for.
    """
    path = Path(cfg.source).expanduser()
    if not cfg.source:
        raise InputError("source: expected a clip folder (rgb/ and depth/) or a rosbag; give -p source:=PATH")
    if not path.exists():
        raise InputError(f"source: expected a clip folder or a rosbag, but {path} does not exist; check the path")
    if path.suffix in (".bag", ".db3", ".mcap") or (path / "metadata.yaml").is_file():
        from m4sam_ros.player.bags import BagSource

        return BagSource(path, cfg)
    return FolderSource(path, cfg)


class FolderSource:
    """`<folder>/rgb` and `<folder>/depth`, images of equal stem; also the layout that `m4sam bag to-dataset` writes.

    An rgb image without depth is played without. Depth: 16-bit millimetres, float metres (.tiff, .npy), or 8 bit, whose
    full scale becomes 10 m.

    Raises:
        InputError: no such folders, or nothing in common.
    """

    def __init__(self, folder: Path, cfg: PlayConfig) -> None:
        self._cfg = cfg
        self._rgb = clip_images(folder, RGB_FOLDERS)
        self._depth = clip_images(folder, DEPTH_FOLDERS)
        stems = sorted(self._rgb, key=natural_order)
        if not stems:
            raise InputError(f"clip {folder}: expected images in rgb/, got none; see docs/viewers.md for the layout")
        if not set(stems) & set(self._depth):
            raise InputError(f"clip {folder}: expected images of equal stem in rgb/ and depth/, got none in common")
        self._stems = stems[: cfg.max_frames or None]
        settings = video_settings(folder)
        self._offsets_ns = frame_offsets(self._stems, cfg.fps or _number(settings, "fps"))
        self._first_stamp_ns = int(self._stems[0]) if not cfg.fps and are_stamps(self._stems) else 0
        self.period_ns = self._offsets_ns[-1] + _typical_step(self._offsets_ns, cfg.fps or DEFAULT_FPS)
        self._intrinsics = settings.get("intrinsics") or {}
        self._cache: dict[tuple[str, str], np.ndarray] = {}
        self._cached_bytes = 0
        self._size: tuple[int, int] | None = None

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
            return _camera_info(header, self._image_size(), self._intrinsics, self._cfg.horizontal_fov_deg)
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
        if channel == RGB:
            pixels = read_picture(self._rgb[stem])
        else:
            pixels = read_depth(self._depth[stem], self._cfg.depth_encoding)
        if self._cached_bytes + pixels.nbytes <= _CACHE_BYTES:
            self._cache[channel, stem] = pixels
            self._cached_bytes += pixels.nbytes
        return pixels


def ros_header(stamp_ns: int, frame_id: str) -> Any:
    """A `std_msgs/Header`."""
    from builtin_interfaces.msg import Time
    from std_msgs.msg import Header

    return Header(stamp=Time(sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9), frame_id=frame_id)


def _typical_step(offsets_ns: list[int], fps: float) -> int:
    steps = [late - early for early, late in itertools.pairwise(offsets_ns)]
    return int(np.median(steps)) if steps else round(1e9 / fps)


def _number(settings: dict[str, Any], key: str) -> float:
    value = settings.get(key, 0)
    return float(value) if isinstance(value, (int, float)) and value > 0 else 0.0


def _camera_info(header: Any, size: tuple[int, int], intrinsics: dict[str, Any], fov_deg: float) -> Any:
    """Calibration of the clip where it has one, else an ideal pinhole of the given field of view."""
    from sensor_msgs.msg import CameraInfo

    height, width = size
    focal_px = width / 2 / float(np.tan(np.radians(fov_deg) / 2))
    ideal = [focal_px, 0.0, width / 2, 0.0, focal_px, height / 2, 0.0, 0.0, 1.0]
    given = intrinsics.get("k")
    k = [float(value) for value in given] if isinstance(given, list) and len(given) == len(ideal) else ideal
    info = CameraInfo(header=header, height=height, width=width, distortion_model="plumb_bob")
    info.d = [float(value) for value in intrinsics.get("d") or [0.0] * 5]
    info.k = k
    info.r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    info.p = [k[0], k[1], k[2], 0.0, k[3], k[4], k[5], 0.0, 0.0, 0.0, 1.0, 0.0]
    return info
