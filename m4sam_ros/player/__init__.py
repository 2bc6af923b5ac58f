"""Executable `play`: clips and recordings as a live RGB-D camera."""

from __future__ import annotations

from collections.abc import Sequence


def main(args: Sequence[str] | None = None) -> int:
    """Console entry point `play`; returns the exit code."""
    from m4sam_ros.player.player import main as run

    return run(args)
