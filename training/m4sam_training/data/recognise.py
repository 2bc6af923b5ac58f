# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Which layout a folder has, told by its folder names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from m4sam_core.errors import ConfigError
from m4sam_core.rgbd.clip_folder import find_folder
from m4sam_training.data.layouts import LAYOUTS, Layout
from m4sam_training.data.scan import locate_split

AUTO_LAYOUT = "auto"
_LOOKED_AT = 20  # entries of a split; real sets have stray files and videos without masks


def layout_of(root: Path | str, name: str = AUTO_LAYOUT) -> str:
    """`name` itself; for "auto" the one layout whose splits, videos and mask folders are in `root`.

    Raises:
        ConfigError: no layout fits, or several do.
    """
    if name != AUTO_LAYOUT:
        return name
    fitting = [table.name for table in LAYOUTS.values() if _fits(Path(root), table)]
    if len(fitting) > 1:
        fitting = [name for name in fitting if _fits(Path(root), LAYOUTS[name], exactly=True)] or fitting
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise ConfigError(f"{root}: its folders fit {' and '.join(fitting)}; say which with --layout")
    raise ConfigError(
        f"{root}: expected a dataset in one of the layouts {', '.join(LAYOUTS)}, got folders that fit none; "
        "`m4sam dataset info` lists what each looks like, --layout says what is missing"
    )


def _fits(root: Path, table: Layout, *, exactly: bool = False) -> bool:
    places = (locate_split(root, table, split) for split in table.splits)
    return any(_holds(place, table, exactly) for place in places if place is not None)


def _holds(place: Path, table: Layout, exactly: bool) -> bool:
    if place.is_file() and table.frame_list:
        return True
    return any(_is_video(folder, table, exactly) for folder in _videos(place, table))


def _videos(place: Path, table: Layout) -> Iterator[Path]:
    if table.pictures:
        yield place
    elif place.is_dir():
        yield from sorted(path for path in place.iterdir() if path.is_dir())[:_LOOKED_AT]
    else:
        lines = place.read_text(encoding="utf-8-sig", errors="replace").splitlines()[:_LOOKED_AT]
        names = filter(None, (line.strip().strip("/") for line in lines))
        yield from (path for name in names if (path := place.parent / table.video_folder / name).is_dir())


def _is_video(folder: Path, table: Layout, exactly: bool) -> bool:
    rgb, mask = find_folder(folder, table.rgb), find_folder(folder, table.mask)
    if rgb is None:
        return False
    if table.metadata and (folder / table.metadata).is_file():
        return True
    return mask is not None and (not exactly or mask.name in table.mask)
