"""The one dataset reader: a folder and a `Layout` in, usable videos and a list of irregular items out.

Nothing irregular is ever used silently: what is skipped and what is used in spite of a flaw both carry path and reason.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from m4sam_core.errors import ConfigError
from m4sam_core.rgbd.image_files import IMAGE_SUFFIXES
from m4sam_training.data.layouts import DepthKind, Layout, get_layout
from m4sam_training.data.scan_checks import files_agree, read_metadata
from m4sam_training.data.stems import match_diverging, safe_name


@dataclass(frozen=True)
class Irregularity:
    """One item that is not as the layout says.

    Attributes:
        path: the file or folder.
        reason: what is wrong, one of a small set of sentences so that they can be counted.
        used: the item is used all the same (the reason says how); False when it is skipped.
    """

    path: Path
    reason: str
    used: bool = False


@dataclass(frozen=True)
class Frame:
    """Files of one frame; `depth` is None for depth kinds without files, `mask` for frames without ground truth."""

    stem: str
    rgb: Path
    depth: Path | None
    mask: Path | None


@dataclass(frozen=True)
class Video:
    """Frames of one video in order of their stems.

    Attributes:
        depth_unit_m: length of one count of an integer depth file in metres; None when unknown (8-bit datasets).
        fps: frames per second; None when unknown.
    """

    name: str
    frames: tuple[Frame, ...]
    depth_unit_m: float | None = None
    fps: float | None = None

    @property
    def annotated(self) -> tuple[Frame, ...]:
        """Frames with ground truth, the only ones that are trained and scored."""
        return tuple(frame for frame in self.frames if frame.mask is not None)


@dataclass
class Scan:
    """What `scan_split` found."""

    layout: Layout
    root: Path
    split: str
    videos: list[Video] = field(default_factory=list)
    irregular: list[Irregularity] = field(default_factory=list)

    @property
    def frame_count(self) -> int:
        """Frames with ground truth."""
        return sum(len(video.annotated) for video in self.videos)

    def counts(self) -> Counter[str]:
        """Number of irregular items per reason (details after a colon are left out)."""
        return Counter(item.reason.split(":")[0] for item in self.irregular)


def scan_split(root: Path | str, layout: str, split: str, depth_kind: DepthKind = "real") -> Scan:
    """Find the usable videos of one split.

    Args:
        root: the dataset's folder, or the folder above it.
        layout: a key of `LAYOUTS`.
        split: "train", "val" or "test" in our naming.
        depth_kind: which depth maps to pair with the rgb frames.

    Raises:
        ConfigError: unknown layout or split, or the root does not hold this layout.
    """
    table = get_layout(layout)
    if split not in table.splits:
        raise ConfigError(f"split: expected one of {', '.join(table.splits)} for {table.title}, got {split!r}")
    scan = Scan(table, Path(root), split)
    _SplitReader(scan, table.depth_folders(depth_kind)).read()
    return scan


def available_splits(root: Path | str, layout: str) -> list[str]:
    """Splits of the layout that exist below root.

    Raises:
        ConfigError: unknown layout, or none of its splits is there; the text says what was looked for.
    """
    table = get_layout(layout)
    found = [split for split in table.splits if _locate(Path(root), table, split) is not None]
    if not found:
        raise ConfigError(
            f"{root}: expected a {table.title} dataset ({_expected(table)}), got none; check path and layout"
        )
    return found


def _expected(table: Layout) -> str:
    names = [name for names in table.splits.values() for name in names]
    if table.by_list:
        return f"{'|'.join(f'{name}.txt' for name in names)} and {table.video_folder}/<video>/{table.rgb[0]}"
    return f"{'|'.join(names)}/<video>/{table.rgb[0]}"


def _locate(root: Path, table: Layout, split: str) -> Path | None:
    """The split's list file, or the folder that holds its videos."""
    for base in (root / name for name in table.roots):
        for name in table.splits[split]:
            listing, folder = base / f"{name}.txt", base / name
            if table.by_list:
                if listing.is_file():
                    return listing
                continue
            if (folder / name).is_dir() and not any((folder / name / rgb).is_dir() for rgb in table.rgb):
                return folder / name
            if folder.is_dir():
                return folder
            if table.frame_list and listing.is_file():
                return listing
    return None


class _SplitReader:
    """Reads one split into a Scan."""

    def __init__(self, scan: Scan, depth_folders: tuple[str, ...]) -> None:
        self._scan = scan
        self._table = scan.layout
        self._depth_folders = depth_folders

    def read(self) -> None:
        place = _locate(self._scan.root, self._table, self._scan.split)
        if place is None:
            raise ConfigError(
                f"{self._scan.root}: expected the {self._scan.split} split of {self._table.title} "
                f"({_expected(self._table)}), got no such folder or list; check the path and the layout"
            )
        if place.is_dir():
            for folder in sorted(place.iterdir()):
                if folder.name.startswith(".") or not folder.is_dir():
                    self._note(folder, "hidden file" if folder.name.startswith(".") else "stray file beside the videos")
                else:
                    self._read_video(folder)
        elif self._table.by_list:
            self._read_video_list(place)
        else:
            self._read_frame_list(place)

    def _note(self, path: Path, reason: str, used: bool = False) -> None:
        self._scan.irregular.append(Irregularity(path, reason, used))

    # ---------------------------------------------------------------------------- folders of videos

    def _read_video_list(self, listing: Path) -> None:
        seen: set[str] = set()
        for name in listing.read_text(encoding="utf-8", errors="replace").split("\n"):
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
        folders = {role: _find_folder(folder, names) for role, names in wanted.items()}
        missing = [wanted[role][0] for role, found in folders.items() if found is None]
        if missing:
            self._note(folder, f"video without folder: {', '.join(missing)}")
            return
        files = {role: self._list_images(found) for role, found in folders.items() if found is not None}
        match_diverging(files, self._note)
        frames = [frame for stem in sorted(set().union(*files.values())) if (frame := self._pair(stem, files))]
        self._add_video(folder, frames)

    def _list_images(self, folder: Path) -> dict[str, Path]:
        found: dict[str, Path] = {}
        for path in sorted(folder.iterdir(), key=lambda p: (_preference(p), p.name)):
            if path.name.startswith(".") or path.name == "Thumbs.db":
                self._note(path, "hidden file")
            elif not path.is_file() or path.suffix.lower() not in IMAGE_SUFFIXES:
                self._note(path, "not an image")
            elif path.stem in found:
                self._note(path, f"second file of the same frame: {found[path.stem].name} is used")
            else:
                found[path.stem] = path
        return found

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
        videos: dict[str, list[Frame]] = {}
        for number, line in enumerate(listing.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
            parts = line.split()
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
            depth = row["depth"] if self._depth_folders else None
            frame = self._sound(Frame(row["img"].stem, row["img"], depth, row["gt"]))
            if frame:
                videos.setdefault(_video_of(row["img"], self._table), []).append(frame)
        for name, frames in sorted(videos.items()):
            self._add_video(listing.parent / name, sorted(frames, key=lambda frame: frame.stem))

    def _sound(self, frame: Frame) -> Frame | None:
        return frame if files_agree(frame, self._note) else None

    def _add_video(self, folder: Path, frames: list[Frame]) -> None:
        if not any(frame.mask for frame in frames):
            self._note(folder, "video without a usable frame")
            return
        unit_m, fps = read_metadata(folder / self._table.metadata, self._note) if self._table.metadata else (None, None)
        self._scan.videos.append(Video(folder.name, tuple(frames), unit_m, fps))


def _find_folder(video: Path, names: tuple[str, ...]) -> Path | None:
    wanted = [name.lower() for name in names]
    found = {path.name.lower(): path for path in video.iterdir() if path.is_dir() and path.name.lower() in wanted}
    return next((found[name] for name in wanted if name in found), None)


def _preference(path: Path) -> int:
    suffix = path.suffix.lower()
    return IMAGE_SUFFIXES.index(suffix) if suffix in IMAGE_SUFFIXES else len(IMAGE_SUFFIXES)


def _video_of(rgb: Path, table: Layout) -> str:
    """Video name of a listed rgb file: the folder above `rgb/`, or the rgb folder's own name."""
    parent = rgb.parent
    return parent.parent.name if parent.name.lower() in {name.lower() for name in table.rgb} else parent.name
