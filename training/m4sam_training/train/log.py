# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""What a run tells: metrics.jsonl, TensorBoard, and a progress bar (or plain lines where there is no terminal)."""

from __future__ import annotations

import json
import logging
import math
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor

from m4sam_core.errors import ConfigError
from m4sam_core.host.files import whole_file, write_text
from m4sam_core.host.optional import require

LOGGER = logging.getLogger("m4sam.train")
_FEW = 30  # points that are marked one by one


class RunLog:
    """Writes the logs of one run; only rank 0 makes one.

    Args:
        out: the run's folder.
        first_step: steps already done; later entries of an interrupted attempt are dropped.
        total_steps: steps of the whole run, for the estimate of the time left.
        tensorboard: whether to write OUT/tensorboard, where the package is installed.

    """

    def __init__(self, out: Path, *, first_step: int, total_steps: int, tensorboard: bool) -> None:
        out.mkdir(parents=True, exist_ok=True)
        self._lines = (out / "metrics.jsonl").open("a" if _drop_after(out / "metrics.jsonl", first_step) else "w")
        self._board = _open_board(out / "tensorboard", first_step) if tensorboard else None
        self._total = total_steps
        self._started = time.monotonic()
        self._first_step = first_step
        self._bar = Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("loss {task.fields[loss]:.4f}"),
            disable=not sys.stderr.isatty(),
        )
        self._task = self._bar.add_task("", total=total_steps, completed=first_step, epoch=0, loss=math.nan)

    def __enter__(self) -> RunLog:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()
        self._lines.close()
        if self._board is not None:
            self._board.close()

    def step(self, step: int, epoch: int, values: dict[str, float], *, write: bool) -> None:
        """Advance the bar; with `write`, log the values (flat names such as loss/total, lr/rest)."""
        loss = values.get("loss/total", math.nan)
        self._bar.update(self._task, completed=step, epoch=epoch)
        if not write:
            return
        self._bar.update(self._task, loss=loss)
        record: dict[str, Any] = {"step": step, "epoch": epoch}
        record.update({key: value if math.isfinite(value) else None for key, value in values.items()})
        self._lines.write(json.dumps(record) + "\n")
        self._lines.flush()
        if self._board is not None:
            for key, value in values.items():
                self._board.add_scalar(key, value, step)
        if self._bar.disable:
            LOGGER.info("step %d/%d epoch %d loss %.4f left %s", step, self._total, epoch, loss, self._left(step))

    def images(self, step: int, panels: dict[str, Tensor]) -> None:
        """Show frames side by side in TensorBoard: each panel (T, 1 or 3, H, W) in [0, 1] is a row."""
        if self._board is None:
            return
        rows = [torch.cat(list(panel.detach().float().cpu().expand(-1, 3, -1, -1)), dim=2) for panel in panels.values()]
        self._board.add_image(" | ".join(panels), torch.cat(rows, dim=1).clamp(0, 1), step)

    def _left(self, step: int) -> str:
        done = max(step - self._first_step, 1)
        seconds = (time.monotonic() - self._started) / done * (self._total - step)
        return f"{int(seconds // 3600)}:{int(seconds // 60) % 60:02d}:{int(seconds) % 60:02d}"


def write_curves(out: Path) -> None:
    """Draw OUT/curves.png from metrics.jsonl: losses, rates and validation, where matplotlib is installed."""
    entries = read_metrics(out)
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    for axis, title, chosen in zip(
        figure.subplots(1, 3), ("loss", "learning rate", "validation"), ("loss/total", "lr/", "val/"), strict=True
    ):
        for name in sorted({key for entry in entries for key in entry if key.startswith(chosen)}):
            points = [(entry["step"], entry[name]) for entry in entries if entry.get(name) is not None]
            axis.plot(*zip(*points, strict=True), label=name, marker="." if len(points) < _FEW else None)
            axis.legend()
        axis.set(xlabel="step", title=title)
        axis.grid(alpha=0.3)
    with whole_file(out / "curves.png") as draft:
        figure.savefig(draft, dpi=100)


def read_metrics(out: Path) -> list[dict[str, Any]]:
    """The entries of a run's metrics.jsonl, oldest first.

    A line cut off by a kill is left out, and so is a damaged one, with a warning: nothing that is computed needs them.
    """
    path = out / "metrics.jsonl"
    if not path.is_file():
        return []
    entries: list[dict[str, Any]] = []
    damaged: list[int] = []
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True), 1):
        if not line.endswith("\n"):
            break
        try:
            entry = json.loads(line)
        except ValueError:
            entry = None
        if isinstance(entry, dict) and isinstance(entry.get("step"), int):
            entries.append(entry)
        else:
            damaged.append(number)
    if damaged:
        LOGGER.warning("%s: %d damaged line(s) left out, the first is line %d", path, len(damaged), damaged[0])
    return entries


def _drop_after(path: Path, step: int) -> bool:
    """Drop entries after `step`; True when entries are left."""
    kept = [entry for entry in read_metrics(path.parent) if entry["step"] <= step]
    write_text(path, "".join(json.dumps(entry) + "\n" for entry in kept))
    return bool(kept)


def _open_board(folder: Path, first_step: int) -> Any:
    try:
        require("torch.utils.tensorboard", "train", "tensorboard")
    except ConfigError as error:
        LOGGER.warning("no TensorBoard files: %s", error)
        return None
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder), purge_step=first_step + 1)
