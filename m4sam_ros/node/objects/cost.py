# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Processor time of the outputs besides the mask, one by one and together: what subscribing to each costs.

Processor time of the thread that publishes, not time by the clock, so that a busy machine matters less.
`m4sam bench outputs` runs it as a process of its own.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import rclpy
import sensor_msgs.msg
from builtin_interfaces.msg import Time
from rclpy.node import Node
from std_msgs.msg import Header

from m4sam_core.errors import M4SamError
from m4sam_core.host.memory import keep_freed_memory
from m4sam_ros import names
from m4sam_ros.node.backends import NearHalf
from m4sam_ros.node.outputs import Outputs
from m4sam_ros.qos import volatile
from m4sam_ros.settings import NodeConfig

TOGETHER = "all"
_THINGS = ((0.25, 0.42, 0.125, 900), (0.52, 0.54, 0.094, 1300), (0.75, 0.31, 0.104, 1500))  # x, y, radius, mm
_WARM_UP, _FPS = 5, 30
_PATIENCE_S, _SETTLE_S = 30.0, 0.3


def outputs_ms(
    sizes: Mapping[str, tuple[int, int]], kinds: Mapping[str, str], repeats: int
) -> dict[str, dict[str, float]]:
    """Median milliseconds of a frame by size, and by topic or `all` of them.

    Args:
        sizes: rows and columns by name.
        kinds: topics, relative, and which of sensor_msgs.msg each is.
        repeats: frames for each figure.
    """
    keep_freed_memory()
    cv2.setNumThreads(1)  # all of it in the thread whose time is taken
    rclpy.init()
    node = Node("bench_outputs", namespace=names.NAMESPACE)
    try:
        return {size: _by_topic(node, height, width, kinds, repeats) for size, (height, width) in sizes.items()}
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


def scene(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Three discs before a wall: rgb (H, W, 3) uint8 of noise, depth (H, W) uint16 in millimetres."""
    rng = np.random.default_rng(0)
    depth = np.full((height, width), 4000.0, np.float32)
    for x, y, radius, millimetres in _THINGS:
        cv2.circle(depth, (round(x * width), round(y * height)), round(radius * height), float(millimetres), -1)
    noisy = depth + rng.normal(0, 5, depth.shape)
    noisy[rng.random(depth.shape) < 0.03] = 0
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8), noisy.astype(np.uint16)


def _by_topic(node: Any, height: int, width: int, kinds: Mapping[str, str], repeats: int) -> dict[str, float]:
    # Each depth cleared by its own mask: by the newest one, another thread would do it.
    cfg = NodeConfig.model_validate({"outputs": {"background_mask_age_s": 0.0}})
    outputs = Outputs(node, cfg, lambda _topic, _policy: None)
    info = sensor_msgs.msg.CameraInfo(width=width, height=height, distortion_model="plumb_bob", d=[0.0] * 5)
    info.k[0] = info.k[4] = float(width)
    info.k[2], info.k[5], info.k[8] = (width - 1) / 2, (height - 1) / 2, 1.0
    outputs.objects.colour.take(info)

    def subscribed(*topics: str) -> float:
        heard = [
            node.create_subscription(getattr(sensor_msgs.msg, kinds[topic]), topic, _ignore, volatile(1), raw=True)
            for topic in topics
        ]
        _wait_for_listeners(node, topics, 1)
        taken = _frame_ms(outputs, height, width, repeats)
        for subscription in heard:
            node.destroy_subscription(subscription)
        _wait_for_listeners(node, topics, 0)
        return taken

    found = {topic: subscribed(topic) for topic in kinds}
    found[TOGETHER] = subscribed(*kinds)
    outputs.destroy()
    return found


def _ignore(_raw: bytes) -> None:
    """Nobody spins the node; it only has to be subscribed to."""


def _wait_for_listeners(node: Any, topics: tuple[str, ...], count: int) -> None:
    until = time.monotonic() + _PATIENCE_S
    while any(node.count_subscribers(topic) != count for topic in topics):
        if time.monotonic() > until:
            raise M4SamError(
                f"{', '.join(topics)}: expected {count} subscriber(s) within {_PATIENCE_S:g} s, got others"
            )
        time.sleep(0.02)
    time.sleep(_SETTLE_S)


def _frame_ms(outputs: Any, height: int, width: int, repeats: int) -> float:
    rgb, depth = scene(height, width)
    model, taken = NearHalf(), []
    for index in range(_WARM_UP + repeats):
        stamp_s = 1 + index / _FPS
        header = Header(stamp=Time(sec=int(stamp_s), nanosec=int(stamp_s % 1 * 1e9)), frame_id="camera")
        frame = SimpleNamespace(
            rgb_msg=SimpleNamespace(header=header, height=height, width=width),
            depth_msg=SimpleNamespace(header=header, encoding="16UC1"),
            stamp=stamp_s,
        )
        result = model.process(rgb, depth, stamp_s)
        began = time.thread_time()
        outputs.publish(frame, rgb, depth, result)
        taken.append((time.thread_time() - began) * 1000)
    return round(statistics.median(taken[_WARM_UP:]), 3)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(outputs_ms(**json.loads(sys.argv[1]))) + "\n")
