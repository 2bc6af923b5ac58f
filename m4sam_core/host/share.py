# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Finds the files that are installed beside the code: launch/ and config/."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from m4sam_core.errors import ConfigError, InputError

RECIPES = Path("config") / "train"


def ament_prefixes() -> list[Path]:
    """Where ROS packages are installed: this environment, and what has been sourced."""
    return [Path(sys.prefix), *map(Path, filter(None, os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)))]


def shared_folder() -> Path:
    """Where launch/ and config/ are: the checkout, or share/m4sam_ros of an installation.

    Raises:
        InputError: nowhere.
    """
    places = [Path(__file__).resolve().parents[2], *(prefix / "share" / "m4sam_ros" for prefix in ament_prefixes())]
    for place in places:
        if (place / "config" / "saliency.yaml").is_file():
            return place
    raise InputError("config/saliency.yaml: expected in the checkout or in share/m4sam_ros, found nowhere; reinstall")


def find_recipe(name: Path) -> Path:
    """A YAML file of training settings: a path, or the name of one that comes with the package, e.g. rdvs.

    Raises:
        ConfigError: a plain name that is neither; the text lists the names.
    """
    if name.is_file() or name.name != str(name):
        return name
    folder = shared_folder() / RECIPES
    if (folder / f"{name.stem}.yaml").is_file():
        return folder / f"{name.stem}.yaml"
    known = ", ".join(sorted(path.stem for path in folder.glob("*.yaml")))
    raise ConfigError(f"{name}: expected a YAML file or one of {known}, found neither; check --config")
