# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""The files of a LeRobot data set: a table with images in it, and a video."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np

from m4sam_core.errors import ConfigError, InputError

STAMP, HAS_MASK = "observation.stamp_ns", "observation.has_mask"
CODECS = {"libx264": "h264", "libsvtav1": "av1", "mpeg4": "mpeg4"}
_ROWS = 32


class Table:
    """One parquet file, written a few rows at a time."""

    def __init__(self, path: Path, images: list[str], *, has_mask: bool) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        fields = [("timestamp", pa.float32())]
        fields += [(name, pa.int64()) for name in ("frame_index", "episode_index", "index", "task_index", STAMP)]
        fields += [(HAS_MASK, pa.bool_())] if has_mask else []
        kinds: dict[str, Any] = {name: {"dtype": str(kind), "_type": "Value"} for name, kind in fields}
        kinds["timestamp"]["dtype"] = "float32"
        kinds |= {name: {"_type": "Image"} for name in images}
        about = {b"huggingface": json.dumps({"info": {"features": kinds}}).encode()}
        self._schema = pa.schema([*fields, *((name, image) for name in images)], metadata=about)
        self._writer = pq.ParquetWriter(path, self._schema)
        self._waiting: list[dict[str, Any]] = []

    def __enter__(self) -> Table:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._flush()
        self._writer.close()

    def add(self, row: dict[str, Any]) -> None:
        """One more row; see the schema."""
        self._waiting.append(row)
        if len(self._waiting) >= _ROWS:
            self._flush()

    def _flush(self) -> None:
        import pyarrow as pa

        if self._waiting:
            self._writer.write_table(pa.Table.from_pylist(self._waiting, schema=self._schema))
            self._waiting.clear()


class VideoFile:
    """One MP4 file.

    Args:
        path: of the file; its folder is made.
        codec: a key of `CODECS`.
        fps: frames per second.
        height, width: of the frames. Pixels.
    """

    def __init__(self, path: Path, codec: str, fps: int, height: int, width: int) -> None:
        import av

        path.parent.mkdir(parents=True, exist_ok=True)
        self._container: Any = av.open(str(path), "w")
        self._stream = self._container.add_stream(codec, rate=Fraction(fps))
        self._stream.width, self._stream.height = width, height
        self._stream.pix_fmt = pixel_format(height, width)
        if codec != "mpeg4":
            self._stream.options = {"crf": "23" if codec == "libx264" else "30", "g": "2"}  # any frame is soon decoded

    def __enter__(self) -> VideoFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._container.mux(self._stream.encode())
        self._container.close()

    def add(self, rgb: np.ndarray) -> None:
        """One more frame, rgb (H, W, 3) uint8."""
        import av

        self._container.mux(self._stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")))


def available_codec() -> str:
    """The first of `CODECS` that this PyAV has.

    Raises:
        ConfigError: none.
    """
    import av

    found = [codec for codec in CODECS if codec in av.codecs_available]
    if not found:
        raise ConfigError(f"av: expected an encoder of {', '.join(CODECS)}, got none; use --rgb image")
    return found[0]


def pixel_format(height: int, width: int) -> str:
    """Half the colour where both sides are even, else all of it."""
    return "yuv420p" if height % 2 == width % 2 == 0 else "yuv444p"


def png(pixels: np.ndarray) -> dict[str, Any]:
    """An image as LeRobot's tables hold it.

    Raises:
        InputError: of a kind that PNG does not have.
    """
    ok, data = cv2.imencode(".png", np.ascontiguousarray(pixels), [cv2.IMWRITE_PNG_COMPRESSION, 3])
    if not ok:
        raise InputError(f"lerobot: the png encoder refused {pixels.dtype} {pixels.shape}")
    return {"bytes": data.tobytes(), "path": None}
