# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Engines and precisions side by side: each in a process of its own, frame about frame, in one run.

On a machine that others use only what was measured in alternation can be compared; and only a process of its own tells
what an engine holds in memory.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from m4sam_core.backends.engines import ENGINES
from m4sam_core.bench.gate import Frame, overlap
from m4sam_core.bench.model import machine
from m4sam_core.config import PipelineConfig
from m4sam_core.devices import resolve_device
from m4sam_core.errors import ConfigError, M4SamError

REFERENCE = ("torch", "float32")
_STEP_S = 0.1


@dataclass(frozen=True)
class BackendRow:
    """One engine in one precision.

    Attributes:
        backend: see `PipelineConfig.backend`.
        dtype: see `PipelineConfig.dtype`.
        ms_p50: median time of a whole frame, camera image in, mask out, with a full memory. Milliseconds.
        ms_p95: 95th percentile of the same.
        cpu_ms: median processor time of a frame; unlike the clock it does not count other programs. Milliseconds.
        iou_min: least overlap with the masks of torch in float32 over the gate set.
        iou_mean: mean overlap.
        rss_mb: resident memory of a process with this engine alone.
        clips: least overlap on each clip.
        note: why the row is empty, None when it is not.
    """

    backend: str
    dtype: str
    ms_p50: float | None = None
    ms_p95: float | None = None
    cpu_ms: float | None = None
    iou_min: float | None = None
    iou_mean: float | None = None
    rss_mb: float | None = None
    clips: Mapping[str, float] | None = None
    note: str | None = None


def variants(backend: str) -> list[tuple[str, str]]:
    """(backend, dtype) of every row that `backend` asks for; "all": whatever is installed here.

    Raises:
        ConfigError: an engine asked for by name is not there.
    """
    if backend != "all" and backend != "torch":
        if backend not in ENGINES:
            raise ConfigError(f"--backend: expected all, torch, {', '.join(ENGINES)}, got {backend!r}")
        ENGINES[backend].require()
    engines = [engine for engine in ENGINES.values() if engine.installed and backend in ("all", engine.name)]
    rows = [REFERENCE, ("torch", "bfloat16")] if backend in ("all", "torch") else [REFERENCE]
    for engine in engines:
        if engine.name == "tensorrt" and backend == "all" and resolve_device("auto").type != "cuda":
            continue
        rows += [(engine.name, dtype) for dtype in engine.dtypes]
    return rows


def bench_backends(
    model: Path,
    rows: Sequence[tuple[str, str]],
    clips: Mapping[str, Sequence[Frame]],
    *,
    frames: int,
    threads: int,
    height: int = 480,
    width: int = 640,
    busy: int = 0,
    priority: int = 0,
    on_step: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Time every row on the same frames in turn, and hold its masks against those of torch in float32.

    Args:
        model: weights file.
        rows: (backend, dtype); the first is the reference.
        clips: the gate set.
        frames: frames timed for each row; 0: only the masks are compared.
        threads: of every engine; 0 leaves its choice.
        height: rows of the camera image. Pixels.
        width: columns of the camera image. Pixels.
        busy: processes that compute beside the frames while these are timed, as other programs of a robot do.
        priority: of every engine's threads, see `PipelineConfig.priority`.
        on_step: told what is going on.

    Returns:
        `rows` (see `BackendRow`), processor, load average before and after, threads, and what else a reader must know.
    """
    load_before = os.getloadavg()
    workers = []
    try:
        for backend, dtype in rows:
            on_step(f"opening {backend} {dtype}")
            settings = {"backend": backend, "dtype": dtype, "threads": threads, "priority": priority}
            workers.append(_Worker(model, settings, (height, width) if frames else None))
        masks = []
        for worker in workers:
            on_step(f"masks of {worker.name}")
            masks.append(worker.ask("masks", {name: list(clip) for name, clip in clips.items()}))
        times: list[list[tuple[float, float]]] = [[] for _ in workers]
        for worker in workers if frames else ():
            on_step(f"filling the memory of {worker.name}")
            worker.ask("frame", None)
        with _busy(busy):
            for index in range(frames):
                on_step(f"frame {index + 1} of {frames}")
                for worker, spent in zip(workers, times, strict=True):
                    if worker.note is None:
                        spent.append(worker.ask("frame", None))
        resident = [worker.ask("resident", None) for worker in workers]
    finally:
        for worker in workers:
            worker.close()
    results = [
        _row(worker, found, masks[0], spent, rss)
        for worker, found, spent, rss in zip(workers, masks, times, resident, strict=True)
    ]
    return {
        "rows": [asdict(row) for row in results],
        "threads": threads,
        "busy": busy,
        "priority": priority,
        "cores": os.cpu_count(),
        "load_before": load_before,
        "load_after": os.getloadavg(),
        "frames": frames,
        "image": [height, width],
        "machine": machine("cpu"),
    }


@contextlib.contextmanager
def _busy(count: int) -> Iterator[None]:
    """That many processes of this session compute in the block: Linux shares out by session first."""
    spin = "import os\nparent = os.getppid()\nwhile os.getppid() == parent: sum(range(100_000))"
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            process = stack.enter_context(subprocess.Popen([sys.executable, "-I", "-S", "-c", spin]))
            stack.callback(process.kill)
        yield


def _row(
    worker: _Worker,
    masks: Mapping[str, Sequence[NDArray[np.uint8]]] | None,
    reference: Mapping[str, Sequence[NDArray[np.uint8]]] | None,
    spent: Sequence[tuple[float, float]],
    rss_mb: float | None,
) -> BackendRow:
    if masks is None or reference is None:
        return BackendRow(worker.backend, worker.dtype, note=worker.note)
    overlaps = {name: overlap(masks[name], reference[name]) for name in reference}
    every = [iou for clip in overlaps.values() for iou in clip]
    wall, cpu = ([x[column] for x in spent] for column in (0, 1))
    return BackendRow(
        worker.backend,
        worker.dtype,
        ms_p50=float(np.median(wall)) if wall else None,
        ms_p95=float(np.percentile(wall, 95)) if wall else None,
        cpu_ms=float(np.median(cpu)) if cpu else None,
        iou_min=float(min(every)),
        iou_mean=float(np.mean(every)),
        rss_mb=rss_mb,
        clips={name: float(min(clip)) for name, clip in overlaps.items()},
    )


class _Worker:
    """A process with one engine, asked one thing at a time. `note` tells why it cannot answer."""

    def __init__(self, model: Path, settings: Mapping[str, Any], image: tuple[int, int] | None) -> None:
        self.backend, self.dtype = settings["backend"], settings["dtype"]
        self.name = f"{self.backend} {self.dtype}"
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process: SpawnProcess = context.Process(target=_serve, args=(theirs, model, settings, image), daemon=True)
        self._process.start()
        theirs.close()
        self.note: str | None = None
        said = self._receive()
        self.note = self.note or said

    def ask(self, what: str, given: Any) -> Any:
        if self.note is not None:
            return None
        self._pipe.send((what, given))
        return self._receive()

    def close(self) -> None:
        self._pipe.close()
        self._process.join(5)
        if self._process.is_alive():
            self._process.kill()

    def _receive(self) -> Any:
        try:
            return self._pipe.recv()
        except EOFError:
            self.note = "its process ended unexpectedly; is there enough memory?"
            return None


def _serve(pipe: Connection, model: Path, settings: Mapping[str, Any], image: tuple[int, int] | None) -> None:
    """The other end of `_Worker`: opens the pipeline, fills its memory, then answers."""
    from m4sam_core.bench.stream import resident_mb, textured_view
    from m4sam_core.pipeline import SaliencyPipeline

    cfg = PipelineConfig.parse(
        {
            **settings,
            "device": "cuda" if settings["backend"] == "tensorrt" else "cpu",
            "stream": {"write_gate": {"enabled": False}},
        }
    )
    try:
        pipeline = SaliencyPipeline.from_name(model, cfg)
    except M4SamError as error:
        pipe.send(str(error))
        return
    if pipeline.refused:
        pipe.send(pipeline.refused)
        return
    clock_s = 0.0

    def run(rgb: NDArray[np.uint8], depth: NDArray[Any]) -> NDArray[np.uint8]:
        nonlocal clock_s
        clock_s += _STEP_S
        return pipeline.process(rgb, depth, clock_s).mask

    view = textured_view(0, *image) if image else None
    filled = False
    pipe.send(None)
    while True:
        try:
            what, given = pipe.recv()
        except EOFError:
            return
        if what == "masks":
            answer: Any = {}
            for name, clip in given.items():
                pipeline.reset(name)
                answer[name] = [run(*frame) for frame in clip]
            pipeline.reset("timing")
        elif what == "frame" and view is not None:
            for _ in range(0 if filled else cfg.stream.bank.capacity + 2):
                run(*view)
            filled = True
            start, cpu = time.perf_counter(), time.process_time()
            run(*view)
            answer = ((time.perf_counter() - start) * 1e3, (time.process_time() - cpu) * 1e3)
        else:
            answer = resident_mb()
        pipe.send(answer)
