# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""A pipeline over a folder of frames, one mask per frame, resumable to the bit.

The stream has a memory, so a mask depends on the frames before it, back to the start of its scene. A journal in the
output folder notes where scenes start; resuming replays the last, unfinished scene without writing and goes on.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from m4sam_core.config import PipelineConfig
from m4sam_core.download import digest_of
from m4sam_core.errors import InputError
from m4sam_core.host.journal import Journal, differing, read_journal
from m4sam_core.pipeline import SaliencyPipeline
from m4sam_core.result import SaliencyResult
from m4sam_core.rgbd.clip_folder import FrameTimes, Note, images_by_stem, match_names, unread_files
from m4sam_core.rgbd.depth_files import DEPTH_SUFFIXES, DepthCoding, look_at_depth
from m4sam_core.rgbd.depth_values import same_shape
from m4sam_core.rgbd.image_files import IMAGE_SUFFIXES, read_rgb, rgb_flaw, write_png

JOURNAL = "predict.jsonl"
NOTES = "notes"  # in the journal's first line what they depend on, in the others those of a frame
FILES = "files"  # in a frame's line the checksums of its images
_ABOUT_RUN = "run"  # the journal's first line


@dataclass(frozen=True)
class FramePaths:
    """The files of one frame; depth is None when there is none of that stem."""

    stem: str
    rgb: Path
    depth: Path | None


class FrameNotes(Protocol):
    """What is noted in the journal of each frame beside its mask, from all that is known while it is run."""

    @property
    def about(self) -> Mapping[str, Any]:
        """What the notes depend on, for JSON; those of a run that depended on something else are made anew."""

    def resume(self, done: Sequence[Mapping[str, Any]]) -> None:
        """Go on after finished scenes.

        Args:
            done: the journal's lines of their frames.
        """

    def note(
        self, rgb: NDArray[np.uint8], depth: NDArray[Any] | None, stamp_s: float, scene: int, result: SaliencyResult
    ) -> dict[str, Any]:
        """Of the next frame, for JSON; `scene` counts from the folder's first frame, `stamp_s` the seconds since."""


@dataclass
class FolderSummary:
    """What a run did.

    Attributes:
        frames: frames in the folder.
        written: masks written by this run.
        kept: masks found finished.
        replayed: finished frames run again to rebuild the memory.
        rgb_only: written frames that had no usable depth.
        notes: why, with the number of frames.
        flaws: what is odd about the files of the frames that were run, with the number of frames; see `add_flaw`.
        scenes: scenes so far.
    """

    frames: int
    written: int = 0
    kept: int = 0
    replayed: int = 0
    rgb_only: int = 0
    scenes: int = 0
    notes: Counter[str] = field(default_factory=Counter)
    flaws: Counter[str] = field(default_factory=Counter)

    def add_flaw(self, text: str) -> None:
        """Count one more; those that differ after a colon only are one, told as the first was."""
        kind = text.split(":", maxsplit=1)[0]
        self.flaws[next((known for known in self.flaws if known.split(":")[0] == kind), text)] += 1


def list_frames(rgb_dir: Path, depth_dir: Path | None) -> list[FramePaths]:
    """Frames of a folder, see `pair_files`."""
    return pair_files(rgb_dir, depth_dir)[0]


def pair_files(rgb_dir: Path, depth_dir: Path | None, note: Note = lambda *_: None) -> tuple[list[FramePaths], int]:
    """Frames in the order of the numbers in their names, paired with depth by stem, or frame number; `note` says which.

    Returns:
        The frames, and how many depth images belong to none of them.

    Raises:
        InputError: no such folder, no images, one stem twice, or a depth folder of other stems.
    """
    rgb = _images("RGB_DIR", rgb_dir, IMAGE_SUFFIXES)
    depth = {} if depth_dir is None else _images("DEPTH_DIR", depth_dir, DEPTH_SUFFIXES)
    match_names({"rgb": rgb, "depth": depth}, note)
    if depth and not rgb.keys() & depth.keys():
        raise InputError(
            f"{depth_dir}: expected depth images named like the rgb ones ({next(iter(rgb))}.png), "
            f"got {next(iter(depth))} and others; rename one side, or leave DEPTH_DIR out to run on rgb alone"
        )
    frames = [FramePaths(stem, path, depth.get(stem)) for stem, path in rgb.items()]
    return frames, len(depth.keys() - rgb.keys())


def predict_folder(
    pipeline: SaliencyPipeline,
    frames: Sequence[FramePaths],
    out: Path,
    times: FrameTimes,
    *,
    model_file: Path,
    depth_coding: DepthCoding = "plain",
    probability: bool = False,
    overwrite: bool = False,
    notes: FrameNotes | None = None,
    advance: Callable[[SaliencyResult | None], None] | None = None,
) -> FolderSummary:
    """Write OUT/<stem>.png for every frame, going on where an earlier run stopped.

    Args:
        pipeline: fresh; its settings are noted in the journal.
        frames: in order.
        out: folder for masks and journal; made if absent.
        times: when the frames were taken.
        model_file: the weights, noted in the journal by their SHA-256.
        depth_coding: how distance stands in the depth files.
        probability: write 8-bit probability maps instead of masks of 0 and 255.
        overwrite: begin anew, whatever is in the folder.
        notes: what else the journal keeps of each frame; frames without it, of an earlier run, are run again.
        advance: called once per frame that is done, with its result or None when it was kept.

    Raises:
        InputError: the folder holds another run's masks or the images themselves, or a file cannot be read or written.
    """
    if out.resolve() in {path.parent.resolve() for frame in frames for path in (frame.rgb, frame.depth) if path}:
        raise InputError(f"--out: expected a folder of its own, got {out}, which holds the images; choose another one")
    about = _about_run(pipeline.cfg, model_file, times, probability, depth_coding)
    done = _finished_frames(out, about, frames, overwrite, notes)
    summary = FolderSummary(len(frames))
    start = done[-1]["scene_start"] if done else 0
    first_scene = done[-1]["scene"] if done else 0
    if len(done) == len(frames):
        start = len(frames)  # nothing left, nothing to replay
    for _ in range(start):
        summary.kept += 1
        if advance:
            advance(None)
    scene_start = start
    if notes is not None:
        about[NOTES] = notes.about
        notes.resume(done[:start])
    with Journal(out / JOURNAL, about, done) as journal:
        for index in range(start, len(frames)):
            rgb, depth, flaws = read_frame(frames[index], depth_coding)
            stamp_s = times.offsets_ns[index] / 1e9
            result = pipeline.process(rgb, depth, stamp_s)
            for flaw in flaws:
                summary.add_flaw(flaw)
            scene = first_scene + result.scene_id
            noted = {} if notes is None else {NOTES: notes.note(rgb, depth, stamp_s, scene, result)}
            if result.frame_index == 0:
                scene_start = index
            if index < len(done):
                summary.kept += 1
                summary.replayed += 1
            else:
                image = np.round(result.probability * 255).astype(np.uint8) if probability else result.mask
                write_png(out / f"{frames[index].stem}.png", image)
                journal.add(
                    {
                        "stem": frames[index].stem,
                        FILES: _checksums(frames[index]),
                        "scene": scene,
                        "scene_start": scene_start,
                        "reset_reason": result.reset_reason,
                        **noted,
                    }
                )
                _count(summary, result)
            if advance:
                advance(result)
        summary.scenes = 1 + (first_scene + result.scene_id if start < len(frames) else first_scene)
    return summary


def read_frame(frame: FramePaths, coding: DepthCoding) -> tuple[NDArray[np.uint8], NDArray[Any] | None, list[str]]:
    """A frame's rgb (H, W, 3), its depth as stored, and what is odd about the files.

    Raises:
        InputError: a file cannot be read.
    """
    flaws = []
    if (flaw := rgb_flaw(frame.rgb)) is not None:
        flaws.append(flaw)
    file = None if frame.depth is None else look_at_depth(frame.depth, coding)
    if file is not None and file.flaw is not None:
        flaws.append(file.flaw)
    rgb, depth = read_rgb(frame.rgb), None if file is None else file.depth
    if depth is not None and depth.shape != rgb.shape[:2] and same_shape(depth.shape, rgb.shape[:2]):
        flaws.append("depth of another size than rgb, resized")
    return rgb, depth, flaws


def _count(summary: FolderSummary, result: SaliencyResult) -> None:
    summary.written += 1
    if result.depth_note is not None:
        summary.rgb_only += 1
        summary.notes[result.depth_note] += 1
    if result.rgb_note is not None:
        summary.add_flaw(result.rgb_note)


def _images(name: str, folder: Path, suffixes: tuple[str, ...]) -> dict[str, Path]:
    if not folder.is_dir():
        raise InputError(f"{name}: expected a folder of images, got {folder}, which is not a folder; check the path")
    found = images_by_stem(folder, suffixes)
    if not found:
        others = unread_files(folder, suffixes)
        remedy = f"got {others}; convert them" if others else "got none; check the path"
        raise InputError(f"{name}: expected images ({', '.join(suffixes)}) in {folder}, {remedy}")
    return found


def _about_run(
    cfg: PipelineConfig, model_file: Path, times: FrameTimes, probability: bool, coding: DepthCoding
) -> dict[str, Any]:
    return {
        "kind": _ABOUT_RUN,
        "model": model_file.name,
        "sha256": digest_of(model_file),
        "fps": times.rate if times.first_ns is None else None,  # None: the names say when
        "probability": probability,
        **({} if coding == "plain" else {"depth_coding": coding}),
        "settings": cfg.model_dump(exclude={"device", "threads", "affinity", "priority"}),
    }


def _finished_frames(
    out: Path, about: dict[str, Any], frames: Sequence[FramePaths], overwrite: bool, notes: FrameNotes | None
) -> list[dict[str, Any]]:
    """The journal's lines of frames that are finished: noted, in order, with their mask on disk."""
    if overwrite or not out.exists():
        return []
    if not out.is_dir():
        raise InputError(f"--out: expected a folder, got the file {out}; choose another name")
    lines = read_journal(out / JOURNAL)
    if not lines:
        foreign = [frame.stem for frame in frames if (out / f"{frame.stem}.png").exists()]
        if foreign:
            raise InputError(
                f"--out: {out} holds {foreign[0]}.png of unknown origin; choose another folder, or add --overwrite"
            )
        return []
    changed = differing(about, lines[0])
    if changed:
        raise InputError(
            f"--out: {out} holds the masks of another run (other {', '.join(changed)}); "
            "choose another folder, or add --overwrite to begin anew"
        )
    done: list[dict[str, Any]] = []
    if notes is not None and differing({NOTES: notes.about}, lines[0]):
        return done
    for frame, line in zip(frames, lines[1:], strict=False):
        if notes is not None and NOTES not in line:
            break
        if line.get("stem") != frame.stem or not (out / f"{frame.stem}.png").is_file():
            break
        if FILES in line and line[FILES] != _checksums(frame):
            raise InputError(
                f"--out: {out} holds the masks of other images, e.g. another {frame.stem}; choose another folder, "
                "or add --overwrite to begin anew"
            )
        done.append(line)
    return done


def _checksums(frame: FramePaths) -> list[int | None]:
    return [None if path is None else zlib.crc32(path.read_bytes()) for path in (frame.rgb, frame.depth)]
