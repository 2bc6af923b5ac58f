# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""What ends a run early, what it may continue from, and with which settings."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from m4sam_core.errors import CheckpointError, ConfigError
from m4sam_training.train.checkpointing import list_checkpoints
from m4sam_training.train.config import TrainConfig
from m4sam_training.train.config.nested import differences

WEIGHTS = ("last.safetensors", "best.safetensors")
FREE_TO_CHANGE = ("run", "init", "data.workers")


def choose_checkpoint(out: Path, resume: str, restarts: int) -> Path | None:
    """Which checkpoint to continue from.

    Args:
        out: the run's folder.
        resume: auto, never, or the path of a checkpoint folder.
        restarts: above 0 when torchrun restarted the run, which then always continues.

    Raises:
        ConfigError: `never` and the folder holds a run already.
        CheckpointError: the given folder is none.
    """
    found = list_checkpoints(out)
    if resume == "auto" or (restarts > 0 and found):
        return found[-1] if found else None
    if resume == "never":
        if found:
            raise ConfigError(
                f"{out}: expected an empty folder, got a run at {found[-1].name}; "
                "add --resume auto or choose another --out"
            )
        if left := [name for name in WEIGHTS if (out / name).is_file()]:
            raise ConfigError(
                f"{out}: expected an empty folder, got {' and '.join(left)} of another run, which this one would "
                "replace; move them away or choose another --out"
            )
        return None
    folder = Path(resume)
    if not (folder / "state.pt").is_file():
        raise CheckpointError(
            f"--resume: expected auto, never or a checkpoint folder, got {resume}; look in {out}/checkpoints"
        )
    return folder


def check_same(now: TrainConfig, then: TrainConfig) -> None:
    """Check that a run goes on with the settings it was started with; FREE_TO_CHANGE may differ, but not the seed.

    Raises:
        ConfigError: it does not; the text names the settings.
    """
    changed = {
        name
        for name in differences(now.model_dump(mode="json"), then.model_dump(mode="json"))
        if not any(name == free or name.startswith(f"{free}.") for free in FREE_TO_CHANGE)
    }
    if now.run.seed != then.run.seed:
        changed.add("run.seed")
    if changed:
        raise ConfigError(
            f"--resume: expected the settings the run was started with, got other values of "
            f"{', '.join(sorted(changed))}; "
            "undo them or start a new run with init.checkpoint"
        )


@contextmanager
def stop_signals() -> Iterator[list[int]]:
    """Collects SIGTERM and the first SIGINT instead of dying; a second SIGINT interrupts as usual."""
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return

    def remember(number: int, _frame: object) -> None:
        received.append(number)
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    before = {number: signal.signal(number, remember) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
