# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""The command line of a process with several cameras.

    saliency_node --camera --ros-args -r __ns:=/front -- --camera --ros-args -r __ns:=/rear -- --ros-args -p device:=cpu

What stands between `--camera` and `--` is one node's; everything else is the process's and goes for every node.
"""

from __future__ import annotations

from collections.abc import Sequence

CAMERA = "--camera"
_END = "--"


def split_cameras(args: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    """The arguments of the process, and those of each camera.

    Args:
        args: a command line. A camera without `--` reaches to the next one, or to the end.

    Returns:
        what is left, and one list for each `--camera`; none for a process with one node.
    """
    process: list[str] = []
    cameras: list[list[str]] = []
    into = process
    for word in args:
        if word == CAMERA:
            into = []
            cameras.append(into)
        elif word == _END and into is not process:
            into = process
        else:
            into.append(word)
    return process, cameras
