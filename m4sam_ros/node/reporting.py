# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""What a node tells of itself: its `state` whenever that changes, its health and the watchdog's line once a second."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus

from m4sam_ros.names import DIAGNOSTICS, MASK, STATE
from m4sam_ros.node.backends import Backend
from m4sam_ros.node.diagnostics import diagnostics
from m4sam_ros.node.metrics import Metrics
from m4sam_ros.node.outputs import Outputs
from m4sam_ros.node.reasons import why_no_time
from m4sam_ros.node.session import ActiveSession
from m4sam_ros.node.watchdog import Repeats, Watch
from m4sam_ros.parameters import NodeParameters
from m4sam_ros.qos import latched
from m4sam_ros.report import state_status

_DISABLED = "disabled: no masks until ~/enable is called or the parameter enabled is true"


class Reporting:
    """The reports of one node, through all its states.

    Args:
        node: the `SaliencyNode`.
        settings: its parameters.
        metrics: its counters.
        notes: what this machine lacks, see `environment_notes`.

    Attributes:
        failure: why the last step of the lifecycle failed, None when it did not.
    """

    def __init__(self, node: Any, settings: NodeParameters, metrics: Metrics, notes: Sequence[str]) -> None:
        self._node = node
        self._settings = settings
        self._metrics = metrics
        self._notes = "; ".join(notes)
        self.failure: str | None = None
        self._watch: Watch | None = None
        self._time_ns = -1  # at the last look; simulated where use_sim_time is set
        self._last_state: dict[str, object] | None = None
        self._last_result: Any = None
        self._scene_began: dict[str, object] = {}
        self._repeats = Repeats()
        self._state_lock = threading.Lock()
        self._state_publisher = node.create_publisher(DiagnosticStatus, STATE, latched())
        self._diagnostics_publisher = node.create_publisher(DiagnosticArray, DIAGNOSTICS, 10)

    def watch(self, session: ActiveSession) -> None:
        """A session begins."""
        self._watch = Watch(session, self._metrics, self._notes)

    def on_result(self, result: Any) -> None:
        """Worker's thread: after each mask."""
        if result.frame_index == 0:
            self._scene_began = {"reset_reason": result.reset_reason or "", "reset_stamp": result.stamp}
        self._last_result = result
        self.publish_state()

    def forget_result(self) -> None:
        """The model is gone, and its scene with it."""
        self._last_result = None

    def publish_state(self) -> None:
        """Latched `state`, when something in it changed. Either thread."""
        with self._state_lock:
            result, lifecycle = self._last_result, self._node.lifecycle_state
            values: dict[str, object] = {"lifecycle": lifecycle, "enabled": self._settings.config.enabled}
            if result is not None:
                values |= {"scene_id": result.scene_id, **self._scene_began}
                values |= {"rgb_only": result.rgb_only, "depth_note": result.depth_note or ""}
            # The note may hold a number that differs from frame to frame.
            key = {name: value for name, value in values.items() if name != "depth_note"}
            if key == self._last_state:
                return
            self._last_state = key
            message = f"scene {result.scene_id}" if result is not None else lifecycle
            self._state_publisher.publish(state_status(self._node.get_fully_qualified_name(), message, values))

    def report(self, session: ActiveSession | None, backend: Backend | None, outputs: Outputs | None) -> None:
        """Once a second: follow the publishers, the watchdog's line, diagnostics.

        Args:
            session: while active.
            backend: while a model is loaded.
            outputs: likewise.
        """
        lifecycle, problem = self._node.lifecycle_state, None
        if session is not None and self._watch is not None:
            session.follow_publishers()
            problem = self._look(self._watch)
        elif lifecycle != "active":
            problem = f"the node is {lifecycle}" + (f": {self.failure}" if self.failure else "")
        if outputs is not None:
            problem = problem or self._silent_outputs(outputs)
        synchronizer = session.intake.synchronizer if session is not None else None
        now = self._node.get_clock().now().to_msg()
        name = self._node.get_fully_qualified_name()
        extra = self._values(session, backend, outputs)
        sound = "ok" if self._settings.config.enabled else _DISABLED
        self._diagnostics_publisher.publish(diagnostics(name, now, self._metrics, synchronizer, problem, extra, sound))
        self.publish_state()

    def _values(
        self, session: ActiveSession | None, backend: Backend | None, outputs: Outputs | None
    ) -> dict[str, object]:
        """What of the diagnostics is no count and no rate."""
        values: dict[str, object] = {"lifecycle": self._node.lifecycle_state, "model": self._settings.config.model}
        if session is not None:
            values["frames_waiting"] = session.waiting
            for name, image in (("rgb", session.intake.rgb), ("depth", session.intake.depth)):
                reliability = image.subscription.reliability.name.lower()
                values[f"{name}_qos"] = f"{reliability}, {image.subscription.publishers} publisher(s)"
        if self._notes:
            values["environment"] = self._notes
        if self._settings.strangers:
            values["unknown_parameters"] = "; ".join(self._settings.strangers)
        if backend is not None:
            values["stream_memory_bytes"] = backend.memory_bytes
            if backend.refused is not None:
                values["scheduling_refused"] = backend.refused
        if outputs is not None:
            values |= outputs.objects.report()
        if self._last_result is not None:
            values["scene_id"] = self._last_result.scene_id
            values["memory_entries"] = self._last_result.memory_entries
        return values

    def _silent_outputs(self, outputs: Outputs) -> str | None:
        """Why an output that somebody subscribes to does not come; logged now and then."""
        problem = outputs.objects.problem
        if self._repeats.due(problem, time.monotonic()):
            self._node.get_logger().warning(problem)
        return problem

    def _look(self, watch: Watch) -> str | None:
        node = self._node
        note = (self._last_result.depth_note or "") if self._last_result is not None else ""
        before_ns, self._time_ns = self._time_ns, node.get_clock().now().nanoseconds
        clock = why_no_time(self._time_ns, before_ns) if node.get_parameter("use_sim_time").value else ""
        masks = node.resolve_topic_name(MASK)
        problem, line = watch.look(self._settings.config, note, clock, (masks, node.count_publishers(masks)))
        if line is not None:
            node.get_logger().warning(line)
        return problem
