# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints a run resumes from, and files of trainable weights only.

OUT/checkpoints/step_00000120/   weights.safetensors (self-describing) and state.pt; appears whole or not at all
OUT/last.safetensors             the newest weights (a hard link where the file system has them)
"""

from __future__ import annotations

import io
import json
import os
import pickle
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from m4sam_core.checkpoint import save_checkpoint
from m4sam_core.errors import CheckpointError
from m4sam_core.host.files import sync, whole_file, write_bytes
from m4sam_core.model.m4sam import M4SAM

STATE_VERSION = 1
_NAME = re.compile(r"step_\d{8}(_replaced)?")
_REPLACED = "_replaced"


@dataclass(frozen=True)
class Progress:
    """Where a run stands.

    Attributes:
        epoch: 0-based, the epoch to go on with.
        clips: clips of that epoch that are done, over all processes.
        step: optimiser steps done since the start.
    """

    epoch: int = 0
    clips: int = 0
    step: int = 0


def save_training_checkpoint(
    out: Path, model: M4SAM, progress: Progress, state: dict[str, Any], *, metadata: dict[str, str], keep: int
) -> Path:
    """Write a resumable checkpoint and point OUT/last.safetensors at its weights.

    A kill at any moment leaves either the old or the new checkpoint whole. Later ones, from before the run was taken
    back to an older checkpoint, are removed.

    Args:
        out: the run's folder.
        model: an M4SAM.
        progress: where the run stands.
        state: optimiser, scaler and so on; tensors, numbers, strings and containers of them.
        metadata: written into the weights' header.
        keep: checkpoints to keep, the new one included.

    Returns:
        The checkpoint's folder.

    Raises:
        CheckpointError, OSError: it cannot be written; older checkpoints stay, and nothing of this one is left.
    """
    root = out / "checkpoints"
    root.mkdir(parents=True, exist_ok=True)
    _tidy(root)
    final = root / f"step_{progress.step:08d}"
    draft = root / f".unfinished_{os.getpid()}"
    draft.mkdir()
    try:
        save_checkpoint(draft / "weights.safetensors", model, metadata)
        buffer = io.BytesIO()
        torch.save({"version": STATE_VERSION, "progress": vars(progress), **state}, buffer)
        write_bytes(draft / "state.pt", buffer.getbuffer())
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    if final.exists():  # the run was taken back to an older checkpoint and comes past here again
        os.rename(final, root / f"{final.name}{_REPLACED}")
    os.rename(draft, final)
    sync(root)
    replace_link(final / "weights.safetensors", out / "last.safetensors")
    _tidy(root)
    past = [path for path in list_checkpoints(out) if path.name <= final.name]
    future = [path for path in list_checkpoints(out) if path.name > final.name]
    for unwanted in [*past[:-keep], *future]:
        _discard(unwanted)
    return final


def list_checkpoints(out: Path) -> list[Path]:
    """Finished checkpoints of a run, oldest first.

    A kill while a checkpoint is replaced by another of the same step may leave `step_N_replaced`; it counts as long as
    `step_N` is not there.
    """
    root = out / "checkpoints"
    found = [path for path in root.iterdir() if _NAME.fullmatch(path.name)] if root.is_dir() else []
    return sorted(path for path in found if not _is_stale(path))


def load_training_state(folder: Path) -> tuple[Progress, dict[str, Any]]:
    """Read what `save_training_checkpoint` stored besides the weights, without running any pickled code.

    Raises:
        CheckpointError: missing, damaged, hostile or of another version.
    """
    path = folder / "state.pt"
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        version = state.pop("version")
        progress = Progress(**state.pop("progress"))
    except (OSError, RuntimeError, KeyError, TypeError, AttributeError, EOFError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(
            f"{path}: expected a training state, got {reason}; resume from an older checkpoint in {folder.parent}"
        ) from None
    if version != STATE_VERSION:
        raise CheckpointError(f"{path}: expected training state version {STATE_VERSION}, got {version}; start anew")
    return progress, state


def replace_link(source: Path, target: Path) -> None:
    """Make `target` the same file as `source`, atomically; a copy where hard links are not possible."""
    draft = target.with_name(f".{target.name}.part")  # one name: what a kill leaves, the next call clears
    draft.unlink(missing_ok=True)
    try:
        os.link(source, draft)
    except OSError:
        shutil.copyfile(source, draft)
    os.replace(draft, target)


def trainable_state(model: nn.Module) -> dict[str, Tensor]:
    """Every trainable parameter, and the buffers of the modules that own one (running statistics)."""
    chosen: dict[str, Tensor] = {}
    for prefix, module in model.named_modules():
        own = dict(module.named_parameters(recurse=False))
        if not any(parameter.requires_grad for parameter in own.values()):
            continue
        lead = f"{prefix}." if prefix else ""
        chosen.update({lead + name: p.detach() for name, p in own.items() if p.requires_grad})
        chosen.update({lead + name: b for name, b in module.named_buffers(recurse=False)})
    return {name: tensor.cpu().contiguous() for name, tensor in chosen.items()}


def save_adapter(path: Path, model: M4SAM, metadata: dict[str, str]) -> None:
    """Write `trainable_state` with the architecture in the header, atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    header = {"format": "m4sam-adapter-1", "model_config": model.cfg.model_dump_json(), **metadata}
    with whole_file(path) as draft:
        save_file(trainable_state(model), draft, metadata=header)


def load_adapter(path: Path, model: M4SAM) -> None:
    """Put an adapter file's weights into a model of the same architecture, in place.

    Raises:
        CheckpointError: unreadable, made for another architecture, or with other tensors than the model trains.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: expected an adapter file, got {error}") from None
    if header.get("format") != "m4sam-adapter-1":
        raise CheckpointError(
            f"{path}: expected an adapter file, got {header.get('format', 'no format')!r} in its header"
        )
    if json.loads(header["model_config"]) != json.loads(model.cfg.model_dump_json()):
        raise CheckpointError(
            f"{path}: expected an adapter of this architecture; load it into the model it was made for"
        )
    wanted = trainable_state(model)
    wrong = sorted(wanted.keys() ^ tensors.keys())
    wrong += sorted(n for n in wanted.keys() & tensors.keys() if wanted[n].shape != tensors[n].shape)
    if wrong:
        raise CheckpointError(
            f"{path}: expected the model's trainable tensors, got differences in {', '.join(wrong[:8])}"
        )
    model.load_state_dict(tensors, strict=False)


def _is_stale(path: Path) -> bool:
    """A replaced checkpoint whose successor is in place."""
    return path.name.endswith(_REPLACED) and path.with_name(path.name.removesuffix(_REPLACED)).exists()


def _tidy(root: Path) -> None:
    """Remove what killed attempts left."""
    for path in root.glob(".unfinished_*"):
        shutil.rmtree(path)
    for path in root.glob(f"*{_REPLACED}"):
        if _is_stale(path):
            _discard(path)


def _discard(checkpoint: Path) -> None:
    """Remove a checkpoint; it loses its finished name first, so that a kill leaves no half of one under it."""
    doomed = checkpoint.with_name(f".unfinished_{checkpoint.name}")
    os.rename(checkpoint, doomed)
    shutil.rmtree(doomed)
