# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""A clip for when there is no camera: `m4sam clip`, in a process of its own, writes it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from m4sam_core.host.processes import executable, running

TIMEOUT_S = 1800.0


def generate_clip(
    folder: Path,
    logs: Path,
    frames: int,
    seed: int,
    env: Mapping[str, str] = os.environ,
    size: tuple[int, int] = (640, 480),
) -> None:
    """Write rgb/, depth/ and mask/ of a generated clip.

    Args:
        folder: of the clip; new.
        logs: folder for what the command prints.
        frames: length.
        seed: same seed, same clip.
        env: environment of the command.
        size: (width, height), pixels.

    Raises:
        ProcessError: the command is not there (it comes with the offline tools), failed or took too long.
    """
    command = [*executable("m4sam", "m4sam_core.cli.main"), "clip", str(folder)]
    options = {"frames": frames, "seed": seed, "width": size[0], "height": size[1]}
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    with running(env, logs) as group:
        maker = group.start("clip", [*command, *words])
        maker.wait(TIMEOUT_S)
        maker.check_succeeded()
