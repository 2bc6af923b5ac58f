# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""What starting costs: imports, loading from the cache, warming up, the first frame. Each run is a process of its own.

Processor time says more than the clock where other programs run; the difference between them is waiting.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from m4sam_core.host.processes import running

_PATIENCE_S = 600.0
_SIZE = (480, 640)


def bench_startup(
    model: str, backend: str, threads: int, runs: int, on_step: Callable[[str], object]
) -> dict[str, Any]:
    """Start `runs` processes after one that fills the cache of engines.

    Args:
        model: a name or a weights file.
        backend: see `PipelineConfig.backend`.
        threads: see `PipelineConfig.threads`.
        runs: processes measured.
        on_step: told what is going on.

    Returns:
        `stages`: name -> {"ms", "cpu_ms"}, medians over the runs, in the order they happen; `total` of both; `runs` as
        measured.

    Raises:
        ProcessError: a process failed.
    """
    command = [sys.executable, "-m", "m4sam_core.bench.startup", model, backend, str(threads)]
    measured = []
    with tempfile.TemporaryDirectory(prefix="m4sam_startup_") as folder, running(os.environ, Path(folder)) as group:
        for number in range(runs + 1):
            on_step(f"run {number} of {runs}" if number else "filling the cache")
            measured.append(group.start("startup", command).result(_PATIENCE_S))
    names = list(measured[0])
    stages = {
        name: {unit: round(median(run[name][unit] for run in measured[1:]), 1) for unit in ("ms", "cpu_ms")}
        for name in names
    }
    total = {unit: round(sum(stage[unit] for stage in stages.values()), 1) for unit in ("ms", "cpu_ms")}
    settings = {"model": model, "backend": backend, "threads": threads}
    return {**settings, "stages": stages, "total": total, "runs": measured[1:]}


class _Clock:
    """Milliseconds of wall clock and processor between marks."""

    def __init__(self) -> None:
        self.stages: dict[str, dict[str, float]] = {}
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def mark(self, name: str) -> None:
        wall, cpu = time.perf_counter(), time.process_time()
        self.stages[name] = {"ms": (wall - self._wall) * 1e3, "cpu_ms": (cpu - self._cpu) * 1e3}
        self._wall, self._cpu = wall, cpu


def one_start(model: str, backend: str, threads: int) -> dict[str, dict[str, float]]:
    """Start in this process, in which nothing heavy is imported yet."""
    clock = _Clock()
    for name in ("numpy", "cv2", "pydantic", "torch"):
        importlib.import_module(name)
        clock.mark(f"import {name}")
    pipeline = importlib.import_module("m4sam_core.pipeline")
    config = importlib.import_module("m4sam_core.config")
    clock.mark("import m4sam_core")
    if backend == "openvino":
        importlib.import_module("openvino")
        clock.mark("import openvino")
    cfg = config.PipelineConfig.parse({"device": "cpu", "backend": backend, "threads": threads})
    ready = pipeline.SaliencyPipeline.from_name(model, cfg)
    clock.mark("load")
    ready.warm_up(*_SIZE)
    clock.mark("warm up")
    np = importlib.import_module("numpy")
    view = np.full((*_SIZE, 3), 90, np.uint8), np.full(_SIZE, 2000, np.uint16)
    _ = ready.process(*view, 0.0).mask
    clock.mark("first frame")
    return clock.stages


if __name__ == "__main__":
    sys.stdout.write(json.dumps(one_start(sys.argv[1], sys.argv[2], int(sys.argv[3]))) + "\n")
