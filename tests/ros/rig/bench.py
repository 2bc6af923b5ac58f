# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""A test bench of real processes over real DDS: the node under test, cameras to feed it, ears to hear it."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.ros.rig.camera import Camera, header
from tests.ros.rig.process import REPO, TIMEOUT_S, NodeProcess

FAULTY_NODE = Path(__file__).parents[1] / "node" / "faulty_node.py"
NODE = "/saliency/m4sam"
ASK_AGAIN_S = 5.0


class Bench:
    """An rclpy node in this process and the processes under test."""

    def __init__(self, env: dict[str, str], folder: Path) -> None:
        from rclpy.executors import SingleThreadedExecutor

        self._env = env
        self._folder = folder
        self._context, self.ros = self._participant("test_bench")
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.ros)
        self._second: tuple[Any, Any] | None = None
        self.processes: list[NodeProcess] = []

    def start(
        self,
        *parameters: str,
        model: str = "identity",
        fault: str = "",
        ros_args: tuple[str, ...] = (),
        before: tuple[str, ...] = (),
    ) -> NodeProcess:
        """Start a saliency node; `parameters` are name:=value. `fault` names a backend of faulty_node.py."""
        if fault:
            command = [sys.executable, str(FAULTY_NODE), fault]
        else:
            code = "import sys; from m4sam_ros.node import main; sys.exit(main())"
            command = [sys.executable, "-c", code]
        # A loaded test machine must neither make frames too old nor lose messages.
        patience = ["-p", "max_frame_age_s:=0.0", "-p", "qos.input_depth:=100"]
        command += [*before, "--ros-args", "-p", f"model:={model}", *patience, *ros_args]
        for parameter in parameters:
            command += ["-p", parameter]
        process = NodeProcess(command, self._env, self._folder / f"node{len(self.processes)}.log")
        self.processes.append(process)
        return process

    def start_shared(self, *cameras: tuple[str, ...], model: str = "identity", fault: str = "") -> NodeProcess:
        """Start one process with a node for each camera: (namespace, name:=value, ...)."""
        words: list[str] = []
        for namespace, *parameters in cameras:
            words += ["--camera", "--ros-args", "-r", f"__ns:={namespace}"]
            words += [word for parameter in parameters for word in ("-p", parameter)]
            words.append("--")
        return self.start(model=model, fault=fault, before=tuple(words))

    def execute(self, module: str, *parameters: str) -> NodeProcess:
        """Start another executable of the package, e.g. m4sam_ros.player; `parameters` are name:=value."""
        command = [sys.executable, "-m", module, "--ros-args"]
        for parameter in parameters:
            command += ["-p", parameter]
        process = NodeProcess(command, self._env, self._folder / f"{module}{len(self.processes)}.log")
        self.processes.append(process)
        return process

    def run_script(self, script: str, *arguments: str) -> NodeProcess:
        """Start a Python file, given from the repository's root."""
        command = [sys.executable, str(REPO / script), *arguments]
        process = NodeProcess(command, self._env, self._folder / f"{Path(script).stem}{len(self.processes)}.log")
        self.processes.append(process)
        return process

    def spin(self, seconds: float) -> None:
        """Let time pass, e.g. to see that nothing happens."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self._executor.spin_once(timeout_sec=min(left, 0.05))

    def until(self, condition: Callable[[], Any], what: str, timeout_s: float = TIMEOUT_S) -> Any:
        """Spin until the condition holds; returns its value."""
        deadline = time.monotonic() + timeout_s
        while not (value := condition()):
            if time.monotonic() > deadline:
                logs = "\n".join(process.log[-3000:] for process in self.processes)
                pytest.fail(f"waited {timeout_s} s for {what}; logs:\n{logs}")
            self._executor.spin_once(timeout_sec=0.02)
        return value

    def sees(self, name: str, times: int = 1) -> bool:
        """Whether that many nodes are called so, for both of two participants that watch the graph."""
        self._second = self._second or self._participant("second_watcher")
        return all(node.get_node_names().count(name) == times for node in (self.ros, self._second[1]))

    def misses(self, name: str) -> bool:
        """Whether no node is called so any more, for one of the two that saw it.

        A node that goes without leaving stays with every participant for its lease of 20 s. One participant alone may
        keep a node that did leave: rmw_fastrtps files a graph message that it reads after the departure.
        """
        assert self._second is not None, "who has not seen a node cannot miss it"
        return any(name not in node.get_node_names() for node in (self.ros, self._second[1]))

    def _participant(self, name: str) -> tuple[Any, Any]:
        """A context of its own, and a node in it."""
        import rclpy
        from rclpy.context import Context

        context = Context()
        rclpy.init(context=context, domain_id=int(self._env["ROS_DOMAIN_ID"]))
        return context, rclpy.create_node(name, context=context)

    def listen(self, kind: Any, topic: str, profile: Any = 10, matched: bool = True) -> list[Any]:
        """Everything received on a topic from now on."""
        heard: list[Any] = []
        subscription = self.ros.create_subscription(kind, topic, heard.append, profile)
        if matched:
            self.until(lambda: self.ros.count_publishers(subscription.topic_name), f"a publisher of {topic}")
        return heard

    def masks(self, namespace: str = "/saliency") -> list[Any]:
        """Masks from now on; waits for the node to announce them."""
        from rclpy.qos import QoSProfile
        from sensor_msgs.msg import Image

        return self.listen(Image, f"{namespace}/mask", QoSProfile(depth=100))

    def camera(self, matched: bool = True, **settings: Any) -> Camera:
        """A camera; unless told otherwise, one that the node has subscribed to."""
        camera = Camera(self, **settings)
        if matched:
            camera.wait_matched()
        return camera

    def step(self, camera: Camera, masks: list[Any], stamp: float, **shot: Any) -> Any:
        """Publish one frame and wait for its mask.

        A best-effort message is lost while the node has not matched the publisher yet, which only the node knows; so
        the frame is published again now and then. The node drops repetitions.
        """
        want = header(stamp, "").stamp
        again_at = time.monotonic()

        def answer() -> Any:
            nonlocal again_at
            if time.monotonic() >= again_at:
                camera.shoot(stamp, **shot)
                again_at = time.monotonic() + 1.0
            return next((mask for mask in masks if mask.header.stamp == want), None)

        return self.until(answer, f"the mask of {stamp}")

    def call(self, kind: Any, service: str, request: Any, *, ask_again: bool = True) -> Any:
        """Call a service and wait for the answer.

        A server may discover a new client's answer channel only after its first request, and the answer is lost then
        (rclpy says "client will not receive response"); so the request is repeated, unless it must not be.
        """
        client = self.ros.create_client(kind, service)
        self.until(client.service_is_ready, f"service {service}")
        futures = [client.call_async(request)]
        asked_at = time.monotonic()

        def answered() -> list[Any]:
            nonlocal asked_at
            if ask_again and time.monotonic() - asked_at > ASK_AGAIN_S:
                futures.append(client.call_async(request))
                asked_at = time.monotonic()
            return [future for future in futures if future.done()]

        done = self.until(answered, f"an answer of {service}")
        self.ros.destroy_client(client)
        return done[0].result()

    def set_parameter(self, name: str, value: Any, node: str = NODE) -> Any:
        """Set one parameter of the node; its SetParametersResult."""
        from rcl_interfaces.srv import SetParameters
        from rclpy.parameter import Parameter

        request = SetParameters.Request(parameters=[Parameter(name, value=value).to_parameter_msg()])
        return self.call(SetParameters, f"{node}/set_parameters", request).results[0]

    def transition(self, label: str, node: str = NODE) -> bool:
        """Lifecycle transition by label; whether it succeeded."""
        from lifecycle_msgs.msg import Transition
        from lifecycle_msgs.srv import ChangeState

        ids = {"configure": 1, "cleanup": 2, "activate": 3, "deactivate": 4}
        request = ChangeState.Request(transition=Transition(id=ids[label], label=label))
        return self.call(ChangeState, f"{node}/change_state", request, ask_again=False).success

    def state(self, node: str = NODE) -> str:
        """Label of the lifecycle state."""
        from lifecycle_msgs.srv import GetState

        return self.call(GetState, f"{node}/get_state", GetState.Request()).current_state.label

    def close(self) -> None:
        # Leaves the graph while the others are still in it: Fast DDS may crash on what a killed neighbour held.
        self._executor.shutdown()
        for context, node in filter(None, [(self._context, self.ros), self._second]):
            node.destroy_node()
            context.try_shutdown()
        for process in self.processes:
            if process.alive:
                process.send(signal.SIGKILL)
            process.popen.wait(TIMEOUT_S)
