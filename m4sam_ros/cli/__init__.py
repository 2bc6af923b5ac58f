# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""The commands of `m4sam` that start ROS processes; setup.py registers this table under `m4sam.commands`."""

from __future__ import annotations

from m4sam_core.cli.table import Entry, Table

COMMANDS: Table = {
    "bench": {
        "node": Entry("m4sam_ros.cli.bench_node", "Latency, loss and processor time of the ROS node without a model."),
        "outputs": Entry("m4sam_ros.cli.bench_outputs", "Processor time of each output of the ROS node."),
        "cameras": Entry("m4sam_ros.cli.bench_cameras", "Memory of several cameras in one process and in several."),
        "soak": Entry("m4sam_ros.cli.bench_soak", "Memory and latency of the ROS node over a long run."),
    },
}
