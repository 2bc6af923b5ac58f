# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
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
    """A model in evaluation mode on a device, by a name or a file of either kind.

    Raises:
        CheckpointError: missing, damaged or foreign file.
        ConfigError, DeviceError: a device that is not understood or not there.
    """
    from m4sam_core.devices import resolve_device
    from m4sam_core.model_files import resolve_model
    from m4sam_core.release import load_model

    where = resolve_device(device)
    return load_model(resolve_model(checkpoint)).to(where).eval()
