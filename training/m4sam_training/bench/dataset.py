# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Time and memory of reading, indexing, checking and loading a dataset of many frames."""

from __future__ import annotations

import os
import pickle
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import cv2
import numpy as np

from m4sam_core.host.progress import tracked
from m4sam_core.model_files import CACHE_VARIABLE
from m4sam_training.bench.apart import hand_over, measured_apart
from m4sam_training.data import datasets
from m4sam_training.data.check import check_dataset
from m4sam_training.data.datasets import VideoClipDataset
from m4sam_training.data.index.split import indexed_split
from m4sam_training.data.scan import scan_split
from m4sam_training.train.loading import ClipSampler, make_loader

SIDE_PX = 96


def link_dataset(root: Path, frames: int, videos: int, annotated: int) -> None:
    """A split in DViSal's layout whose files are hard links: three small pictures per video, under many names.

    Args:
        root: a folder that does not exist yet, on one file system.
        frames: of all videos together.
        videos: they share the frames evenly.
        annotated: frames with ground truth, spread evenly.
    """
    rng = np.random.default_rng(0)
    pictures = {
        "RGB": (".jpg", rng.integers(0, 255, (SIDE_PX, SIDE_PX, 3), np.uint8)),
        "Depth": (".png", rng.integers(1, 255, (SIDE_PX, SIDE_PX), np.uint8)),
        "GT": (".png", np.where(np.mgrid[:SIDE_PX, :SIDE_PX].sum(axis=0) > SIDE_PX, 255, 0).astype(np.uint8)),
    }
    names = [f"video_{number:04d}" for number in range(videos)]
    done = 0
    for number, name in enumerate(tracked(names, "linking")):
        until = frames * (number + 1) // videos
        for role, (suffix, picture) in pictures.items():
            folder = root / "data" / name / role
            folder.mkdir(parents=True)
            source = root / f".{number}{role}{suffix}"
            cv2.imwrite(str(source), picture)
            for frame in range(done, until):
                if role != "GT" or frame * annotated // frames != (frame + 1) * annotated // frames:
                    os.link(source, folder / f"{frame - done + 1:08d}{suffix}")
            source.unlink()
        done = until
    (root / "train.txt").write_text("".join(f"{name}\n" for name in names))


def _scan(root: Path) -> dict[str, Any]:
    scan = scan_split(root, "dvisal", "train")
    return {"frames": sum(len(video.frames) for video in scan.videos), "annotated": scan.frame_count}


def _index(root: Path) -> dict[str, Any]:
    scan = indexed_split(root, "dvisal", "train", annotated_only=True)
    return {"annotated": scan.frame_count}


def _check(root: Path) -> dict[str, Any]:
    return {"left_out": sum(report.skipped for report in check_dataset(root, "dvisal", decode=False))}


def _load(root: Path) -> dict[str, Any]:
    clips = VideoClipDataset(root, "dvisal", "train", size_px=64)
    sent = len(pickle.dumps(clips))
    sampler = ClipSampler(len(clips), batch_size=2, rank=0, processes=1, seed=0)
    batch = next(iter(make_loader(clips, sampler, workers=2, pin_memory=False)))
    return {
        "clips": len(clips),
        "sent_to_each_worker_mb": round(sent / 1e6, 3),
        "first_batch": list(batch["rgb"].shape),
    }


def _load_without_index(root: Path) -> dict[str, Any]:
    def read(*arguments: Any, annotated_only: bool, **options: Any) -> Any:  # noqa: ARG001 (what it stands for)
        return scan_split(*arguments, **options)

    with mock.patch.object(datasets, "indexed_split", read):
        return _load(root)


STEPS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "read every run": _scan,
    "first index": _index,
    "index read": _index,
    "check --no-decode": _check,
    "loader, read every run": _load_without_index,
    "loader, index": _load,
}


def bench_dataset(root: Path, cache: Path) -> list[dict[str, Any]]:
    """Each step in a process of its own: wall and CPU seconds, peak memory (its workers' apart), and what it found.

    Args:
        root: of `link_dataset`.
        cache: an empty folder for the index.

    Raises:
        M4SamError: a step failed; its own message has been printed.
    """
    rows = []
    for name in STEPS:
        words, environment = [name, str(root)], {CACHE_VARIABLE: str(cache)}
        figures = measured_apart("m4sam_training.bench.dataset", words, repr(name), environment)
        rows.append({"step": name, **figures})
    return rows


def _main(name: str, root: Path) -> None:
    before, began, cpu = _peak_mb(), time.perf_counter(), time.process_time()
    found = STEPS[name](root)
    figures = {
        "wall_s": round(time.perf_counter() - began, 2),
        "cpu_s": round(time.process_time() - cpu, 2),
        "peak_mb": round(_peak_mb()),
        "peak_mb_of_imports": round(before),
        **found,
    }
    hand_over(figures)


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


if __name__ == "__main__":
    _main(sys.argv[1], Path(sys.argv[2]))
