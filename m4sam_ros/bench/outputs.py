# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""What subscribing to each output of the node costs."""

from __future__ import annotations

import json
import sys

from m4sam_ros.bench.node import SIZES
from m4sam_ros.bench.probes import OBJECT_TOPICS
from m4sam_ros.graph import running_graph

_TIMEOUT_S = 600.0


def bench_outputs(repeats: int) -> dict[str, dict[str, float]]:
    """Median milliseconds of processor time of a frame by size, and by topic or `all` of them.

    Args:
        repeats: frames for each figure.

    Raises:
        GraphError: there is no ROS, or no domain left.
        ProcessError: the measuring process failed.
    """
    asked = json.dumps({"sizes": SIZES, "kinds": OBJECT_TOPICS, "repeats": repeats})
    with running_graph() as graph:
        measuring = graph.start("outputs", [sys.executable, "-m", "m4sam_ros.node.objects.cost", asked])
        found: dict[str, dict[str, float]] = measuring.result(_TIMEOUT_S)
    return found
