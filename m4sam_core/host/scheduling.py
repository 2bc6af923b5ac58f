# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Where a model's threads may run and how eagerly: cores and nice value, for them alone and not for the whole process.

Linux keeps both for each thread. Elsewhere they cannot be set, which is said.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from m4sam_core.errors import ConfigError

_TASKS = Path("/proc/self/task")
_RANGE = re.compile(r"(\d+)(?:-(\d+))?")
_HIGHEST_CORE = 4095


def cores_of(text: str) -> frozenset[int]:
    """The cores that a setting names, e.g. "2-3" or "0,2,4-5"; none for "".

    Raises:
        ConfigError: it cannot be read.
    """
    found: set[int] = set()
    for part in filter(None, (part.strip() for part in text.split(","))):
        match = _RANGE.fullmatch(part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if first > last or last > _HIGHEST_CORE:
            raise ConfigError(f"affinity: expected cores such as 2-3 or 0,2, got {text!r}; write numbers and ranges")
        found |= set(range(first, last + 1))
    return frozenset(found)


def allowed_cores() -> frozenset[int]:
    """The cores this thread may use."""
    if hasattr(os, "sched_getaffinity"):
        return frozenset(os.sched_getaffinity(0))
    return frozenset(range(os.cpu_count() or 1))


class ThreadPlace:
    """Cores and nice value of the threads that compute one model.

    Args:
        affinity: see `PipelineConfig.affinity`.
        priority: see `PipelineConfig.priority`.

    Attributes:
        cores: where they may run; empty: anywhere.
        refused: what the system did not allow, None when nothing.

    Raises:
        ConfigError: cores that cannot be read, or that this process may not use.
    """

    def __init__(self, affinity: str = "", priority: int = 0) -> None:
        self.cores = cores_of(affinity)
        self._nice = priority
        self._taken = threading.local()
        self.refused: str | None = None
        if missing := self.cores - allowed_cores():
            raise ConfigError(
                f"affinity: expected cores that this process may use ({_listed(allowed_cores())}), got {affinity!r}; "
                f"leave out {_listed(missing)}"
            )
        if self.cores or priority:
            # In a thread that ends: a nice value that was raised cannot be lowered again without permission.
            trial = threading.Thread(target=self._apply, args=(0,))
            trial.start()
            trial.join()

    def take(self) -> None:
        """The calling thread computes the model from now on."""
        if not getattr(self._taken, "done", False):
            self._taken.done = True
            self._apply(0)

    @contextlib.contextmanager
    def adopting(self) -> Iterator[None]:
        """Threads that are started in the block, by an engine, compute the model; the calling one is left as it was."""
        if not (self.cores or self._nice) or not _TASKS.is_dir():
            yield
            return
        own, before = os.sched_getaffinity(0), _tasks()
        if self.cores:
            with contextlib.suppress(OSError):
                os.sched_setaffinity(0, self.cores)  # what an engine counts, and what its threads inherit
        try:
            yield
        finally:
            os.sched_setaffinity(0, own)
            # Python's own threads say themselves what they are for.
            for task in _tasks() - before - {thread.native_id for thread in threading.enumerate()}:
                self._apply(task)

    def _apply(self, task: int) -> None:
        """To a thread by its id; 0: the calling one."""
        if self.cores:
            self._try(f"affinity {_listed(self.cores)}", lambda: os.sched_setaffinity(task, self.cores))
        if self._nice:
            self._try(f"priority {self._nice}", lambda: os.setpriority(os.PRIO_PROCESS, task, self._nice))

    def _try(self, what: str, call: Callable[[], object]) -> None:
        try:
            call()
        except ProcessLookupError:
            pass  # it has ended
        except (AttributeError, OSError) as error:
            self.refused = (
                f"{what}: expected to be allowed, got {error}; it stays as it is (a priority below 0 needs "
                "CAP_SYS_NICE or `ulimit -e`)"
            )


def _tasks() -> set[int]:
    return {int(path.name) for path in _TASKS.iterdir()}


def _listed(cores: frozenset[int]) -> str:
    return ", ".join(map(str, sorted(cores)))
