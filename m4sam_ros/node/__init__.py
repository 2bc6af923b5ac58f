"""The saliency node, from its subscriptions to its topics."""

from __future__ import annotations

from collections.abc import Sequence


def main(args: Sequence[str] | None = None) -> int:
    """Console entry point `saliency_node`; returns the exit code."""
    from m4sam_ros.node.saliency_node import main as run

    return run(args)
