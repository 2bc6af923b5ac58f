# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""A whole dataset of generated videos."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from m4sam_core.errors import ConfigError
from m4sam_core.host.files import whole_folder
from m4sam_core.host.outputs import check_new_folder
from m4sam_core.host.progress import tracked
from m4sam_training.data.generate.flaws import plant, plant_across
from m4sam_training.data.generate.planted import Planted
from m4sam_training.data.generate.videos import FPS, VideoFiles, write_video
from m4sam_training.data.layouts import Layout, get_layout
from m4sam_training.synth.clip import DrawScene, draw_room, generate_clip


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
        irregular: also plant one of each irregularity into the first video of the first split, and beside it.
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
    check_new_folder(out)
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
    first: dict[str, VideoFiles] = {}
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
            made.append(write_video(parent if table.pictures else parent / name, table, clip, name))
        if table.by_list:
            (base / f"{names[0]}.txt").write_text("".join(f"{video.folder.name}\n" for video in made))
        if irregular and not first:
            planted = plant(made[0], table, base / f"{names[0]}.txt", size, seed)
        first[split] = made[0]
    next(bar, None)
    return planted + (plant_across(list(first.values()), table) if irregular else [])
