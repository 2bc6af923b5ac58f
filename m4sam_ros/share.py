"""Finds the files that are installed beside the code: launch/ and config/."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from m4sam_core.errors import InputError

DDS_VARIABLES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
_FAST_DDS_2 = ("humble", "iron", "jazzy")  # know the second name only; later distributions warn at it


def ament_prefixes() -> list[Path]:
    """Where ROS packages are installed: this environment, and what has been sourced."""
    return [Path(sys.prefix), *map(Path, filter(None, os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)))]


def shared_folder() -> Path:
    """Where launch/ and config/ are: the checkout, or share/m4sam_ros of an installation.

    Raises:
        InputError: nowhere.
    """
    places = [Path(__file__).resolve().parents[1], *(prefix / "share" / "m4sam_ros" for prefix in ament_prefixes())]
    for place in places:
        if (place / "config" / "saliency.yaml").is_file():
            return place
    raise InputError("config/saliency.yaml: expected in the checkout or in share/m4sam_ros, found nowhere; reinstall")


def dds_profile() -> dict[str, str]:
    """The environment variable that has Fast DDS read config/dds/fastdds_shm.xml, by this distribution's name.

    Raises:
        InputError: see `shared_folder`.
    """
    variable = DDS_VARIABLES[os.environ.get("ROS_DISTRO", "") in _FAST_DDS_2]
    return {variable: str(shared_folder() / "config" / "dds" / "fastdds_shm.xml")}
