# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""How many threads a model is worth here: measured once for each machine, engine and weights, and kept in the cache.

What is chosen depends on the processor, so it must not change the masks: counts whose probabilities differ from those
of one thread by more than engines may differ are not taken (docs/decisions/0051-threads-by-measurement.md).
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch

from m4sam_core.backends.engines import ENGINES
from m4sam_core.backends.parity import LARGEST_DIFFERENCE
from m4sam_core.bench.model import processor
from m4sam_core.bench.stream import textured_view
from m4sam_core.config import PipelineConfig
from m4sam_core.devices import resolve_device
from m4sam_core.download import digest_of
from m4sam_core.errors import ConfigError
from m4sam_core.host.files import write_json
from m4sam_core.host.scheduling import ThreadPlace, allowed_cores
from m4sam_core.model_files import CACHE_VARIABLE, cache_dir, resolve_model
from m4sam_core.pipeline import SaliencyPipeline

_ROUNDS, _WARM = 5, 3
_WORTH = 1.1  # a count that is this near to the fastest leaves more cores to everybody else
_SIZE = (480, 640)
_STEP_S = 0.1


def quickest_threads(name_or_path: str | Path, cfg: PipelineConfig, progress: Callable[[str], None]) -> int:
    """The number of threads to load a model with.

    Args:
        name_or_path: see `model_files.resolve_model`.
        cfg: `device`, `backend`, `dtype` and `affinity` count.
        progress: told when something is measured.

    Returns:
        the fewest threads within a tenth of the fastest; 0 on a GPU, where it does not matter.

    Raises:
        M4SamError: see `loaded.load_for_inference`.
    """
    if resolve_device(cfg.device).type != "cpu":
        return 0
    cores = len(ThreadPlace(cfg.affinity).cores or allowed_cores())
    limit = os.environ.get("OMP_NUM_THREADS", "")
    most = min(cores, int(limit)) if limit.isdigit() and int(limit) else cores
    if most == 1:
        return 1
    known = _read(name_or_path, cfg, most)
    if known is None:
        progress(f"measuring how many of {most} threads the model is worth, once for this machine")
        with ThreadPoolExecutor(1) as own:  # a thread that ends: it takes the model's cores and nice value
            known = own.submit(measure, name_or_path, cfg, candidates(most)).result()
        _keep(known, name_or_path, cfg, most, progress)
        spent = ", ".join(f"{count}: {ms:.0f} ms" for count, ms in known["ms"].items())
        progress(f"threads: {known['threads']} ({spent} a frame)")
    return int(known["threads"])


def candidates(most: int) -> list[int]:
    """Every count up to 4, then in steps of about a third, and all."""
    counts = [count for count in (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128) if count < most]
    return [*counts, most]


def measure(name_or_path: str | Path, cfg: PipelineConfig, counts: Iterable[int]) -> dict[str, Any]:
    """Time each count on the same frames in turn; the least time of a frame is the one that nobody disturbed.

    Returns:
        `threads` chosen, `ms` by count, and `difference` by count: of the probabilities from those of one thread.
    """
    pipelines = {
        count: SaliencyPipeline.from_name(name_or_path, cfg.model_copy(update={"threads": count})) for count in counts
    }
    spent: dict[int, list[float]] = {count: [] for count in pipelines}
    views = [textured_view(seed, *_SIZE) for seed in range(2)]
    difference = dict.fromkeys(pipelines, 0.0)
    for index in range(_WARM + _ROUNDS):
        reference = None
        for count, pipeline in pipelines.items():
            start = time.perf_counter()
            probability = pipeline.process(*views[index % 2], index * _STEP_S).probability
            spent[count].append((time.perf_counter() - start) * 1e3)
            reference = probability if reference is None else reference
            difference[count] = max(difference[count], float(np.abs(probability - reference).max()))
    best = {count: min(times[_WARM:]) for count, times in spent.items()}
    return {"threads": choose(best, difference), "ms": best, "difference": difference}


def choose(ms: dict[int, float], difference: dict[int, float]) -> int:
    """The fewest threads within a tenth of the fastest, among those that keep the masks."""
    kept = {count: value for count, value in ms.items() if difference[count] <= LARGEST_DIFFERENCE}
    return min(count for count, value in kept.items() if value <= _WORTH * min(kept.values()))


def _key(path: Path, cfg: PipelineConfig, most: int) -> str:
    engines = {name: engine.version for name, engine in ENGINES.items() if engine.installed}
    told = [digest_of(path), cfg.backend, cfg.dtype, most, engines, processor(), torch.__version__]
    return hashlib.sha256(repr(told).encode()).hexdigest()[:16]


def _file(name_or_path: str | Path, cfg: PipelineConfig, most: int) -> Path:
    return cache_dir() / "threads" / f"{_key(resolve_model(name_or_path), cfg, most)}.json"


def _read(name_or_path: str | Path, cfg: PipelineConfig, most: int) -> dict[str, Any] | None:
    """What was measured before; a damaged file counts as none, as does a user without a home."""
    try:
        known = json.loads(_file(name_or_path, cfg, most).read_text(encoding="utf-8"))
        return known if isinstance(known["threads"], int) and known["threads"] > 0 else None
    except (ConfigError, OSError, ValueError, KeyError, TypeError):
        return None


def _keep(
    known: dict[str, Any], name_or_path: str | Path, cfg: PipelineConfig, most: int, progress: Callable[[str], None]
) -> None:
    """Note it for the next start; a machine without a place for that measures again."""
    try:
        file = _file(name_or_path, cfg, most)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file, known)
    except (ConfigError, OSError) as error:
        progress(f"the measurement is not kept, and made again at the next start: {error}; set {CACHE_VARIABLE}")
