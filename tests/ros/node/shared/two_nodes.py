# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Two nodes in one process, one of which fails; run as a process by the tests."""

from __future__ import annotations

import sys

from m4sam_ros.runner import run_nodes


def bad():
    from rclpy.node import Node

    node = Node("bad")

    def fail():
        raise RuntimeError("the callback went wrong")

    node.create_timer(2.0, fail)
    return node


def good():
    from rclpy.node import Node

    node = Node("good")
    node.create_timer(0.3, lambda: print("good", flush=True))
    return node


if __name__ == "__main__":
    sys.exit(run_nodes([bad, good], [], leave_after_s=0.8))
