# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Frames to a LeRobot data set, format v3.0 (docs/rosbags.md#robot-learning): video, lossless depth and masks.

LeRobot itself brings a robot stack and pins torch, so the files are written with pyarrow and PyAV, which it reads by.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import numpy as np

from m4sam_core.errors import InputError
from m4sam_core.host.files import whole_folder, write_json
from m4sam_core.host.optional import require
from m4sam_core.host.outputs import check_new_folder, naming
from m4sam_core.rgbd.depth_values import DEFAULT_UNIT_M, in_millimetres
from m4sam_training.bags.lerobot_files import (
    CODECS,
    HAS_MASK,
    STAMP,
    Table,
    VideoFile,
    available_codec,
    pixel_format,
    png,
)

FORMAT = "v3.0"
RGB, DEPTH, MASK = "observation.images.rgb", "observation.images.depth", "observation.images.mask"
RgbAs = Literal["video", "image"]
RGB_AS: tuple[RgbAs, ...] = ("video", "image")
_CHUNK = 1000
_QUANTILES = {"q01": 1, "q10": 10, "q50": 50, "q90": 90, "q99": 99}
_SAMPLES = 200  # images that statistics look at, of each kind
_SAMPLE_PX = 64


@dataclass(frozen=True)
class Shot:
    """One frame.

    Attributes:
        stamp_ns: of the rgb image.
        rgb (H, W, 3): uint8.
        depth (h, w): uint16 counts, or float32 metres, which are rounded to millimetres.
        mask (H, W): uint8, 0 or 255; None without one.
    """

    stamp_ns: int
    rgb: np.ndarray
    depth: np.ndarray
    mask: np.ndarray | None


@dataclass
class LerobotReport:
    """What was written.

    Attributes:
        episodes: frames of each.
        masks: frames that have one.
        rounded: frames whose float depth was rounded to millimetres.
        left_out: frames of another size than the first, by that size.
    """

    episodes: list[int] = field(default_factory=list)
    masks: int = 0
    rounded: int = 0
    left_out: dict[str, int] = field(default_factory=dict)


def write_lerobot(
    episodes: Iterable[Iterable[Shot]],
    out: Path,
    fps: int,
    task: str,
    rgb_as: RgbAs = "video",
    depth_unit_m: float = 0.001,
    mask_source: str | None = None,
) -> LerobotReport:
    """Write a data set; the folder appears when it is complete.

    Args:
        episodes: their frames, all of one size; empty episodes are passed over.
        out: new or empty folder.
        fps: LeRobot counts time in frames of this rate; the real stamps are in `STAMP`. Hertz.
        task: what is done, in words.
        rgb_as: video is small and lossy, images are PNG.
        depth_unit_m: length of one count of depth. Metres.
        mask_source: where masks come from, e.g. "pseudo: edge"; None: there are none.

    Raises:
        ConfigError: pyarrow or av is missing, or the folder is not empty.
        InputError: no frame, or depth of two kinds whose counts have different lengths.
    """
    require("pyarrow.parquet", "lerobot", "pyarrow")
    if rgb_as == "video":
        require("av", "lerobot")
    check_new_folder(out)
    with naming(out), whole_folder(out) as draft:
        writer = _Writer(draft, fps, task, rgb_as, depth_unit_m, mask_source)
        for shots in episodes:
            writer.episode(iter(shots))
        writer.finish()
    return writer.report


class _Writer:
    """A data set in the making."""

    def __init__(
        self, root: Path, fps: int, task: str, rgb_as: RgbAs, depth_unit_m: float, mask_source: str | None
    ) -> None:
        self._root, self._fps, self._task, self._rgb_as = root, fps, task, rgb_as
        self._unit_m, self._mask_source = depth_unit_m, mask_source
        self.report = LerobotReport()
        self._kinds: set[str] = set()
        self._sizes: tuple[tuple[int, ...], tuple[int, ...]] | None = None
        self._rows: list[dict[str, Any]] = []
        self._samples: dict[str, list[np.ndarray]] = {}
        self._codec = available_codec() if rgb_as == "video" else ""

    def episode(self, shots: Iterator[Shot]) -> None:
        fitting = filter(self._fits, shots)
        first = next(fitting, None)
        if first is None:
            return
        index = len(self.report.episodes)
        place = {"chunk_index": index // _CHUNK, "file_index": index % _CHUNK}
        name = "chunk-{chunk_index:03d}/file-{file_index:03d}".format(**place)
        start, count = sum(self.report.episodes), 0
        with self._table(name) as table, self._video(name) as video:
            for shot in chain((first,), fitting):
                row = self._row(shot, index, count, start + count)
                if video is not None:
                    video.add(shot.rgb)
                table.add(row)
                count += 1
        self.report.episodes.append(count)
        entry: dict[str, Any] = {"episode_index": index, "tasks": [self._task], "length": count}
        entry |= {f"data/{key}": value for key, value in place.items()}
        entry |= {"dataset_from_index": start, "dataset_to_index": start + count}
        if self._rgb_as == "video":
            entry |= {f"videos/{RGB}/{key}": value for key, value in place.items()}
            entry |= {f"videos/{RGB}/from_timestamp": 0.0, f"videos/{RGB}/to_timestamp": count / self._fps}
        self._rows.append({**entry, "meta/episodes/chunk_index": 0, "meta/episodes/file_index": 0})

    def finish(self) -> None:
        """Write what describes the episodes."""
        if not self._rows or self._sizes is None:
            raise InputError("lerobot: expected at least one frame, got none; look at the bags with `m4sam bag info`")
        import pyarrow as pa
        import pyarrow.parquet as pq

        meta, frames = self._root / "meta", sum(self.report.episodes)
        (meta / "episodes" / "chunk-000").mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(self._rows), meta / "episodes" / "chunk-000" / "file-000.parquet")
        pq.write_table(_tasks(self._task), meta / "tasks.parquet")
        write_json(meta / "stats.json", {name: _statistics(self._samples[name], frames) for name in self._samples})
        info = {
            "codebase_version": FORMAT,
            "robot_type": "unknown",
            "total_episodes": len(self._rows),
            "total_frames": frames,
            "total_tasks": 1,
            "chunks_size": _CHUNK,
            "data_files_size_in_mb": 100,
            "video_files_size_in_mb": 200,
            "fps": self._fps,
            "splits": {"train": f"0:{len(self._rows)}"},
            "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
            "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
            if self._rgb_as == "video"
            else None,
            "features": self._features(),
        }
        write_json(meta / "info.json", info)

    # ------------------------------------------------------------------------------------ frames

    def _fits(self, shot: Shot) -> bool:
        sizes = (shot.rgb.shape, shot.depth.shape)
        if self._sizes is None:
            self._sizes = sizes
        if sizes == self._sizes:
            return True
        text = f"rgb {shot.rgb.shape[1]}x{shot.rgb.shape[0]}, depth {shot.depth.shape[1]}x{shot.depth.shape[0]}"
        self.report.left_out[text] = self.report.left_out.get(text, 0) + 1
        return False

    def _row(self, shot: Shot, episode: int, frame: int, index: int) -> dict[str, Any]:
        depth = shot.depth
        self._kinds.add(depth.dtype.name)
        if depth.dtype != np.uint16:
            depth = in_millimetres(depth)
            self.report.rounded += 1
        if self.report.rounded and "uint16" in self._kinds and self._unit_m != DEFAULT_UNIT_M:
            raise InputError(
                f"lerobot: expected depth of one kind where counts are of {self._unit_m:g} m, got counts and floats; "
                "convert the bags of each kind by themselves"
            )
        row: dict[str, Any] = {
            "timestamp": frame / self._fps,
            "frame_index": frame,
            "episode_index": episode,
            "index": index,
            "task_index": 0,
            STAMP: shot.stamp_ns,
            DEPTH: png(depth),
        }
        images = {RGB: shot.rgb, DEPTH: depth[..., None]}
        if self._rgb_as == "image":
            row[RGB] = png(shot.rgb[..., ::-1])
        if self._mask_source is not None:
            mask = shot.mask if shot.mask is not None else np.zeros(shot.rgb.shape[:2], np.uint8)
            row |= {MASK: png(mask), HAS_MASK: shot.mask is not None}
            images[MASK] = mask[..., None]
            self.report.masks += shot.mask is not None
        self._sample(images, row)
        return row

    def _sample(self, images: dict[str, np.ndarray], row: dict[str, Any]) -> None:
        """Keep a little for the statistics: every number, and few pixels of few images, evenly as far as is known."""
        for name, value in row.items():
            if not isinstance(value, dict):
                self._samples.setdefault(name, []).append(np.float64(value).reshape(1, 1))
        step = 1 + row["index"] // _SAMPLES
        if row["index"] % step == 0:
            for name, image in images.items():
                stride = max(1, max(image.shape[:2]) // _SAMPLE_PX)
                scale = 255.0 if image.dtype == np.uint8 else 1.0
                pixels = image[::stride, ::stride].reshape(-1, image.shape[2]) / scale
                self._samples.setdefault(name, []).append(pixels[..., None, None])

    def _features(self) -> dict[str, Any]:
        assert self._sizes is not None
        (height, width, _), (depth_height, depth_width) = self._sizes
        names = ["height", "width", "channels"]
        scalar = {"shape": [1], "names": None}
        features: dict[str, Any] = {
            "timestamp": {"dtype": "float32", **scalar},
            **{key: {"dtype": "int64", **scalar} for key in ("frame_index", "episode_index", "index", "task_index")},
            STAMP: {"dtype": "int64", **scalar},
            RGB: {"dtype": self._rgb_as, "shape": [height, width, 3], "names": names},
            DEPTH: {"dtype": "image", "shape": [depth_height, depth_width, 1], "names": names},
        }
        features[DEPTH]["info"] = {
            "is_depth_map": True,
            "depth_unit_m": DEFAULT_UNIT_M if self.report.rounded else self._unit_m,
        }
        if self._rgb_as == "video":
            size = {"video.height": height, "video.width": width, "video.channels": 3, "video.fps": self._fps}
            about = {"video.codec": CODECS[self._codec], "video.pix_fmt": pixel_format(height, width)}
            features[RGB]["info"] = {**size, **about, "video.is_depth_map": False, "has_audio": False}
        if self._mask_source is not None:
            features[MASK] = {"dtype": "image", "shape": [height, width, 1], "names": names}
            features[MASK]["info"] = {"source": self._mask_source}
            features[HAS_MASK] = {"dtype": "bool", **scalar}
        return features

    # ------------------------------------------------------------------------------------- files

    def _table(self, name: str) -> Table:
        path = self._root / "data" / f"{name}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        images = [
            DEPTH,
            *([RGB] if self._rgb_as == "image" else []),
            *([MASK] if self._mask_source is not None else []),
        ]
        return Table(path, images, has_mask=self._mask_source is not None)

    def _video(self, name: str) -> AbstractContextManager[VideoFile | None]:
        if self._rgb_as != "video":
            return nullcontext()
        assert self._sizes is not None
        height, width, _ = self._sizes[0]
        return VideoFile(self._root / "videos" / RGB / f"{name}.mp4", self._codec, self._fps, height, width)


def _statistics(samples: list[np.ndarray], frames: int) -> dict[str, Any]:
    values = np.concatenate(samples).astype(np.float64)
    found = {"min": values.min(0), "max": values.max(0), "mean": values.mean(0), "std": values.std(0)}
    found |= {name: np.percentile(values, share, axis=0) for name, share in _QUANTILES.items()}
    return {**{name: value.tolist() for name, value in found.items()}, "count": [frames]}


def _tasks(task: str) -> Any:
    """The table of tasks as pandas reads it: the text is the index."""
    import pyarrow as pa

    index = "__index_level_0__"
    kinds = (("task_index", "task_index", "int64", "int64"), (None, index, "unicode", "object"))
    keys = ("name", "field_name", "pandas_type", "numpy_type")
    columns = [{**dict(zip(keys, kind, strict=True)), "metadata": None} for kind in kinds]
    about = {"index_columns": [index], "column_indexes": [], "columns": columns}
    table = pa.table({"task_index": pa.array([0], pa.int64()), index: pa.array([task])})
    return table.replace_schema_metadata({b"pandas": json.dumps({**about, "pandas_version": "2.0.0"}).encode()})
