# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""The node's report in /diagnostics and its `state`: what they are called, and how listeners read them back."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

_REPORT = "saliency"
_STREAM = "stream"
_DROPS = "drops."


@dataclass(frozen=True)
class Report:
    """One report of one node.

    Attributes:
        node: fully qualified name.
        stamp_s: of the report, seconds.
        problem: what is wrong just now, "" when nothing is.
        values: as text.
    """

    node: str
    stamp_s: float
    problem: str
    values: Mapping[str, str]

    def number(self, key: str) -> float | None:
        """A value as a number; None where there is none, or not a finite one."""
        return finite(self.values.get(key, ""))

    def count(self, key: str) -> int:
        """A counter, 0 where there is none."""
        return int(self.number(key) or 0)

    @property
    def drops(self) -> dict[str, int]:
        """Frames that came to nothing, by cause."""
        return drops_in(self.values)


def drops_in(values: Mapping[str, str]) -> dict[str, int]:
    """Frames that came to nothing by cause, from a report's values; causes that did not happen are left out."""
    found = {key.removeprefix(_DROPS): finite(text) for key, text in sorted(values.items()) if key.startswith(_DROPS)}
    return {cause: int(count) for cause, count in found.items() if count}


def drop_values(drops: Mapping[str, int]) -> dict[str, object]:
    """The values that `drops_in` reads back."""
    return {f"{_DROPS}{cause}": count for cause, count in sorted(drops.items())}


def reports_in(message: DiagnosticArray, namespace: str = "") -> list[Report]:
    """The reports of saliency nodes in a message of /diagnostics.

    Args:
        message: of any node.
        namespace: only nodes in it; empty: all.
    """
    own = f"{namespace.rstrip('/')}/"
    stamp_s = message.header.stamp.sec + message.header.stamp.nanosec * 1e-9
    found = []
    for status in message.status:
        node, _, what = status.name.rpartition(": ")
        if what == _REPORT and node.startswith(own):
            problem = "" if status.level == DiagnosticStatus.OK else status.message
            found.append(Report(node, stamp_s, problem, values_of(status)))
    return found


def report_status(node: str, problem: str | None, values: Mapping[str, object], sound: str = "ok") -> DiagnosticStatus:
    """The status that `reports_in` reads back; its message is the problem, or `sound` where there is none."""
    level = DiagnosticStatus.OK if problem is None else DiagnosticStatus.WARN
    return _status(f"{node}: {_REPORT}", level, problem or sound, values)


def state_status(node: str, message: str, values: Mapping[str, object]) -> DiagnosticStatus:
    """The latched `state`."""
    return _status(f"{node}: {_STREAM}", DiagnosticStatus.OK, message, values)


def scene_caption(state: DiagnosticStatus) -> str:
    """What an overlay says of a state, e.g. "scene 3   rgb only"."""
    values = values_of(state)
    words = [f"scene {values['scene_id']}"] if "scene_id" in values else []
    return "   ".join([*words, *(["rgb only"] if values.get("rgb_only") == "true" else [])])


def values_of(status: DiagnosticStatus) -> dict[str, str]:
    """The key-value pairs of a status."""
    return {pair.key: pair.value for pair in status.values}


def finite(text: str) -> float | None:
    """A number from text; None for anything else."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _status(name: str, level: bytes, message: str, values: Mapping[str, object]) -> DiagnosticStatus:
    pairs = [KeyValue(key=key, value=_text(value)) for key, value in values.items()]
    return DiagnosticStatus(level=level, name=name, message=message, hardware_id="m4sam", values=pairs)


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def newest_first(output: str, key: str) -> Iterator[dict[str, Any]]:
    """The lines with this key that a monitor printed (`m4sam_ros.bench.probes monitor`); nothing else is read."""
    for text in reversed(output.splitlines()):
        if text.startswith("{") and text.endswith("}"):
            line: dict[str, Any] = json.loads(text)
            if key in line:
                yield line
