# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""The DDS profile that is installed beside the code."""

from __future__ import annotations

import os

from m4sam_core.host.dds import PROFILE_VARIABLES
from m4sam_core.host.share import shared_folder

_FAST_DDS_2 = ("humble", "iron", "jazzy")  # know the second name only; later distributions warn at it


def dds_profile() -> dict[str, str]:
    """The environment variable that has Fast DDS read config/dds/fastdds_shm.xml, by this distribution's name.

    Raises:
        InputError: see `shared_folder`.
    """
    variable = PROFILE_VARIABLES[os.environ.get("ROS_DISTRO", "") in _FAST_DDS_2]
    return {variable: str(shared_folder() / "config" / "dds" / "fastdds_shm.xml")}
