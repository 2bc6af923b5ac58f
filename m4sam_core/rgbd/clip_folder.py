"""Files of a clip folder: which there are, when they are due, and their pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml

from m4sam_core.errors import InputError

DEFAULT_FPS = 15.0
RGB_FOLDERS = ("rgb", "color", "colour", "image", "images")
DEPTH_FOLDERS = ("depth", "syntheticdepth")
_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".npy")
_NANOSECOND_STEM_DIGITS = 16
_DEPTH_8BIT_FULL_SCALE_MM = 10_000


def read_picture(path: Path) -> np.ndarray:
    """(H, W, 3) uint8 RGB of an image file.

    Raises:
        InputError: it cannot be read.
    """
    bgr = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if bgr is None:
        raise InputError(f"{path}: expected an image, got a file that cannot be decoded; replace or remove it")
    return np.ascontiguousarray(bgr[..., ::-1])


def read_depth(path: Path, encoding: str = "auto") -> np.ndarray:
    """(H, W) depth of a file: uint16 millimetres or float32 metres.

    Args:
        path: 16-bit or 8-bit grey image, float .tiff, or .npy.
        encoding: "16UC1" and "32FC1" convert, "auto" keeps what the file has.

    Raises:
        InputError: it cannot be read, or holds something else.
    """
    raw = _load_npy(path) if path.suffix == ".npy" else cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if raw is None:
        raise InputError(f"{path}: expected a depth image, got a file that cannot be decoded; replace or remove it")
    plane = raw if raw.ndim == 2 else raw[..., 0]
    if plane.dtype == np.uint8:
        plane = (plane.astype(np.uint32) * _DEPTH_8BIT_FULL_SCALE_MM // 255).astype(np.uint16)
    elif plane.dtype == np.float64:
        plane = plane.astype(np.float32)
    if plane.dtype not in (np.uint16, np.float32):
        raise InputError(f"{path}: expected 8-bit, 16-bit or float depth, got {plane.dtype}; convert it")
    if encoding == "32FC1" and plane.dtype == np.uint16:
        return np.where(plane > 0, plane / np.float32(1000), np.float32(np.nan))
    if encoding == "16UC1" and plane.dtype == np.float32:
        return np.clip(np.nan_to_num(plane, nan=0.0, posinf=0.0, neginf=0.0) * 1000, 0, 65534).round().astype(np.uint16)
    return np.ascontiguousarray(plane)


def clip_images(folder: Path, names: tuple[str, ...]) -> dict[str, Path]:
    """Stem to file of the first subfolder called one of `names`, in any case."""
    if not folder.is_dir():
        raise InputError(f"source: expected a clip folder or a rosbag, got the file {folder}")
    found = {child.name.lower(): child for child in folder.iterdir() if child.is_dir()}
    for name in names:
        if name in found:
            files = (file for file in found[name].iterdir() if not file.name.startswith("."))
            return {file.stem: file for file in files if file.suffix.lower() in _SUFFIXES}
    inside = ", ".join(sorted(found)[:5]) or "no folder"
    raise InputError(
        f"clip {folder}: expected a folder {' or '.join(names[:2])} in it, got {inside}; give the folder of one clip"
    )


def video_settings(folder: Path) -> dict[str, Any]:
    """`video.yaml` beside the images; empty without.

    Raises:
        InputError: it is not a YAML mapping.
    """
    path = folder / "video.yaml"
    if not path.is_file():
        return {}
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: expected YAML, got {error}; mend or remove it") from None
    if not isinstance(settings, dict):
        raise InputError(f"{path}: expected a mapping, got {type(settings).__name__}; mend or remove it")
    return settings


def natural_order(stem: str) -> tuple[int, int, str]:
    """Numbers by value and before names: 9 < 10 < a."""
    return (0, int(stem), stem) if stem.isdecimal() else (1, 0, stem)


def are_stamps(stems: list[str]) -> bool:
    """Whether every stem is a time in nanoseconds."""
    return all(stem.isdecimal() and len(stem) >= _NANOSECOND_STEM_DIGITS for stem in stems)


def frame_offsets(stems: list[str], fps: float) -> list[int]:
    """Nanoseconds from the first frame: from `fps`, else from stems that are stamps, else at the default rate."""
    if not fps and are_stamps(stems):
        return [int(stem) - int(stems[0]) for stem in stems]
    return [round(index * 1e9 / (fps or DEFAULT_FPS)) for index in range(len(stems))]


def _load_npy(path: Path) -> np.ndarray | None:
    try:
        return np.asarray(np.load(path, allow_pickle=False))
    except (OSError, ValueError):
        return None
