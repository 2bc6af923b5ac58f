# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""`m4sam clip`: a generated RGB-D clip, for trying things without a camera."""

from __future__ import annotations

from pathlib import Path

import typer


def command(
    out: Path = typer.Argument(..., help="Folder; gets rgb/, depth/ and mask/."),
    frames: int = typer.Option(150, min=2, max=100_000, help="Number of frames."),
    seed: int = typer.Option(0, min=0, help="Same seed, same clip."),
    width: int = typer.Option(640, min=64, max=4096, help="Pixels."),
    height: int = typer.Option(480, min=64, max=4096, help="Pixels."),
) -> None:
    """Write a generated clip: colour, 16-bit depth in millimetres with holes, and the true mask."""
    from m4sam_training.synth.clip import write_clip

    write_clip(out, seed=seed, frames=frames, height=height, width=width)
    typer.echo(f"{out}: {frames} frames, {width}x{height}")
