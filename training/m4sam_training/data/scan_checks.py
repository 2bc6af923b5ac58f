"""Whether the files of a frame are sound and agree, and what a video's metadata says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from m4sam_core.errors import ConfigError, InputError
from m4sam_core.host.plain_yaml import load_yaml
from m4sam_core.rgbd.image_files import image_size

if TYPE_CHECKING:
    from m4sam_training.data.scan import Frame

Note = Callable[[Path, str, bool], None]
"""Takes an irregular item's path, the reason, and whether it is used all the same."""

_ASPECT_TOLERANCE = 0.02


def files_agree(frame: Frame, note: Note) -> bool:
    """True when a frame's files are sound and agree in size, or depth can be resized; what is wrong is noted."""
    sizes: dict[str, tuple[int, int]] = {}
    for role, path in (("rgb", frame.rgb), ("depth", frame.depth), ("mask", frame.mask)):
        if path is None:
            continue
        try:
            sizes[role] = image_size(path)
        except InputError as error:
            note(path, f"{role} cannot be read: {_without_path(error, path)}", False)
            return False
    rgb = sizes["rgb"]
    if sizes.get("mask", rgb) != rgb:
        sizes_text = f"{_text(sizes['mask'])}, rgb {_text(rgb)}"
        note(frame.mask or frame.rgb, f"mask of another size than rgb: {sizes_text}", False)
        return False
    depth = sizes.get("depth", rgb)
    if depth == rgb:
        return True
    path, sizes_text = frame.depth or frame.rgb, f"{_text(depth)}, rgb {_text(rgb)}"
    if abs(depth[1] * rgb[0] / (depth[0] * rgb[1]) - 1) > _ASPECT_TOLERANCE:
        note(path, f"depth of another shape than rgb: {sizes_text}", False)
        return False
    note(path, f"depth of another size than rgb, resized: {sizes_text}", True)
    return True


def read_metadata(path: Path, note: Note) -> tuple[float | None, float | None]:
    """Depth unit in metres and frames per second of a video; what cannot be read is noted and has a default."""
    try:
        values = load_yaml(path)
    except ConfigError as error:
        note(path, f"metadata cannot be read, millimetres assumed: {_without_path(error, path)}", True)
        return 0.001, None
    numbers: list[float | None] = []
    for key, fallback in (("depth_unit_m", 0.001), ("fps", None)):
        value = values.get(key, fallback)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < 1e6:
            numbers.append(float(value))
            continue
        if value is not None:
            note(path, f"metadata is not a positive number, default used: {key}", True)
        numbers.append(fallback)
    return numbers[0], numbers[1]


def _without_path(error: Exception, path: Path) -> str:
    return str(error).replace(f"{path}: ", "", 1).replace(f" {str(path)!r}", "")


def _text(size: tuple[int, int]) -> str:
    return f"{size[1]}x{size[0]}"
