"""Options that several commands share, checked with the project's own errors."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from m4sam_core.errors import ConfigError

if TYPE_CHECKING:
    from m4sam_core.model.m4sam import M4SAM

T = TypeVar("T", bound=str)


def one_of(what: str, text: str, allowed: tuple[T, ...]) -> T:
    """The allowed value that is spelt like `text`.

    Raises:
        ConfigError: none is.
    """
    for value in allowed:
        if value == text:
            return value
    raise ConfigError(f"{what}: expected one of {', '.join(map(str, allowed))}, got {text!r}")


def load_for_evaluation(checkpoint: str | Path, device: str) -> M4SAM:
    """A model in evaluation mode on a device; a name or a file, of which `.pth` are taken for published checkpoints.

    Raises:
        CheckpointError: missing, damaged or foreign file.
        ConfigError, DeviceError: a device that is not understood or not there.
    """
    from m4sam_core.checkpoint import load_checkpoint
    from m4sam_core.devices import resolve_device
    from m4sam_core.model_files import resolve_model
    from m4sam_core.release import load_release_checkpoint

    where, file = resolve_device(device), resolve_model(checkpoint)
    model = load_release_checkpoint(file) if file.suffix == ".pth" else load_checkpoint(file)
    return model.to(where).eval()
