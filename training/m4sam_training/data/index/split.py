# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""One index of a dataset's split for all processes and runs: what `scan_split` found, kept in the cache.

The first process of a machine that needs it reads the dataset, the others wait and read the index. It holds for as long
as no file below the dataset's folder is added, removed, resized or written to (docs/datasets.md#the-index).
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from m4sam_core.host.files import whole_file
from m4sam_core.model_files import cache_dir
from m4sam_core.rgbd.depth_files import DepthCoding
from m4sam_core.rgbd.masks import AUTO, MaskRule
from m4sam_core.rgbd.video_yaml import VideoInfo
from m4sam_training.data.index.tree import tree_state
from m4sam_training.data.layouts import DepthKind, get_layout
from m4sam_training.data.scan import scan_split
from m4sam_training.data.videos import Frame, Irregularity, Scan, Video

log = logging.getLogger(__name__)
VERSION = 2
KEPT = 64  # indices in the cache


def indexed_split(
    root: Path | str,
    layout: str,
    split: str,
    depth_kind: DepthKind = "real",
    masks: MaskRule = AUTO,
    coding: DepthCoding = "plain",
    *,
    annotated_only: bool = False,
) -> Scan:
    """What `scan_split` returns, from the index where it is current; where there is none yet, one is made.

    Args:
        root: the dataset's folder.
        layout: see `scan_split`, as the next four.
        split: train, val or test.
        depth_kind: which depth maps.
        masks: which values of the ground truth are salient.
        coding: how distance stands in the depth files.
        annotated_only: leave out frames without ground truth, which neither training nor scoring by clips looks at.

    Raises:
        ConfigError: see `scan_split`.
    """
    wanted = {"layout": layout, "split": split, "depth": depth_kind, "masks": repr(_plain(masks)), "coding": coding}
    place = Path(root).resolve()
    name = hashlib.sha256(json.dumps([str(place), wanted], sort_keys=True).encode()).hexdigest()[:24]
    file = cache_dir() / "index" / f"{name}.jsonl"
    try:
        state = tree_state(place)
    except OSError as error:
        log.debug("no index of %s: %s", place, error)
        state = ""
    with _alone(file):
        scan = _read(file, Path(root), state, wanted, masks, coding, annotated_only) if state else None
        if scan is None:
            scan = scan_split(root, layout, split, depth_kind, masks, coding)
            if state:
                _write(file, scan, {"version": VERSION, "state": state, **wanted})
    if annotated_only:
        scan.videos = [video.annotated_part() for video in scan.videos]
    return scan


@contextmanager
def _alone(file: Path) -> Iterator[None]:
    """Wait until no other process makes this index; a place without locks or without room is no obstacle."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(file.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        log.debug("index without a lock: %s", error)
        yield
        return
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info("another process is reading the dataset; waiting for its index")
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError as error:
            log.debug("index without a lock: %s", error)
        yield
    finally:
        os.close(handle)


def _write(file: Path, scan: Scan, head: dict[str, Any]) -> None:
    """One line for the header, one with what is irregular, one for each video; paths relative to the root."""
    above = f"{scan.root}{os.sep}"

    def relative(path: Path | None) -> str | None:
        if path is None:
            return None
        text = str(path)
        return text.removeprefix(above) if text.startswith(above) else os.path.relpath(path, scan.root)

    lines = [
        {**head, "root": str(scan.root)},
        {"irregular": [[relative(i.path), i.reason, i.used] for i in scan.irregular]},
    ]
    for video in scan.videos:
        frames = [[f.stem, relative(f.rgb), relative(f.depth), relative(f.mask), f.predicted] for f in video.frames]
        info = asdict(video.info)
        lines.append(
            {
                "name": video.name,
                "unit": video.depth_unit_m,
                "fps": video.fps,
                "info": {**info, "intrinsics": dict(info["intrinsics"]) if info["intrinsics"] else None},
                "frames": frames,
            }
        )
    try:
        with whole_file(file) as draft, draft.open("w", encoding="utf-8") as out:
            out.writelines(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)
        _thin_out(file.parent)
    except (OSError, ValueError, TypeError) as error:
        log.warning("no index of %s is kept: %s", scan.root, error)


def _thin_out(folder: Path) -> None:
    """Drop the oldest indices beyond KEPT."""
    files = sorted(folder.glob("*.jsonl"), key=lambda path: path.stat().st_mtime)
    for old in files[:-KEPT]:
        old.unlink(missing_ok=True)
        old.with_suffix(".lock").unlink(missing_ok=True)


def _read(
    file: Path,
    root: Path,
    state: str,
    wanted: dict[str, str],
    masks: MaskRule,
    coding: DepthCoding,
    annotated_only: bool,
) -> Scan | None:
    """The scan of an index, or None where it is missing, damaged, of another version or of another state."""
    try:
        with file.open(encoding="utf-8") as lines:
            head = json.loads(next(lines))
            if {key: head.get(key) for key in ("version", "state", *wanted)} != {
                "version": VERSION,
                "state": state,
                **wanted,
            }:
                return None
            scan = Scan(get_layout(wanted["layout"]), root, wanted["split"])
            items = json.loads(next(lines))["irregular"]
            scan.irregular = [Irregularity(root / path, reason, used) for path, reason, used in items]
            for line in lines:
                scan.videos.append(_video(json.loads(line), root, masks, coding, annotated_only))
            return scan
    except (OSError, StopIteration, ValueError, KeyError, TypeError, AttributeError):  # missing, or no index
        return None


def _video(values: dict[str, Any], root: Path, masks: MaskRule, coding: DepthCoding, annotated_only: bool) -> Video:
    frames = tuple(
        Frame(stem, root / rgb, root / depth if depth else None, root / mask if mask else None, predicted)
        for stem, rgb, depth, mask, predicted in values["frames"]
        if mask or not annotated_only
    )
    info = VideoInfo(**{**values["info"], "labels": tuple(values["info"]["labels"])})
    return Video(values["name"], frames, values["unit"], values["fps"], info, masks, coding)


def _plain(masks: MaskRule) -> tuple[str, list[int]]:
    return masks.word, sorted(masks.values)
