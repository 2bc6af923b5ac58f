# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""The saliency node: RGB-D topics in, masks out. A lifecycle node that brings itself up (docs/node.md)."""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from std_srvs.srv import SetBool, Trigger

from m4sam_core.errors import ConfigError, M4SamError
from m4sam_ros.environment import environment_notes, split_cameras
from m4sam_ros.names import CAPTURE, ENABLE, MASK, NAMESPACE, NODE, RESET
from m4sam_ros.node.backends import Backend, Backends
from m4sam_ros.node.intake.sync import make_synchronizer
from m4sam_ros.node.metrics import Metrics
from m4sam_ros.node.outputs import Outputs
from m4sam_ros.node.reporting import Reporting
from m4sam_ros.node.session import ActiveSession
from m4sam_ros.parameters import NodeParameters, idle_overrides
from m4sam_ros.runner import run_nodes

WARM_UP_SIZE = (480, 640)
_STOP_TIMEOUT_S = 60.0
_EXIT_TIMEOUT_S = 0.2
_CAPTURE_PATIENCE_S = 5.0
# A model may be loading, which nothing can interrupt.
LEAVE_AFTER_S = 0.8

SUCCESS = TransitionCallbackReturn.SUCCESS
FAILURE = TransitionCallbackReturn.FAILURE


class SaliencyNode(LifecycleNode):
    """The lifecycle, the parameters and the services; frames flow in `ActiveSession`, and `Reporting` tells of them.

    Args:
        load: makes the backend from the model's name and the pipeline's settings; by default `backends` does.
        backends: of the process; a node alone has its own.
        arguments: ROS arguments of this node, which win over those of the process.
        notes: what this machine lacks, see `environment_notes`.

    Raises:
        ConfigError: a parameter given at start-up is not allowed.
    """

    def __init__(
        self,
        load: Callable[[str, Any], Backend] | None = None,
        backends: Backends | None = None,
        arguments: Sequence[str] | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        # rclpy destroys a half-made node too, so this must be there first.
        self._session: ActiveSession | None = None
        super().__init__(NODE, namespace=NAMESPACE, cli_args=arguments)
        self._load = load or partial((backends or Backends()).load, progress=self.get_logger().info)
        self._settings = NodeParameters(self, [*split_cameras(sys.argv)[0], *(arguments or ())])
        self._metrics = Metrics()
        self._backend: Backend | None = None
        self._outputs: Outputs | None = None
        self._reporting = Reporting(self, self._settings, self._metrics, notes)
        self.create_service(Trigger, RESET, self._on_reset)
        self.create_service(SetBool, ENABLE, self._on_enable)
        self.create_service(Trigger, CAPTURE, self._on_capture)
        self.add_on_set_parameters_callback(self._on_set_parameters)
        if hasattr(self, "add_pre_set_parameters_callback"):  # not in Humble
            self.add_pre_set_parameters_callback(self._settings.as_meant)
        for line in self._settings.strangers:
            self.get_logger().warning(line)
        # A steady clock: reports must come also while simulated time stands still.
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._report_timer = self.create_timer(1.0, self._report, clock=self._steady)
        self._start_timer: Any = self.create_timer(0.01, self._autostart, clock=self._steady)
        self._reporting.publish_state()

    @property
    def config(self) -> Any:
        """The settings in force, a `NodeConfig`."""
        return self._settings.config

    @property
    def executor_name(self) -> str:
        """See `run_node`."""
        return str(self.config.executor)

    @property
    def lifecycle_state(self) -> str:
        """unconfigured, inactive, active, ..."""
        machine = self._state_machine
        return "finalized" if machine is None else str(machine.current_state[1])

    # ------------------------------------------------------------------------------------ lifecycle

    def on_configure(self, _state: LifecycleState) -> TransitionCallbackReturn:
        """Load the model and warm it up, announce the outputs."""
        return self._transition("configure", self._configure, undo=self._cleanup)

    def on_activate(self, _state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe."""
        return self._transition("activate", self._activate, undo=self._deactivate)

    def on_deactivate(self, _state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribe; the model stays loaded."""
        return self._transition("deactivate", self._deactivate)

    def on_cleanup(self, _state: LifecycleState) -> TransitionCallbackReturn:
        """Free the model."""
        return self._transition("cleanup", self._cleanup)

    def on_shutdown(self, _state: LifecycleState) -> TransitionCallbackReturn:
        """Deactivate and free the model, from any state."""
        return self._transition("shutdown", self._cleanup)

    def on_error(self, _state: LifecycleState) -> TransitionCallbackReturn:
        """Back to unconfigured, so that a manager may try again."""
        return self._transition("recover", self._cleanup)

    def _transition(
        self, name: str, step: Callable[[], None], undo: Callable[[], None] | None = None
    ) -> TransitionCallbackReturn:
        """Run a step; rclpy would swallow what it raises."""
        try:
            step()
        except M4SamError as error:
            self._reporting.failure = f"{name} failed: {error}"
            self.get_logger().error(self._reporting.failure)
        except Exception as error:  # noqa: BLE001 - whatever a driver or a model raises, the node must live to report it
            self._reporting.failure = f"{name} failed: {type(error).__name__}: {error}"
            self.get_logger().error(f"{name} failed:\n{traceback.format_exc()}")
        else:
            self._reporting.failure = None
            return SUCCESS
        if undo is not None:
            undo()
        return FAILURE

    def _configure(self) -> None:
        cfg = self.config
        started = time.monotonic()
        self._backend = self._load(cfg.model, cfg.pipeline_config())
        self._backend.warm_up(*WARM_UP_SIZE)
        if self._backend.refused is not None:
            self._metrics.problem("scheduling_refused", self._backend.refused)
            self.get_logger().warning(self._backend.refused)
        self._outputs = Outputs(self, cfg, self._on_output_incompatible)
        self.get_logger().info(f"model {cfg.model} ready after {time.monotonic() - started:.1f} s")

    def _activate(self) -> None:
        if self._backend is None or self._outputs is None:
            raise ConfigError("activate: expected a configured node, got none; configure it first")
        self._session = ActiveSession(
            self, self.config, self._backend, self._outputs, self._metrics, self._reporting.on_result
        )
        self._reporting.watch(self._session)
        for line in idle_overrides(self):
            self.get_logger().warning(line)
        topics = f"{self._session.intake.rgb.topic} and {self._session.intake.depth.topic}"
        self.get_logger().info(f"active: {topics} -> {self.resolve_topic_name(MASK)}")

    def _deactivate(self) -> None:
        session, self._session = self._session, None
        if session is not None and not session.close(_STOP_TIMEOUT_S):
            raise ConfigError(f"deactivate: expected the model to finish within {_STOP_TIMEOUT_S} s, got a stuck one")

    def _cleanup(self) -> None:
        self._deactivate()
        if self._outputs is not None:
            self._outputs.destroy()
        if self._backend is not None:
            self._backend.close()
        self._outputs = self._backend = None
        self._reporting.forget_result()

    def _autostart(self) -> None:
        timer, self._start_timer = self._start_timer, None
        if timer is None:  # the EventsExecutor has counted the periods that loading the model took
            return
        self.destroy_timer(timer)
        if self.config.autostart and self.trigger_configure() == SUCCESS:
            self.trigger_activate()
        self._reporting.publish_state()

    def destroy_node(self) -> None:
        """Stop at once; a frame that is being inferred is abandoned."""
        if self._session is not None:
            self._session.close(_EXIT_TIMEOUT_S)
            self._session = None
        super().destroy_node()
        # It holds the node's handle, and with it the place in the graph, as long as the abandoned frame's thread lives.
        self._state_machine = None

    # --------------------------------------------------------------------- parameters and services

    def _on_set_parameters(self, parameters: list[Any]) -> SetParametersResult:
        changes = self._settings.ours({parameter.name: parameter.value for parameter in parameters})
        if not changes:
            return SetParametersResult(successful=True)
        try:
            config = self._settings.check(changes, self.lifecycle_state)
            if self._session is not None:
                make_synchronizer(config.sync)  # whoever refuses does so before anything has changed
            if self._backend is not None:
                self._backend.configure(config.pipeline_config())
            if self._session is not None:
                self._session.reconfigure(config)
        except M4SamError as error:
            return SetParametersResult(successful=False, reason=str(error))
        if self._outputs is not None:
            self._outputs.cfg = config
        self._settings.accept(changes, config)
        return SetParametersResult(successful=True)

    def _on_reset(self, _request: Any, response: Any) -> Any:
        response.success = self._backend is not None
        if self._backend is None:
            response.message = f"nothing to reset, the node is {self.lifecycle_state}"
            return response
        self._backend.reset("requested")
        response.message = "a new scene begins with the next frame"
        return response

    def _on_capture(self, _request: Any, response: Any) -> Any:
        session = self._session
        if session is None:
            response.success, response.message = False, f"nothing to capture, the node is {self.lifecycle_state}"
            return response
        answer = session.capture(_CAPTURE_PATIENCE_S)
        response.success = answer is not None
        response.message = answer or f"no frame within {_CAPTURE_PATIENCE_S:g} s; /diagnostics says what is missing"
        return response

    def _on_enable(self, request: Any, response: Any) -> Any:
        (result,) = self.set_parameters([Parameter("enabled", value=bool(request.data))])
        response.success = result.successful
        response.message = result.reason or ("enabled" if request.data else "disabled")
        if result.successful and request.data and self._session is None:
            response.message += f"; no masks before the node is active, it is {self.lifecycle_state}"
        self._reporting.publish_state()
        return response

    # ---------------------------------------------------------------------------------------- reports

    def _on_output_incompatible(self, name: str, policy: str) -> None:
        text = f"{self.resolve_topic_name(name)}: a subscriber asks for a {policy} that the node does not offer"
        throttled = self._metrics.problem("output_qos_incompatible", text)
        if throttled is not None:
            self.get_logger().warning(throttled)

    def _report(self) -> None:
        self._reporting.report(self._session, self._backend, self._outputs)


def main(args: Sequence[str] | None = None) -> int:
    """Console entry point `saliency_node`: one node, or one for each `--camera` (see `split_cameras`)."""
    common, cameras = split_cameras(sys.argv if args is None else args)
    backends = Backends()
    own: list[list[str] | None] = [*cameras] or [None]
    notes = environment_notes()
    return run_nodes([partial(SaliencyNode, None, backends, words, notes) for words in own], common, LEAVE_AFTER_S)
