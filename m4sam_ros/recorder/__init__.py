"""Executable `record`: what a saliency node publishes, as files."""

from __future__ import annotations

from collections.abc import Sequence


def main(args: Sequence[str] | None = None) -> int:
    """Console entry point `record`; returns the exit code."""
    from m4sam_ros.recorder.recorder import main as run

    return run(args)
