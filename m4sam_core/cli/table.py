# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""The table of commands: what `m4sam --help` lists and where each command lives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Union


class Entry(NamedTuple):
    """One row: the module and the line that `--help` shows.

    The module has a function `command`, or an `app` (typer.Typer) where there are subcommands.
    """

    module: str
    summary: str


# A mapping is a group of commands that live in files of their own; packages may add to each other's groups.
Table = Mapping[str, Union[Entry, Mapping[str, Entry]]]

CORE_COMMANDS: Table = {
    "predict": Entry("m4sam_core.cli.predict", "Masks for a folder of RGB and depth images."),
    "robot-mask": Entry("m4sam_core.cli.robot_mask", "A mask of the robot's own body, from a recording."),
    "doctor": Entry("m4sam_core.cli.doctor", "What is installed, what is wrong, and how to mend it."),
    "export": Entry("m4sam_core.cli.export", "A model as ONNX or OpenVINO files, compared with PyTorch."),
    "download": Entry("m4sam_core.cli.download", "Fetch named weights, checked by size and SHA-256."),
    "bench": {
        "model": Entry("m4sam_core.cli.bench_model", "Milliseconds and memory of a model, stage by stage."),
        "precision": Entry("m4sam_core.cli.bench_precision", "Which engines and precisions keep a model's masks."),
        "image": Entry("m4sam_core.cli.bench.image", "Milliseconds of a frame around the network, part by part."),
        "startup": Entry("m4sam_core.cli.bench.startup", "From an empty process to the first mask, stage by stage."),
        "stream": Entry("m4sam_core.cli.bench_stream", "Memory and time of an endless stream, early against late."),
    },
}
GROUP_SUMMARIES = {"bench": "Measure speed and memory on this machine."}


def merged(tables: Sequence[Table]) -> Table:
    """One table of several; groups of one name are joined, groups are listed last."""
    commands: dict[str, Entry] = {}
    groups: dict[str, dict[str, Entry]] = {}
    for table in tables:
        for name, entry in table.items():
            if isinstance(entry, Entry):
                commands[name] = entry
            else:
                groups.setdefault(name, {}).update(entry)
    return {**commands, **groups}
