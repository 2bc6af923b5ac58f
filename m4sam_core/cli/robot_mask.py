# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""`m4sam robot-mask`: a mask of the robot's own body, from a recording."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Optional

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np


def command(
    source: Path = typer.Argument(..., help="A rosbag, or a folder of colour images, in which the camera moves."),
    out: Path = typer.Option(..., "--out", "-o", help="Image file for the mask: white on the robot."),
    overlay: Optional[Path] = typer.Option(None, help="Also write a picture that shows it dark."),
    rgb_topic: Optional[str] = typer.Option(None, help="Colour topic of a bag; default: the only plausible one."),
    frames: int = typer.Option(60, min=8, max=1000, help="Frames to compare, spread over the recording."),
) -> None:
    """Find the robot's own grippers, arms or bumper in its camera's picture, for `ignore_mask`.

    Drive or turn the robot past a textured scene with its arms at rest: what stays in its place while everything else
    moves is the robot. Look at the overlay, and mend the mask with any paint program if need be.

    Example: m4sam robot-mask drive.mcap --out robot.png --overlay look.jpg
    """
    import numpy as np

    from m4sam_core.rgbd.image_files import write_png
    from m4sam_core.rgbd.pictures import draw_overlay
    from m4sam_core.vision.robot_body import find_robot_body

    pictures = list(_spread(source, rgb_topic, frames))
    mask = find_robot_body(pictures)
    write_png(out, mask)
    typer.echo(f"{out}: {np.count_nonzero(mask) / mask.size:.1%} of the picture, from {len(pictures)} frames")
    if not mask.any():
        typer.echo("nothing at the picture's border stays in its place; no mask is needed, or the arms moved", err=True)
    if overlay is not None:
        write_png(overlay, draw_overlay(pictures[-1], np.zeros_like(mask), left_out=mask > 0))


def _spread(source: Path, rgb_topic: str | None, count: int) -> Iterator[np.ndarray]:
    """`count` pictures at even distances, in order."""
    from m4sam_core.predict_folder import list_frames
    from m4sam_core.rgbd.bags.find import is_bag
    from m4sam_core.rgbd.bags.frames import decode_rgb
    from m4sam_core.rgbd.bags.source import BagSource
    from m4sam_core.rgbd.bags.topics import choose_topics
    from m4sam_core.rgbd.image_files import read_rgb

    if not is_bag(source):
        paths = [frame.rgb for frame in list_frames(source, None)]
        yield from (read_rgb(paths[index]) for index in _evenly(len(paths), count))
        return
    with BagSource(source) as bag:
        topic = rgb_topic or choose_topics(bag, mask="").rgb
        wanted = set(_evenly(sum(entry.count for entry in bag.topics if entry.name == topic), count))
        for number, message in enumerate(bag.messages([topic])):
            if number in wanted:
                yield decode_rgb(message)


def _evenly(total: int, count: int) -> list[int]:
    return [index * total // min(count, total) for index in range(min(count, total))]
