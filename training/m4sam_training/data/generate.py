# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Small synthetic datasets in every layout, with the irregularities of the real ones on request."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from m4sam_core.errors import ConfigError
from m4sam_core.host.files import whole_folder
from m4sam_core.host.progress import tracked
from m4sam_core.rgbd.depth_files import read_depth
from m4sam_core.rgbd.image_files import write_png
from m4sam_core.rgbd.video_yaml import write_video_yaml
from m4sam_training.data.layouts import Layout, get_layout
from m4sam_training.synth.clip import DrawScene, SynthFrame, draw_room, generate_clip

FPS = 15.0
_START_NS = 1_700_000_000_000_000_000
_SPARSE_STEP = 2  # every second frame of a listed (DViSal) video is annotated


@dataclass(frozen=True)
class Planted:
    """An irregularity that was put in on purpose: the file and the reason `m4sam dataset check` must give."""

    path: Path
    reason: str


@dataclass(frozen=True)
class _VideoFiles:
    """Where a generated video's files are."""

    folder: Path
    rgb: Path
    depth: Path
    mask: Path
    stems: tuple[str, ...]

    def last(self, folder: Path) -> Path:
        return next(folder.glob(f"{self.stems[-1]}.*"))


def generate_dataset(
    out: Path,
    layout: str,
    videos: int = 2,
    frames: int = 6,
    height: int = 240,
    width: int = 320,
    seed: int = 0,
    irregular: bool = False,
    splits: Collection[str] = (),
    kinds: Sequence[DrawScene] = (draw_room,),
) -> list[Planted]:
    """Write `videos` clips of `frames` frames into every split of a layout; the folder appears when it is complete.

    Args:
        out: a folder that does not exist yet or is empty.
        layout: a key of `LAYOUTS`.
        videos: videos per split.
        frames: frames per video.
        height: rows. Pixels.
        width: columns. Pixels.
        seed: same seed, same files.
        irregular: also plant one of each irregularity into the first video of the first split.
        splits: only these, with the same files as beside the others; none: all of the layout.
        kinds: of scenes, in turn.

    Returns:
        What was planted; empty without `irregular`.

    Raises:
        ConfigError: unknown layout, counts below 1, or a folder with something in it.
    """
    table = get_layout(layout)
    if videos < 1 or frames < 1:
        raise ConfigError(f"videos, frames: expected at least 1 of each, got {videos} and {frames}")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"{out}: expected a new or empty folder, got one with files; nothing is ever overwritten")
    with whole_folder(out) as draft:
        only = splits or table.splits
        planted = _write_splits(draft, table, videos, frames, (height, width), seed, only, kinds, irregular=irregular)
    return [replace(item, path=out / item.path.relative_to(draft)) for item in planted]


def _write_splits(
    root: Path,
    table: Layout,
    videos: int,
    frames: int,
    size: tuple[int, int],
    seed: int,
    only: Collection[str],
    kinds: Sequence[DrawScene],
    *,
    irregular: bool,
) -> list[Planted]:
    base = root / table.roots[min(1, len(table.roots) - 1)]
    bar = iter(tracked(range(videos * len(only)), f"generating {table.name}"))
    planted: list[Planted] = []
    for number, (split, names) in enumerate(table.splits.items()):
        if split not in only:
            continue
        made = []
        for index in range(videos):
            next(bar)
            name = f"{split}_{index + 1}"
            parent = base / table.video_folder if table.by_list else base / names[0]
            draw = kinds[index % len(kinds)]
            clip = list(generate_clip(seed + 1000 * number + index, frames, *size, fps=FPS, draw=draw))
            made.append(_write_video(parent if table.pictures else parent / name, table, clip, name))
        if table.by_list:
            (base / f"{names[0]}.txt").write_text("".join(f"{video.folder.name}\n" for video in made))
        if irregular and number == 0:
            planted = _plant(made[0], table, base / f"{names[0]}.txt")
    next(bar, None)
    return planted


def relative_depth(depth_mm: np.ndarray) -> np.ndarray:
    """8-bit depth (H, W) of a map in millimetres: 1..255 from nearest to farthest reading, near dark, holes 0."""
    valid = depth_mm > 0
    if not valid.any():
        return np.zeros(depth_mm.shape, np.uint8)
    near, far = float(depth_mm[valid].min()), float(depth_mm[valid].max())
    scaled = 1 + (depth_mm.astype(np.float32) - near) * (254 / max(far - near, 1.0))
    return np.where(valid, np.clip(np.rint(scaled), 1, 255), 0).astype(np.uint8)


def _write_video(folder: Path, table: Layout, clip: list[SynthFrame], name: str) -> _VideoFiles:
    folders = {
        "rgb": folder / table.rgb[0],
        "depth": folder / table.depth[0],
        "mask": folder / table.mask[0],
        **({"synthetic": folder / table.synthetic_depth[0]} if table.synthetic_depth else {}),
    }
    for path in folders.values():
        path.mkdir(parents=True, exist_ok=table.pictures)
    stems = tuple(_stem(table, name, index, frame.stamp) for index, frame in enumerate(clip))
    for index, (stem, frame) in enumerate(zip(stems, clip, strict=True)):
        _write_rgb(folders["rgb"], stem, frame.rgb, lossless=table.name in ("m4sam", "vidsod100"))
        depth = frame.depth if table.metadata else relative_depth(frame.depth)
        write_png(folders["depth"] / f"{stem}.png", depth)
        if "synthetic" in folders:
            blurred = cv2.GaussianBlur(relative_depth(frame.depth), (0, 0), 3)
            write_png(folders["synthetic"] / f"{stem}.png", blurred)
        if not table.by_list or index % _SPARSE_STEP == 0:
            write_png(folders["mask"] / f"{stem}.png", frame.mask)
    if table.metadata:
        values = {"fps": FPS, "depth_unit_m": 0.001, "source": "generated", "labels": "ground truth"}
        write_video_yaml(folder / table.metadata, values)
    return _VideoFiles(folder, folders["rgb"], folders["depth"], folders["mask"], stems)


def _stem(table: Layout, video: str, index: int, stamp_s: float) -> str:
    if table.name == "rdvs" or table.pictures:
        return f"{video}-{index + 1:05d}"
    if table.name == "m4sam":
        return str(_START_NS + round(stamp_s * 1e9))
    return f"{index + 1:08d}"


def _write_rgb(folder: Path, stem: str, rgb: np.ndarray, lossless: bool) -> None:
    if lossless:
        write_png(folder / f"{stem}.png", rgb)
        return
    path = folder / f"{stem}.jpg"
    _, data = cv2.imencode(".jpg", np.ascontiguousarray(rgb[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, 95])
    path.write_bytes(data.tobytes())


# ------------------------------------------------------------------------------------- irregularities


def _plant(video: _VideoFiles, table: Layout, listing: Path) -> list[Planted]:
    """One of each irregularity; every planted frame is an extra one, so that the generated frames stay usable."""
    planted = [plant(video) for plant in _PLANTERS]
    if not table.sparse_masks:
        planted.append(_rgb_without_mask(video))
    if table.by_list:
        planted += _hostile_list(listing)
    elif not table.pictures:
        empty = video.folder.parent / "empty_video"
        empty.mkdir()
        planted.append(Planted(empty, "video without folder"))
    if table.metadata:
        meta = video.folder / table.metadata
        meta.write_text("a: &a [1]\nb: [*a, *a]\n")
        planted.append(Planted(meta, "metadata cannot be read, millimetres assumed"))
    return planted


def _extra(video: _VideoFiles, stem: str, roles: str) -> dict[str, Path]:
    """Copies of the video's first (annotated) frame under another stem."""
    made = {}
    for role in roles.split():
        folder: Path = getattr(video, role)
        source = next(folder.glob(f"{video.stems[0]}.*"))
        made[role] = folder / f"{stem}{source.suffix}"
        made[role].write_bytes(source.read_bytes())
    return made


def _hidden_file(video: _VideoFiles) -> Planted:
    path = video.rgb / "._hidden.png"
    path.write_bytes(b"\x00\x05\x16\x07")
    return Planted(path, "hidden file")


def _text_among_images(video: _VideoFiles) -> Planted:
    path = video.mask / "readme.txt"
    path.write_text("not an image")
    return Planted(path, "not an image")


def _truncated_rgb(video: _VideoFiles) -> Planted:
    path = _extra(video, "x_truncated_9001", "rgb depth mask")["rgb"]
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    return Planted(path, "rgb cannot be read")


def _empty_depth(video: _VideoFiles) -> Planted:
    path = _extra(video, "x_empty_9002", "rgb depth mask")["depth"]
    path.write_bytes(b"")
    return Planted(path, "depth cannot be read")


def _mask_of_another_size(video: _VideoFiles) -> Planted:
    path = _extra(video, "x_mask_9003", "rgb depth mask")["mask"]
    write_png(path, np.full((40, 50), 255, np.uint8))
    return Planted(path, "mask of another size than rgb")


def _depth_of_another_shape(video: _VideoFiles) -> Planted:
    path = _extra(video, "x_shape_9004", "rgb depth mask")["depth"]
    write_png(path, np.full((50, 50), 99, np.uint8))
    return Planted(path, "depth of another shape than rgb")


def _smaller_depth(video: _VideoFiles) -> Planted:
    path = _extra(video, "x_small_9005", "rgb depth mask")["depth"]
    write_png(path, read_depth(path)[::2, ::2])
    return Planted(path, "depth of another size than rgb, resized")


def _mask_without_rgb(video: _VideoFiles) -> Planted:
    return Planted(_extra(video, "x_orphan_9006", "mask")["mask"], "frame without depth and rgb")


def _two_masks(video: _VideoFiles) -> Planted:
    second = video.mask / f"{video.stems[0]}.jpg"
    cv2.imwrite(str(second), cv2.imread(str(video.mask / f"{video.stems[0]}.png"), cv2.IMREAD_GRAYSCALE))
    return Planted(second, "second file of the same frame")


def _diverging_name(video: _VideoFiles) -> Planted:
    path = _extra(video, "x_name_9007", "rgb depth mask")["mask"]
    renamed = path.with_name(f"ground_truth_9007{path.suffix}")
    path.rename(renamed)
    return Planted(renamed, "mask name diverges, matched by frame number")


def _rgb_without_mask(video: _VideoFiles) -> Planted:
    return Planted(_extra(video, "x_unlabelled_9008", "rgb depth")["rgb"], "frame without mask")


def _hostile_list(listing: Path) -> list[Planted]:
    with listing.open("a") as file:
        file.write("../../outside\ngone\n\n")
    gone = listing.parent / "data" / "gone"
    return [Planted(listing, "video name is not a plain folder name"), Planted(gone, "listed video is missing")]


_PLANTERS: tuple[Callable[[_VideoFiles], Planted], ...] = (
    _hidden_file,
    _text_among_images,
    _truncated_rgb,
    _empty_depth,
    _mask_of_another_size,
    _depth_of_another_shape,
    _smaller_depth,
    _mask_without_rgb,
    _two_masks,
    _diverging_name,
)
