# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""A clip as folders of images: which frames there are, in what order, which depth belongs to which, and when."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median

from m4sam_core.errors import InputError
from m4sam_core.rgbd.image_files import IMAGE_SUFFIXES
from m4sam_core.rgbd.order import frame_number, natural_order, stamps_ns
from m4sam_core.rgbd.video_yaml import VIDEO_YAML, VideoInfo

DEFAULT_FPS = 15.0
RGB_FOLDERS = ("rgb", "color", "colour", "image", "images")
DEPTH_FOLDERS = ("depth", "syntheticdepth")

_NOTES = ("", ".txt", ".md", ".csv", ".json", ".jsonl", ".yaml", ".yml", ".xml", ".log", ".ini", ".db")

Note = Callable[[Path, str, bool], None]
"""Takes an irregular item's path, the reason, and whether it is used all the same."""


def find_folder(clip: Path, names: Iterable[str]) -> Path | None:
    """The first subfolder called one of `names`, in any case."""
    found = {child.name.lower(): child for child in clip.iterdir() if child.is_dir()}
    return next((found[name] for name in map(str.lower, names) if name in found), None)


def clip_folder(clip: Path, names: tuple[str, ...]) -> Path:
    """The same, where it has to be there.

    Raises:
        InputError: no such subfolder; the text lists those there are.
    """
    if not clip.is_dir():
        raise InputError(f"source: expected a clip folder or a rosbag, got the file {clip}")
    folder = find_folder(clip, names)
    if folder is None:
        inside = ", ".join(sorted(child.name.lower() for child in clip.iterdir() if child.is_dir())[:5]) or "no folder"
        wanted = " or ".join(names[:2])
        raise InputError(f"clip {clip}: expected a folder {wanted} in it, got {inside}; give the folder of one clip")
    return folder


def images_by_stem(
    folder: Path, suffixes: tuple[str, ...] = IMAGE_SUFFIXES, note: Note | None = None
) -> dict[str, Path]:
    """Stem to file, in the order of the frames.

    Args:
        folder: of images.
        suffixes: accepted ones, the preferred first.
        note: takes files that are not used; None: hidden and other files are passed over, and two files of one stem
            are an error.

    Raises:
        InputError: with `note` None, two files of one stem.
    """
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir(), key=lambda path: (_preference(path, suffixes), path.name)):
        if path.name.startswith(".") or path.name == "Thumbs.db":
            reason = "hidden file"
        elif not path.is_file() or path.suffix.lower() not in suffixes:
            reason = "not an image"
        elif path.stem in found:
            reason = f"second file of the same frame: {found[path.stem].name} is used"
            if note is None:
                raise InputError(f"{path}: expected one image per stem, got {found[path.stem].name} too; remove one")
        else:
            found[path.stem] = path
            continue
        if note is not None:
            note(path, reason, False)
    return {stem: found[stem] for stem in sorted(found, key=natural_order)}


def unread_files(folder: Path, suffixes: tuple[str, ...] = IMAGE_SUFFIXES) -> str:
    """What else lies in a folder of images, to tell whoever misses it: `4 .exr, 1 .heic`; "" when nothing does.

    Hidden files and notes (text, tables, settings) are nobody's images.
    """
    others = Counter(
        path.suffix.lower()
        for path in folder.iterdir()
        if path.is_file() and path.suffix.lower() not in {*suffixes, *_NOTES} and not path.name.startswith(".")
    )
    return ", ".join(f"{count} {suffix}" for suffix, count in sorted(others.items()))


def unread_note(folder: Path, suffixes: tuple[str, ...] = IMAGE_SUFFIXES) -> str | None:
    """The same as a remark; None when nothing else lies there."""
    others = unread_files(folder, suffixes)
    return f"{folder}: {others} not read, for want of a reader" if others else None


def match_names(files: Mapping[str, dict[str, Path]], note: Note) -> None:
    """Rename diverging stems to the rgb's where they are the same without doubt: 7 and 0007, f_7 and d_7, A and a.

    Frames that count from 0 beside others that count from 1 are in doubt, and left as they are. Letters are the same in
    either case, and with their accents as one character or two.

    Args:
        files: stem to file by role; those of "rgb" keep their names, the others are changed in place.
        note: takes what was matched.
    """
    spelled = _unique(files["rgb"], _plain)
    for role, names in files.items():
        for letters, stem in _unique(names.keys() - files["rgb"].keys(), _plain).items():
            target = spelled.get(letters)
            if target is not None and target not in names:
                path = names[target] = names.pop(stem)
                note(path, f"{role} name diverges, matched by its letters: {path.stem} -> {target}", True)
    for role, names in files.items():
        if names.keys() & files["rgb"].keys() and _seem_one_off(files["rgb"], names):
            reason = f"{role} may count from another number than rgb, is each one frame off?"
            note(next(iter(names.values())).parent, reason, True)
    lonely = {stem for stem in files["rgb"] if any(stem not in names for names in files.values())}
    by_number = _unique(lonely, frame_number)
    for role, names in files.items():
        if role == "rgb":
            continue
        strangers = _unique({stem for stem in names if stem not in files["rgb"]}, frame_number)
        if not names.keys() & files["rgb"].keys() and _one_off(by_number, strangers):
            continue
        for number, stem in strangers.items():
            target = by_number.get(number)
            if target is not None and target not in names:
                path = names[target] = names.pop(stem)
                note(path, f"{role} name diverges, matched by frame number: {path.stem} -> {target}", True)


@dataclass(frozen=True)
class FrameTimes:
    """When the frames of a clip were taken.

    Attributes:
        offsets_ns: since the first frame, nanoseconds.
        first_ns: stamp of the first frame, nanoseconds since 1970; None when its name is none.
        rate: frames per second; of frames with stamps the typical one.
        told_by: where this is from, for people.
    """

    offsets_ns: list[int]
    first_ns: int | None
    rate: float
    told_by: str


def frame_times(
    stems: Sequence[str], info: VideoInfo, fps: float | None = None, assumed_fps: float = DEFAULT_FPS
) -> FrameTimes:
    """The one rule: a rate that was asked for, else names that are stamps, else the clip's rate, else an assumed one.

    Args:
        stems: names of the frames, in order.
        info: what the clip says about itself.
        fps: frames per second that were asked for; None or 0: none were.
        assumed_fps: of clips that say nothing.
    """
    stamps = None if fps else stamps_ns(stems, info.stamped)
    if stamps is not None:
        steps = [after - before for before, after in pairwise(stamps) if after > before]
        rate = 1e9 / median(steps) if steps else info.fps or assumed_fps
        return FrameTimes([stamp - stamps[0] for stamp in stamps], stamps[0], rate, "the stamps in their names")
    rate = fps or info.fps or assumed_fps
    told_by = "as asked" if fps else VIDEO_YAML if info.fps else "assumed"
    offsets = [round(index * 1e9 / rate) for index in range(len(stems))]
    return FrameTimes(offsets, None, rate, f"{rate:g} frames per second ({told_by})")


def _unique(stems: Iterable[str], key: Callable[[str], object]) -> dict[object, str]:
    """A stem's number or letters to the stem, for those that only one has."""
    keyed = [(key(stem), stem) for stem in stems]
    tally = Counter(value for value, _ in keyed)
    return {value: stem for value, stem in keyed if value is not None and tally[value] == 1}


def _plain(stem: str) -> str:
    return unicodedata.normalize("NFC", stem).casefold()


def _one_off(ours: Mapping[object, str], theirs: Mapping[object, str]) -> bool:
    """Whether two sides have as many numbers, and those of one are all one more than those of the other."""
    left, right = ([number for number in side if isinstance(number, int)] for side in (ours, theirs))
    apart = {second - first for first, second in zip(sorted(left), sorted(right), strict=False)}
    return len(left) == len(right) > 1 and apart in ({1}, {-1})


def _seem_one_off(ours: Iterable[str], theirs: Iterable[str]) -> bool:
    """Whether one side begins and ends one number after the other, and has nothing that the other one lacks there."""
    left, right = ({n for n in _unique(stems, frame_number) if isinstance(n, int)} for stems in (ours, theirs))
    if len(right) < 2:
        return False
    step = min(right) - min(left)
    return abs(step) == 1 and max(right) - max(left) == step and {number - step for number in right} <= left


def _preference(path: Path, suffixes: tuple[str, ...]) -> int:
    suffix = path.suffix.lower()
    return suffixes.index(suffix) if suffix in suffixes else len(suffixes)
