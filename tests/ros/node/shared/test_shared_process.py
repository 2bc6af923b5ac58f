# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Several cameras in one process on one set of weights: each as if it were alone."""

from __future__ import annotations

import re
import signal
import threading
import time

import numpy as np
import pytest
from sensor_msgs.msg import Image

from m4sam_ros.environment import split_cameras
from m4sam_ros.node.backends import Backends

pytestmark = pytest.mark.ros

CAMERAS = ("/front/saliency", "/rear/saliency", "/left/saliency")
GHOST_S = 2.0
START_S = 120.0


def picture(camera, number):
    """Each camera sees something else."""
    rng = np.random.default_rng(number)
    camera.rgb = rng.integers(0, 256, camera.rgb.shape, dtype=np.uint8)
    camera.depth = rng.integers(500, 4000, camera.depth.shape, dtype=np.uint16)


def ready(bench, process, count=1):
    """Loading torch takes its time where other tests run beside this one."""
    bench.until(lambda: process.log.count("active:") == count, "the node to be active", START_S)


def started(bench, model="identity", cameras=CAMERAS):
    # One thread: torch's sums differ by some 1e-5 with more, and each process measures for itself.
    process = bench.start_shared(*((name, "backend:=torch", "threads:=1") for name in cameras), model=str(model))
    ready(bench, process, len(cameras))
    masks = {name: bench.masks(name) for name in cameras}
    eyes = {name: bench.camera(namespace=name) for name in cameras}
    return process, masks, eyes


def stream(bench, eye, masks, probabilities, count=4):
    """Every probability map of a short stream, as bytes."""
    found = []
    for index in range(count):
        stamp = bench.step(eye, masks, 1.0 + 0.1 * index).header.stamp
        message = bench.until(
            lambda at=stamp: [each for each in probabilities if each.header.stamp == at], "probability"
        )
        found.append(bytes(message[0].data))
    return found


def test_masks_are_those_of_separate_processes_bit_for_bit(bench, nano_weights):
    process, masks, eyes = started(bench, nano_weights)
    probabilities = {name: bench.listen(Image, f"{name}/probability") for name in CAMERAS}
    for number, name in enumerate(CAMERAS):
        picture(eyes[name], number)
        bench.until(lambda name=name: bench.ros.count_subscribers(f"{name}/probability"), "the subscription")
    shared = {name: stream(bench, eyes[name], masks[name], probabilities[name]) for name in CAMERAS}
    assert len({frames[-1] for frames in shared.values()}) == 3
    assert process.stop(signal.SIGINT)[0] == 0
    for name in CAMERAS[:2]:
        alone = bench.start("backend:=torch", "threads:=1", model=str(nano_weights), ros_args=("-r", f"__ns:={name}"))
        ready(bench, alone)
        masks[name].clear()
        probabilities[name].clear()
        eyes[name].wait_matched()
        assert stream(bench, eyes[name], masks[name], probabilities[name]) == shared[name]
        assert alone.stop(signal.SIGINT)[0] == 0


def test_busy_cameras_get_equal_shares_of_one_set_of_weights(bench, nano_weights):
    process, masks, eyes = started(bench, nano_weights)
    log = process.log
    assert len(re.findall(r"is shared with another camera", log)) == 2, log
    over = threading.Event()

    def shoot():
        stamp = 1.0
        while not over.wait(0.03):
            for eye in eyes.values():
                eye.shoot(stamp)
            stamp += 0.03

    thread = threading.Thread(target=shoot)
    thread.start()
    try:
        bench.until(lambda: min(len(heard) for heard in masks.values()) >= 3, "masks of all")
        for heard in masks.values():
            heard.clear()
        bench.until(lambda: sum(len(heard) for heard in masks.values()) >= 60, "many masks", 90)
        shares = [len(heard) for heard in masks.values()]
    finally:
        over.set()
        thread.join()
    assert min(shares) >= 0.7 * max(shares), shares
    for heard in masks.values():
        stamps = [mask.header.stamp.sec + mask.header.stamp.nanosec * 1e-9 for mask in heard]
        assert stamps == sorted(stamps)


def test_what_befalls_one_camera_does_not_reach_the_others(bench):
    """Bad messages, a camera that vanishes, a capture that waits in vain, deactivation and cleanup."""
    from std_srvs.srv import Trigger

    front, rear, _ = CAMERAS
    process, masks, eyes = started(bench, cameras=CAMERAS[:2])
    bench.step(eyes[rear], masks[rear], 1.0)
    bench.step(eyes[front], masks[front], 1.0)

    broken = eyes[front].rgb_msg(1.1)
    broken.step = 3
    eyes[front].rgb_publisher.publish(broken)
    bench.until(lambda: "front.saliency.m4sam]: /front/saliency/rgb/image" in process.log, "the warning")
    bench.step(eyes[rear], masks[rear], 1.1)
    assert "rear.saliency.m4sam]: /rear" not in process.log

    eyes[front].close()
    client = bench.ros.create_client(Trigger, f"{front}/m4sam/capture")
    bench.until(client.service_is_ready, "the service")
    waiting = client.call_async(Trigger.Request())
    asked_at = time.monotonic()
    for index in range(4):
        bench.step(eyes[rear], masks[rear], 1.2 + 0.1 * index)
    assert not waiting.done() or time.monotonic() - asked_at > 4.5, "the capture waits while the other camera goes on"
    bench.until(waiting.done, "the capture to give up")
    assert not waiting.result().success

    node = f"{front}/m4sam"
    assert bench.transition("deactivate", node)
    bench.step(eyes[rear], masks[rear], 1.7)
    assert bench.transition("cleanup", node)
    assert bench.state(f"{rear}/m4sam") == "active"
    bench.step(eyes[rear], masks[rear], 1.8)
    assert bench.transition("configure", node)
    assert bench.transition("activate", node)
    again = bench.masks(front)
    bench.step(bench.camera(namespace=front), again, 5.0)
    bench.step(eyes[rear], masks[rear], 1.9)


def test_each_camera_has_its_own_parameters_and_report(bench):
    from diagnostic_msgs.msg import DiagnosticArray

    process = bench.start_shared((CAMERAS[0], "threshold:=0.9"), (CAMERAS[1], "max_frame_age_s:=0.25"))
    ready(bench, process, 2)
    reports = bench.listen(DiagnosticArray, "/diagnostics")
    nodes = [f"{name}/m4sam" for name in CAMERAS[:2]]
    bench.until(lambda: {msg.status[0].name for msg in reports} >= {f"{node}: saliency" for node in nodes}, "reports")
    assert bench.set_parameter("threshold", 0.3, nodes[1]).successful
    assert not bench.set_parameter("threshold", 3.0, nodes[0]).successful
    from rcl_interfaces.srv import GetParameters

    found = [
        bench.call(GetParameters, f"{node}/get_parameters", GetParameters.Request(names=["threshold"]))
        for node in nodes
    ]
    assert [answer.values[0].double_value for answer in found] == [0.9, 0.3]


@pytest.mark.parametrize("busy", [False, True])
def test_one_signal_ends_all_cameras_and_leaves_no_ghost(bench, busy):
    process = bench.start_shared(*((name,) for name in CAMERAS), fault="sleepy" if busy else "")
    ready(bench, process, 3)
    if busy:
        for name in CAMERAS:
            bench.camera(namespace=name).shoot(5.0)
        bench.until(lambda: process.log.count("inferring") == 3, "all to infer")
    bench.until(lambda: bench.sees("m4sam", 3), "three nodes in the graph")
    code, seconds = process.stop(signal.SIGINT)
    assert (code, seconds < 2.0) == (0, True), process.log
    began = time.monotonic()
    bench.until(lambda: bench.misses("m4sam"), "all to be gone", 25)
    assert time.monotonic() - began < GHOST_S


def test_a_node_whose_callback_raises_goes_alone(bench):
    process = bench.run_script("tests/ros/node/shared/two_nodes.py")
    bench.until(lambda: "the callback went wrong" in process.log, "the failure")
    bench.until(lambda: "bad" not in bench.ros.get_node_names(), "the bad node to be gone")
    bench.until(lambda: process.log.count("good") > 5, "the good node to go on")
    assert process.alive
    code, seconds = process.stop(signal.SIGINT)
    assert (code, seconds < 2.0) == (1, True), process.log


def test_a_mistake_in_one_cameras_arguments_is_one_line(bench):
    process = bench.start_shared((CAMERAS[0],), (CAMERAS[1], "threshold:=7.0"))
    bench.until(lambda: not process.alive, "the end")
    assert process.popen.returncode == 2
    assert "threshold" in process.log
    assert "Traceback" not in process.log


def test_the_command_line_is_parted_by_camera():
    first, second = ["--camera", "--ros-args", "-r", "a:=b", "--"], ["--camera", "--ros-args", "--"]
    words = ["node", *first, *second, "--ros-args", "--log-level", "info"]
    common, cameras = split_cameras(words)
    assert common == ["node", "--ros-args", "--log-level", "info"]
    assert cameras == [["--ros-args", "-r", "a:=b"], ["--ros-args"]]
    assert split_cameras(["node", "--ros-args", "-p", "x:=1", "--"]) == (
        ["node", "--ros-args", "-p", "x:=1", "--"],
        [],
    )


def test_only_equal_loads_are_shared(nano_weights):
    from m4sam_core.config import PipelineConfig

    backends, cfg = Backends(), PipelineConfig(device="cpu", backend="torch")
    first = backends.load(str(nano_weights), cfg)
    second = backends.load(str(nano_weights), cfg.model_copy(update={"threshold": 0.9}))
    other = backends.load(str(nano_weights), cfg.model_copy(update={"dtype": "bfloat16"}))
    assert first.loaded is second.loaded
    assert first.loaded is not other.loaded
    kept = first.loaded
    del first
    assert backends.load(str(nano_weights), cfg).loaded is kept
