# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""The pictures of docs/integrations.md: a clip through player and node over DDS, and one frame of it drawn.

`make pictures` runs it. Of all frames that came with every output it takes those with the most usual number of objects,
and of these the one in which they are largest.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import rclpy
from geometry_msgs.msg import PoseStamped
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from visualization_msgs.msg import MarkerArray

from m4sam_core.errors import M4SamError
from m4sam_core.host.processes import ProcessError, executable
from m4sam_core.host.share import shared_folder
from m4sam_core.rgbd.image_files import write_encoded
from m4sam_ros import names
from m4sam_ros.demo.drawn import DRAWN, pictures_of
from m4sam_ros.demo.run import (
    DISCOVERY_S,
    EXIT_FAILED,
    START_TIMEOUT_S,
    DemoSettings,
    clip_and_graph,
    start_node,
)
from m4sam_ros.graph import ros_arguments
from m4sam_ros.messages.convert import image_to_numpy
from m4sam_ros.qos import BEST_EFFORT, volatile

_KINDS = {
    names.MARKERS: MarkerArray,
    names.TARGET: PoseStamped,
    names.POINTS: PointCloud2,
    names.BUNDLE_INFO: CameraInfo,
}
_INCOMPLETE_FRAMES = 16
_LAST_OUTPUTS_S = 3.0
_JPEG_QUALITY = 82


class Listener:
    """Collects the frames of which every message comes, and keeps the best of each number of objects."""

    def __init__(self) -> None:
        rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
        self.node = Node("m4sam_pictures", namespace=names.NAMESPACE)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        self._frames: dict[int, dict[str, Any]] = {}
        self._largest: dict[int, tuple[int, dict[str, Any]]] = {}
        self._usual: Counter[int] = Counter()
        for topic in DRAWN:
            profile = volatile(10, BEST_EFFORT) if topic in (names.RGB, names.DEPTH) else volatile(10)
            self.node.create_subscription(_KINDS.get(topic, Image), topic, partial(self._take, topic), profile)

    def spin(self) -> None:
        """Handle what has arrived, waiting a moment for the first thing."""
        self._executor.spin_once(timeout_sec=0.05)

    def close(self) -> None:
        """Leave the graph."""
        self._executor.shutdown()
        self.node.destroy_node()
        rclpy.try_shutdown()

    def _take(self, topic: str, msg: Any) -> None:
        stamp = (msg.markers[0] if topic == names.MARKERS else msg).header.stamp
        key = stamp.sec * 10**9 + stamp.nanosec
        frame = self._frames.setdefault(key, {})
        frame[topic] = msg
        if len(frame) == len(DRAWN):
            self._keep(self._frames.pop(key))
        while len(self._frames) > _INCOMPLETE_FRAMES:
            del self._frames[min(self._frames)]

    def _keep(self, frame: dict[str, Any]) -> None:
        labels = image_to_numpy(frame[names.LABELS])
        objects, pixels = len(np.unique(labels[labels > 0])), int(np.count_nonzero(labels))
        self._usual[objects] += 1
        if pixels > self._largest.get(objects, (-1, {}))[0]:
            self._largest[objects] = pixels, frame

    @property
    def best(self) -> dict[str, Any] | None:
        """Message by topic; None before the first whole frame."""
        return self._largest[self._usual.most_common(1)[0][0]][1] if self._usual else None


def best_frame(settings: DemoSettings) -> dict[str, Any]:
    """Play a clip through the node; a message by topic of the best frame.

    Raises:
        InputError: the clip's folder is not usable.
        ProcessError: a process did not start, died or hung, or no frame had every output.
    """
    with clip_and_graph(settings) as (clip, group):
        listener = Listener()
        try:
            _, node = start_node(group, shared_folder(), settings.model)
            active = partial(listener.node.count_publishers, names.MASK)
            group.wait_until(lambda: active() > 0, "the node becomes active", START_TIMEOUT_S)
            playing = {"source": clip, "rate": settings.rate, "start_delay_s": DISCOVERY_S}
            player = group.start("player", [*executable("play", "m4sam_ros.player"), *ros_arguments(playing)])
            while player.exit_code is None:
                listener.spin()
                node.check_alive()
            player.check_succeeded()
            until = time.monotonic() + _LAST_OUTPUTS_S
            while time.monotonic() < until:
                listener.spin()
        finally:
            listener.close()
    best = listener.best
    if best is None:
        raise ProcessError(
            "every output of a frame: expected at least once, got none; play slower (--rate 0.1), or a clip in "
            "which something stands out"
        )
    return best


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="m4sam_ros.demo.pictures", description=__doc__)
    parser.add_argument("--clip", type=Path, help="folder with rgb/, depth/, video.yaml; without it one is generated")
    parser.add_argument("--out", type=Path, default=Path("docs/images"), help="folder for the pictures (%(default)s)")
    parser.add_argument("--model", default="default", help="name or file of the weights (%(default)s)")
    parser.add_argument("--frames", type=int, default=60, help="length of the generated clip (%(default)s)")
    parser.add_argument("--rate", type=float, default=0.25, help="speed; 0.5 is half as fast (%(default)s)")
    given = parser.parse_args(arguments)
    try:
        with tempfile.TemporaryDirectory(prefix="m4sam_pictures_") as folder:
            settings = DemoSettings(given.clip, Path(folder), given.model, given.frames, given.rate)
            drawn = pictures_of(best_frame(settings))
        given.out.mkdir(parents=True, exist_ok=True)
        for name, picture in drawn.items():
            bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
            target = given.out / f"for_{name}.jpg"
            write_encoded(target, bgr, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
            print(f"wrote     {target}")
    except M4SamError as error:
        print(f"pictures: {error}", file=sys.stderr)
        return EXIT_FAILED
    return 0


if __name__ == "__main__":
    sys.exit(main())
