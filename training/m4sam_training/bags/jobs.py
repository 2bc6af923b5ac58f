# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Many bags at once: one after another, or a task per bag on a Ray cluster. The result is the same, file by file."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from m4sam_core.errors import ConfigError, M4SamError
from m4sam_core.host.optional import require
from m4sam_core.host.outputs import is_full
from m4sam_training.bags.convert import BagReport, ConvertConfig, convert_bag

Engine = Literal["local", "ray"]
ENGINES: tuple[Engine, ...] = ("local", "ray")
RETRIES = 3


def bag_names(bags: Sequence[Path]) -> list[str]:
    """A plain, unique name for every bag: its own, with its folder's in front where two are called alike.

    The names depend on the set of bags only, not on their order.
    """
    own = [_clean(bag.stem if bag.suffix else bag.name) for bag in bags]
    counts = Counter(own)
    names = [
        name if counts[name] == 1 else f"{_clean(bag.resolve().parent.name)}_{name}"
        for name, bag in zip(own, bags, strict=True)
    ]
    again = Counter(names)
    doubles = sorted({name for name in names if again[name] > 1})
    if doubles:
        raise ConfigError(f"bags: expected different names, got {', '.join(doubles)} twice; convert them separately")
    return names


def _clean(name: str) -> str:
    cleaned = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in name).strip(".")
    return cleaned or "bag"


def convert_bags(
    bags: Sequence[Path],
    out: Path,
    cfg: ConvertConfig,
    engine: Engine = "local",
    address: str | None = None,
    workers: int | None = None,
) -> Iterator[BagReport]:
    """Convert bags; a bag that fails is reported with its error and the others go on.

    Args:
        bags: from `find_bags`.
        out: the dataset's folder; on a cluster a path that all its machines share.
        cfg: settings.
        engine: "local": one after another in this process; "ray": a task per bag.
        address: of a running Ray cluster; None starts one on this machine.
        workers: tasks at a time on a cluster started here; None: one per CPU.

    Yields:
        A report per bag, in the order they finish.

    Raises:
        ConfigError: two bags with the same name, or Ray is not installed.
        InputError: the disk is full. What was converted is in place, and a repeated call goes on with the rest.
    """
    jobs = list(zip(bags, bag_names(bags), strict=True))
    if engine == "local":
        for number, (bag, name) in enumerate(jobs, 1):
            yield _attempt(bag, name, out, cfg, f"bag {number} of {len(jobs)}")
    else:
        yield from _run_on_ray(jobs, out, cfg, address, workers)


def _attempt(bag: Path, name: str, out: Path, cfg: ConvertConfig, title: str = "") -> BagReport:
    """One bag; errors of the bag become part of the report, those that the next bag would meet, too, are raised."""
    try:
        return convert_bag(bag, name, out, cfg, title)
    except M4SamError as error:
        if is_full(error.__cause__):
            raise
        return BagReport(str(bag), name, error=str(error))


def _run_on_ray(
    jobs: Sequence[tuple[Path, str]], out: Path, cfg: ConvertConfig, address: str | None, workers: int | None
) -> Iterator[BagReport]:
    """A task per bag; a worker that dies costs its task a retry, `RETRIES` times."""
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    require("ray", "cluster")
    import ray

    started = not ray.is_initialized()
    if started:
        own: dict[str, Any] = {} if address else {"num_cpus": workers, "include_dashboard": False}
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **own)
    try:
        options: dict[str, Any] = {"max_retries": RETRIES, "retry_exceptions": [OSError]}
        task: Callable[..., Any] = ray.remote(**options)(_attempt).remote
        pending = {task(bag.resolve(), name, out.resolve(), cfg): (bag, name) for bag, name in jobs}
        while pending:
            ready, _ = ray.wait(list(pending), num_returns=1)
            bag, name = pending.pop(ready[0])
            try:
                yield ray.get(ready[0])
            except ray.exceptions.RayError as error:
                reason = f"task failed {RETRIES + 1} times: {' '.join(str(error).split())[:300]}"
                yield BagReport(str(bag), name, error=reason)
    finally:
        if started:
            ray.shutdown()
