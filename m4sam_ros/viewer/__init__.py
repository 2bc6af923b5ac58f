"""Executable `viewer`: the node's topics in Rerun."""

from __future__ import annotations

from collections.abc import Sequence


def main(args: Sequence[str] | None = None) -> int:
    """Console entry point `viewer`; returns the exit code."""
    from m4sam_ros.viewer.viewer import main as run

    return run(args)
