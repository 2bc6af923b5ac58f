# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""From a model's name to its file. Nothing is ever downloaded here; `m4sam download` is a command of its own."""

from __future__ import annotations

import os
from pathlib import Path

from m4sam_core.errors import CheckpointError, ConfigError

PACKAGED = {"default": "edge.safetensors", "edge": "edge.safetensors"}
SUFFIXES = (".safetensors", ".pth", ".pt")
CACHE_VARIABLE = "M4SAM_CACHE"


def packaged_weights_dir() -> Path:
    """Folder of the weights that ship with the package."""
    return Path(__file__).parent / "weights"


def cache_dir() -> Path:
    """Folder of downloaded weights, and of what is measured or compiled once: $M4SAM_CACHE, else ~/.cache/m4sam.

    Raises:
        ConfigError: neither the variable nor a home.
    """
    given = os.environ.get(CACHE_VARIABLE, "").strip()
    try:
        return Path(given).expanduser() if given else Path.home() / ".cache" / "m4sam"
    except RuntimeError:  # a user without a home, as in containers
        raise ConfigError(f"{CACHE_VARIABLE}: expected a home for the cache, got none; set HOME or it") from None


def resolve_model(name_or_path: str | Path) -> Path:
    """Find a model's weights file.

    A packaged name ("default", "edge") comes first, then a path to an existing file, then a name in the cache folder,
    with or without its suffix.

    Args:
        name_or_path: name or path; `~` is expanded.

    Raises:
        CheckpointError: nothing found; the text lists the places looked at and the names there are.
    """
    name = str(name_or_path).strip()
    if name in PACKAGED:
        packaged = packaged_weights_dir() / PACKAGED[name]
        if packaged.is_file():
            return packaged
        raise CheckpointError(
            f"model {name!r}: expected the packaged file {packaged}, found none; "
            "reinstall m4sam_ros with its package data, or give a path"
        )
    path = Path(name).expanduser()
    if name and path.is_file():
        return path
    if name and path.name == name:
        for candidate in (cache_dir() / name, *(cache_dir() / f"{name}{suffix}" for suffix in SUFFIXES)):
            if candidate.is_file():
                return candidate
    known = ", ".join(known_models())
    raise CheckpointError(
        f"model {name!r}: expected a known name, a file, or a file in {cache_dir()}, found none; known here: {known}. "
        "`m4sam download --list` shows what can be fetched"
    )


def known_models() -> list[str]:
    """Names `resolve_model` takes on this machine: the packaged ones, then those in the cache."""
    names = [name for name, file in PACKAGED.items() if (packaged_weights_dir() / file).is_file()]
    if cache_dir().is_dir():
        names += sorted(file.stem for file in cache_dir().iterdir() if file.suffix in SUFFIXES and file.is_file())
    return list(dict.fromkeys(names)) or ["none"]
