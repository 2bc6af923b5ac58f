# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""The one dataset reader: a folder and a `Layout` in, usable videos and a list of irregular items out.

Nothing irregular is ever used silently: what is skipped and what is used in spite of a flaw both carry path and reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath

from m4sam_core.errors import ConfigError, InputError
from m4sam_core.host.progress import tracked
from m4sam_core.rgbd.clip_folder import find_folder, images_by_stem, match_names
from m4sam_core.rgbd.depth_files import DEPTH_SUFFIXES, DepthCoding
from m4sam_core.rgbd.image_files import IMAGE_SUFFIXES
from m4sam_core.rgbd.masks import AUTO, MaskRule
from m4sam_core.rgbd.order import natural_order
from m4sam_core.rgbd.video_yaml import VideoInfo, read_video_yaml
from m4sam_training.data.layouts import DepthKind, Layout, get_layout
from m4sam_training.data.names import safe_name
from m4sam_training.data.predicted_masks import PREDICTED_FILE, PSEUDO, predicted_stems
from m4sam_training.data.scan_checks import files_agree, sample_values
from m4sam_training.data.videos import Frame, Irregularity, Scan, Video


def scan_split(
    root: Path | str,
    layout: str,
    split: str,
    depth_kind: DepthKind = "real",
    masks: MaskRule = AUTO,
    coding: DepthCoding = "plain",
    *,
    unlabelled: bool = False,
) -> Scan:
    """Find the usable videos of one split.

    Args:
        root: the dataset's folder, or the folder above it.
        layout: a key of `LAYOUTS`.
        split: "train", "val" or "test" in our naming.
        depth_kind: which depth maps to pair with the rgb frames.
        masks: which values of the ground truth are salient.
        coding: how distance stands in the depth files.
        unlabelled: also hand out videos of which no frame has a mask, to have them labelled.

    Raises:
        ConfigError: unknown layout or split, or the root does not hold this layout.
    """
    table = get_layout(layout)
    if split not in table.splits:
        raise ConfigError(f"split: expected one of {', '.join(table.splits)} for {table.title}, got {split!r}")
    scan = Scan(table, Path(root), split)
    _SplitReader(scan, table.depth_folders(depth_kind), masks, coding, unlabelled=unlabelled).read()
    return scan


def available_splits(root: Path | str, layout: str) -> list[str]:
    """Splits of the layout that exist below root.

    Raises:
        ConfigError: unknown layout, or none of its splits is there; the text says what was looked for.
    """
    table = get_layout(layout)
    found = [split for split in table.splits if locate_split(Path(root), table, split) is not None]
    if not found:
        raise ConfigError(
            f"{root}: expected a {table.title} dataset ({_expected(table)}), got none; check path and layout"
        )
    return found


def _expected(table: Layout) -> str:
    names = [name for names in table.splits.values() for name in names]
    if table.by_list:
        return f"{'|'.join(f'{name}.txt' for name in names)} and {table.video_folder}/<video>/{table.rgb[0]}"
    if table.pictures:
        return f"{'|'.join(names)}, with folders {'|'.join(table.rgb)} and {'|'.join(table.mask)}"
    return f"{'|'.join(names)}/<video>/{table.rgb[0]}"


def locate_split(root: Path, table: Layout, split: str) -> Path | None:
    """The split's list file, or the folder that holds its videos; None when neither is there."""
    return next(_places(root, table, split), None)


def _places(root: Path, table: Layout, split: str) -> Iterator[Path]:
    """Every list file or folder that could be the split, the one that is read first."""
    for base in (root / name for name in table.roots):
        for name in table.splits[split]:
            listing, folder = base / f"{name}.txt", base / name
            if table.by_list:
                if listing.is_file():
                    yield listing
            elif table.pictures:
                if folder.is_dir() and find_folder(folder, table.rgb) is not None:
                    yield folder
            elif (folder / name).is_dir() and not any((folder / name / rgb).is_dir() for rgb in table.rgb):
                yield folder / name
            elif folder.is_dir():
                yield folder
            elif table.frame_list and listing.is_file():
                yield listing


class _SplitReader:
    """Reads one split into a Scan."""

    def __init__(
        self, scan: Scan, depth_folders: tuple[str, ...], masks: MaskRule, coding: DepthCoding, *, unlabelled: bool
    ) -> None:
        self._scan, self._masks, self._coding, self._unlabelled = scan, masks, coding, unlabelled
        self._table = scan.layout
        self._depth_folders = depth_folders

    def read(self) -> None:
        place = locate_split(self._scan.root, self._table, self._scan.split)
        if place is None:
            there = [
                name for name in self._table.splits if locate_split(self._scan.root, self._table, name) is not None
            ]
            got = f"{' and '.join(there)} alone; choose one" if there else "none; check the path and the layout"
            raise ConfigError(
                f"{self._scan.root}: expected the {self._scan.split} split of {self._table.title} "
                f"({_expected(self._table)}), got {got}"
            )
        self._note_others(place)
        if self._table.pictures:
            self._read_video(place)
        elif place.is_dir():
            folders = sorted(place.iterdir(), key=lambda path: natural_order(path.name))
            for folder in tracked(folders, f"reading {self._scan.split}"):
                if folder.name.startswith(".") or not folder.is_dir():
                    self._note(folder, "hidden file" if folder.name.startswith(".") else "stray file beside the videos")
                else:
                    self._read_video(folder)
        elif self._table.by_list:
            self._read_video_list(place)
        else:
            self._read_frame_list(place)

    def _note_others(self, place: Path) -> None:
        seen = {place.resolve()}
        for other in _places(self._scan.root, self._table, self._scan.split):
            if other.resolve() not in seen:
                self._note(other, f"another place of the split, give it by itself: {place.name} is read")
            seen.add(other.resolve())

    def _note(self, path: Path, reason: str, used: bool = False) -> None:
        self._scan.irregular.append(Irregularity(path, reason, used))

    # ---------------------------------------------------------------------------- folders of videos

    def _read_video_list(self, listing: Path) -> None:
        seen: set[str] = set()
        names = listing.read_text(encoding="utf-8-sig", errors="replace").split("\n")
        for name in tracked(names, f"reading {self._scan.split}"):
            name = name.strip().strip("/")
            if not name:
                continue
            folder = listing.parent / self._table.video_folder / name
            if not safe_name(name):
                self._note(listing, f"video name is not a plain folder name: {name!r}")
            elif name in seen:
                self._note(listing, f"video listed twice: {name}")
            elif not folder.is_dir():
                self._note(folder, "listed video is missing")
            else:
                self._read_video(folder)
            seen.add(name)

    def _read_video(self, folder: Path) -> None:
        wanted = {"rgb": self._table.rgb, "mask": self._table.mask}
        if self._depth_folders:
            wanted["depth"] = self._depth_folders
        folders = {role: find_folder(folder, names) for role, names in wanted.items()}
        if self._table.pictures and "depth" in folders and folders["depth"] is None:
            del folders["depth"]
            self._note(folder, f"no depth folder ({', '.join(wanted['depth'])}), used without depth", used=True)
        missing = [wanted[role][0] for role, found in folders.items() if found is None]
        if missing:
            self._note(folder, f"video without folder: {', '.join(missing)}")
            return
        files = {
            role: images_by_stem(found, DEPTH_SUFFIXES if role == "depth" else IMAGE_SUFFIXES, self._note)
            for role, found in folders.items()
            if found is not None
        }
        match_names(files, self._note)
        stems = sorted(set().union(*files.values()), key=natural_order)
        frames = [frame for stem in stems if (frame := self._pair(stem, files))]
        self._add_video(folder, frames)

    def _pair(self, stem: str, files: dict[str, dict[str, Path]]) -> Frame | None:
        have = {role: names[stem] for role, names in files.items() if stem in names}
        missing = [role for role in files if role not in have]
        if missing == ["mask"] and self._table.sparse_masks:
            return Frame(stem, have["rgb"], have.get("depth"), None)
        if missing:
            self._note(next(iter(have.values())), f"frame without {' and '.join(sorted(missing))}")
            return None
        return self._sound(Frame(stem, have["rgb"], have.get("depth"), have["mask"]))

    # ---------------------------------------------------------------------------------- frame lists

    def _read_frame_list(self, listing: Path) -> None:
        """RDVS's other form: each line holds the paths of one frame, relative to the list's folder."""
        columns = self._table.frame_list
        videos: dict[Path, list[Frame]] = {}
        seen: set[Path] = set()
        lines = listing.read_text(encoding="utf-8-sig", errors="replace").splitlines()
        for number, line in enumerate(tracked(lines, f"reading {self._scan.split}"), 1):
            tabbed = [part.strip() for part in line.split("\t") if part.strip()]
            parts = tabbed if len(tabbed) == len(columns) else line.split()  # names may have spaces
            if not parts:
                continue
            if number == 1 and {part.strip("/").lower() for part in parts} == set(columns):
                columns = tuple(part.strip("/").lower() for part in parts)
                continue
            if len(parts) != len(columns) or any(".." in PurePosixPath(part).parts for part in parts):
                self._note(listing, f"line is not {len(columns)} paths inside the dataset: line {number}")
                continue
            row = {column: listing.parent / part.lstrip("/") for column, part in zip(columns, parts, strict=True)}
            absent = [path for column, path in row.items() if column != "flow" and not path.is_file()]
            if absent:
                self._note(absent[0], "listed file is missing")
                continue
            if row["img"] in seen:
                self._note(listing, f"frame listed twice: {row['img'].name}, line {number}")
                continue
            seen.add(row["img"])
            depth = row["depth"] if self._depth_folders else None
            frame = self._sound(Frame(row["img"].stem, row["img"], depth, row["gt"]))
            if frame:
                videos.setdefault(_video_of(row["img"], self._table), []).append(frame)
        alike = Counter(folder.name for folder in videos)
        for folder in sorted(videos, key=lambda folder: natural_order(str(folder))):
            frames = sorted(videos[folder], key=lambda frame: natural_order(frame.stem))
            whole = "_".join(folder.relative_to(listing.parent).parts)
            name = folder.name if alike[folder.name] == 1 else whole
            self._add_video(listing.parent / name, frames)

    def _sound(self, frame: Frame) -> Frame | None:
        return frame if files_agree(frame, self._note) else None

    def _add_video(self, folder: Path, frames: list[Frame]) -> None:
        if not frames or not (self._unlabelled or any(frame.mask for frame in frames)):
            self._note(folder, "video without a usable frame")
            return
        info = self._metadata(folder / self._table.metadata) if self._table.metadata else VideoInfo()
        unit_m = info.depth_unit_m if self._table.metadata else None
        frames = self._with_predictions(folder, frames, info) if self._table.metadata else frames
        video = Video(folder.name, tuple(frames), unit_m, info.fps, info, self._masks, self._coding)
        if sample_values(video, folder, self._note):
            self._scan.videos += _apart(video) if self._table.pictures else [video]

    def _with_predictions(self, folder: Path, frames: list[Frame], info: VideoInfo) -> list[Frame]:
        """The frames, told apart by whether somebody drew their mask."""
        masked = {frame.mask.stem: frame for frame in frames if frame.mask is not None}
        try:
            predicted = predicted_stems(folder, info.labels, masked)
        except InputError as error:
            self._note(folder / PREDICTED_FILE, f"masks may be predictions: {error}", used=True)
            return frames
        if predicted:
            sources = ", ".join(label for label in info.labels if label.startswith(PSEUDO)) or "by " + PREDICTED_FILE
            count = f"{len(predicted)} of {len(masked)}"
            self._note(folder, f"masks are predictions, not ground truth: {count}, {sources}", used=True)
        return [replace(frame, predicted=frame.mask is not None and frame.mask.stem in predicted) for frame in frames]

    def _metadata(self, path: Path) -> VideoInfo:
        if not path.is_file():
            self._note(path, "metadata cannot be read, millimetres assumed: no such file", used=True)
        return read_video_yaml(path, lambda reason: self._note(path, reason, used=True))


def _apart(pictures: Video) -> list[Video]:
    """Each picture as a video of its own."""
    return [replace(pictures, name=frame.stem, frames=(frame,)) for frame in pictures.frames]


def _video_of(rgb: Path, table: Layout) -> Path:
    """Folder of a listed rgb file's video: that above `rgb/`, or the rgb folder itself."""
    parent = rgb.parent
    return parent.parent if parent.name.lower() in {name.lower() for name in table.rgb} else parent
