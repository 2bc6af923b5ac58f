# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Packages that only some commands need: looked for when they are used, and named with what brings them."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path

from m4sam_core.errors import ConfigError

SAM2_COMMAND = (
    "pip install hydra-core iopath tqdm pillow && "
    "SAM2_BUILD_CUDA=0 pip install --no-build-isolation --no-deps sam2==1.1.0"
)


def require(module: str, extra: str, package: str = "", command: str = "") -> None:
    """Complain in one line when an optional package is not there; call it before importing the package.

    Args:
        module: what is imported, e.g. "rerun".
        extra: the extra of setup.py that brings it, e.g. "viewer".
        package: what pip calls it, where that is not the module's name, e.g. "rerun-sdk".
        command: that installs it, where that is not `pip install <package>`.

    Raises:
        ConfigError: it is not installed, or what is installed does not load.
    """
    try:
        importlib.import_module(module)
    except ImportError as error:
        name = package or module.partition(".")[0]
        raise ConfigError(
            f"{name}: expected this optional package, got {error}; "
            f"run `{command or f'pip install {name}'}` (the extra [{extra}] of m4sam_ros)"
        ) from None


def package_folder(module: str, distribution: str) -> Path:
    """Where an installed package's files are, for the data among them; the package is not imported.

    Args:
        module: name it is imported by.
        distribution: name pip knows it by.

    Raises:
        ConfigError: it is not installed.
    """
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise ConfigError(f"{distribution}: expected this package, found none; run `pip install {distribution}`")
    return Path(spec.origin).parent
