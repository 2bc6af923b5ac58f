"""Finds the files that are installed beside the code: launch/ and config/."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from m4sam_core.errors import InputError


def shared_folder() -> Path:
    """Where launch/ and config/ are: the checkout, or share/m4sam_ros of an installation.

    Raises:
        InputError: nowhere.
    """
    prefixes = [sys.prefix, *filter(None, os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep))]
    places = [Path(__file__).resolve().parents[1], *(Path(prefix) / "share" / "m4sam_ros" for prefix in prefixes)]
    for place in places:
        if (place / "config" / "saliency.yaml").is_file():
            return place
    raise InputError("config/saliency.yaml: expected in the checkout or in share/m4sam_ros, found nowhere; reinstall")
