# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""What `m4sam bench node` runs in processes of its own: each prints one JSON object.

python -m m4sam_ros.bench.probes convert             conversions, microseconds each
python -m m4sam_ros.bench.probes publish             publishing masks to a subscriber, milliseconds each
python -m m4sam_ros.bench.probes probe --idle 2      when images and their masks arrive at a subscriber
"""

from __future__ import annotations

import argparse
import json
import statistics
import struct
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from m4sam_ros import names
from m4sam_ros.messages.compressed import compressed_to_rgb, rgb_to_compressed
from m4sam_ros.messages.compressed_depth import compressed_depth_to_numpy, numpy_to_compressed_depth
from m4sam_ros.messages.convert import ENCODINGS, image_to_depth, image_to_rgb, image_writer, numpy_to_image

VGA = (480, 640)
HD = (720, 1280)
LISTENING = "listening"
PROBED = (names.RGB, names.DEPTH, names.MASK)
# Everything of a frame that begins with a header, but for pictures for people; image outputs first.
OBJECT_TOPICS = {
    names.LABELS: "Image",
    names.CONFIDENCE: "Image",
    names.MASK_COMPRESSED: "CompressedImage",
    names.DEPTH_BACKGROUND: "Image",
    names.POINTS: "PointCloud2",
    names.BUNDLE_IMAGE: "Image",
    names.BUNDLE_DEPTH: "Image",
    names.BUNDLE_MASK: "Image",
    names.BUNDLE_INFO: "CameraInfo",
}
_STAMP_AT = 4
_MATCH_TIMEOUT_S = 30.0


# --------------------------------------------------------------------------------------- conversions


def convert(repeats: int) -> dict[str, float]:
    """Median microseconds of every conversion at 640x480 and, where it counts most, 1280x720."""
    timed: dict[str, float] = {}
    for name, encoding in ENCODINGS.items():
        message = _image(name, VGA)
        if encoding.to_rgb is not None:
            timed[f"{name} to rgb"] = _median_us(partial(image_to_rgb, message), repeats)
        if encoding.is_depth:
            timed[f"{name} to depth"] = _median_us(partial(image_to_depth, message), repeats)
    for name in ("rgb8", "bgr8"):
        timed[f"{name} to rgb, 1280x720"] = _median_us(partial(image_to_rgb, _image(name, HD)), repeats)
    for name, channels, size, label in (
        ("mono8", 1, VGA, "mask to mono8"),
        ("mono8", 1, HD, "mask to mono8, 1280x720"),
        ("rgb8", 3, VGA, "rgb to rgb8"),
        ("32FC1", 1, VGA, "probability to 32FC1"),
        ("16UC1", 1, VGA, "depth to 16UC1"),
    ):
        pixels = _pixels(ENCODINGS[name].dtype, channels, size)
        timed[label] = _median_us(partial(numpy_to_image, pixels, name), repeats)
    few = max(3, repeats // 10)
    jpeg = rgb_to_compressed(_pixels("u1", 3, VGA))
    png = numpy_to_compressed_depth(_pixels("u2", 1, VGA))
    timed["jpeg to rgb"] = _median_us(lambda: compressed_to_rgb(jpeg), few)
    timed["compressedDepth png to depth"] = _median_us(lambda: compressed_depth_to_numpy(png), few)
    return timed


def _pixels(dtype: str, channels: int, size: tuple[int, int]) -> np.ndarray:
    """Smooth like a picture, so that codecs take the time they take on one."""
    rows, columns = np.indices(size)
    plane = (np.sin(rows / 40) + np.cos(columns / 55) + 2) / 4
    scale = 1.0 if dtype.startswith("f") else 4000 if dtype == "u2" else 255
    flat = (plane * scale).astype(dtype)
    return flat if channels == 1 else np.ascontiguousarray(np.repeat(flat[..., None], channels, axis=2))


def _image(name: str, size: tuple[int, int]) -> Any:
    encoding = ENCODINGS[name]
    if not encoding.planar:
        return numpy_to_image(_pixels(encoding.dtype, encoding.channels, size), name)
    message = numpy_to_image(_pixels("u1", 1, (encoding.rows(size[0]), size[1])), "mono8")
    message.encoding, message.height = name, size[0]
    return message


def _median_us(call: Callable[[], object], repeats: int) -> float:
    call()
    took = []
    for _ in range(repeats):
        started = time.perf_counter_ns()
        call()
        took.append(time.perf_counter_ns() - started)
    return round(statistics.median(took) / 1000, 2)


# --------------------------------------------------------------------------------------------- graph


def publish(count: int) -> dict[str, float]:
    """Milliseconds to make and publish one 1280x720 mask, at 30 Hz, while somebody subscribes."""
    import rclpy
    from builtin_interfaces.msg import Time
    from rclpy.node import Node
    from sensor_msgs.msg import Image
    from std_msgs.msg import Header

    from m4sam_core.host.memory import keep_freed_memory
    from m4sam_ros.qos import volatile

    keep_freed_memory()
    rclpy.init()
    node = Node("bench_publish", namespace=names.NAMESPACE)
    publisher = node.create_publisher(Image, names.MASK, volatile(1))
    deadline = time.monotonic() + _MATCH_TIMEOUT_S
    while publisher.get_subscription_count() == 0 and time.monotonic() < deadline:
        time.sleep(0.02)
    mask = np.zeros(HD, np.uint8)
    mask[200:500, 300:900] = 255
    written, took = image_writer(), []
    for index in range(count):
        header = Header(stamp=Time(nanosec=index))
        started = time.perf_counter_ns()
        publisher.publish(written(mask, "mono8", header))
        took.append((time.perf_counter_ns() - started) * 1e-6)
        time.sleep(1 / 30)
    subscribers = publisher.get_subscription_count()
    node.destroy_node()
    rclpy.try_shutdown()
    return {"p50": _percentile(took, 50), "p95": _percentile(took, 95), "subscribers": subscribers}


def probe(idle_s: float, *, everything: bool) -> dict[str, Any]:
    """When rgb, depth and mask of each stamp arrive here, undecoded; ends `idle_s` after the last message.

    Prints `LISTENING` once it has found who publishes masks.

    Returns:
        `added_ms`: from the later of a frame's two images to its mask, for a subscriber that gets all three;
        `end_to_end_ms`: from the frame's stamp, taken when the player publishes it, to its mask; and the counts.
        With `everything` it subscribes to `OBJECT_TOPICS` too, and `all_ms` is from a frame's mask to the last of them.
    """
    import rclpy
    import sensor_msgs.msg
    from rclpy.executors import SingleThreadedExecutor
    from rclpy.node import Node

    from m4sam_ros.qos import volatile

    rclpy.init()
    node = Node("bench_probe", namespace=names.NAMESPACE)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    others = OBJECT_TOPICS if everything else {}
    arrivals: dict[str, dict[int, int]] = {topic: {} for topic in (*PROBED, *others)}
    last = [time.monotonic()]

    def listen(topic: str, kind: Any) -> None:
        def arrived(raw: bytes) -> None:
            arrivals[topic].setdefault(_stamp_ns(raw), time.time_ns())
            last[0] = time.monotonic()

        node.create_subscription(kind, topic, arrived, volatile(10), raw=True)

    for topic in arrivals:
        listen(topic, getattr(sensor_msgs.msg, others.get(topic, "Image")))
    began = time.monotonic()
    while not node.count_publishers(names.MASK) and time.monotonic() - began < _MATCH_TIMEOUT_S:
        executor.spin_once(timeout_sec=0.05)
    sys.stdout.write(f"{LISTENING}\n")
    sys.stdout.flush()
    while time.monotonic() - (last[0] if arrivals[names.MASK] else began + _MATCH_TIMEOUT_S) < idle_s:
        executor.spin_once(timeout_sec=0.05)
    node.destroy_node()
    rclpy.try_shutdown()
    figures = _figures(*(arrivals[topic] for topic in PROBED))
    if others:
        complete = [stamp for stamp in arrivals[names.MASK] if all(stamp in arrivals[topic] for topic in others)]
        late = [
            (max(arrivals[topic][stamp] for topic in others) - arrivals[names.MASK][stamp]) * 1e-6 for stamp in complete
        ]
        figures["all_ms"] = {"p50": _percentile(late, 50), "p95": _percentile(late, 95)}
        figures["complete"] = len(complete)
    return figures


def monitor() -> int:
    """Print every report of every saliency node as a JSON line, with the time it came; ends on a signal.

    Also, whenever it changes, who else is in the graph (`others`).
    """
    from diagnostic_msgs.msg import DiagnosticArray
    from rclpy.node import Node

    from m4sam_ros.report import reports_in
    from m4sam_ros.runner import run_node

    class Monitor(Node):
        def __init__(self) -> None:
            super().__init__("bench_monitor", namespace=names.NAMESPACE)
            self._others: list[str] | None = None
            self.create_subscription(DiagnosticArray, names.DIAGNOSTICS, self._on_diagnostics, 10)
            self.create_timer(0.25, self._look)

        def _look(self) -> None:
            found = [f"{space.rstrip('/')}/{name}" for name, space in self.get_node_names_and_namespaces()]
            found.remove(self.get_fully_qualified_name())
            if sorted(found) != self._others:
                self._others = sorted(found)
                self._print({"at_s": time.time(), "others": self._others})

        def _on_diagnostics(self, msg: Any) -> None:
            for report in reports_in(msg):
                values = dict(report.values)
                self._print({"at_s": time.time(), "node": report.node, "problem": report.problem, "values": values})

        def _print(self, line: dict[str, Any]) -> None:
            sys.stdout.write(json.dumps(line) + "\n")
            sys.stdout.flush()

    return run_node(Monitor, [])


def _figures(rgb: dict[int, int], depth: dict[int, int], mask: dict[int, int]) -> dict[str, Any]:
    added = [
        (at - max(rgb[stamp], depth[stamp])) * 1e-6 for stamp, at in mask.items() if stamp in rgb and stamp in depth
    ]
    end_to_end = [(at - stamp) * 1e-6 for stamp, at in mask.items()]
    return {
        "rgb": len(rgb),
        "depth": len(depth),
        "masks": len(mask),
        "added_ms": {"p50": _percentile(added, 50), "p95": _percentile(added, 95)},
        "end_to_end_ms": {"p50": _percentile(end_to_end, 50), "p95": _percentile(end_to_end, 95)},
    }


def _stamp_ns(raw: bytes) -> int:
    seconds, nanoseconds = struct.unpack_from("<iI" if raw[1] & 1 else ">iI", raw, _STAMP_AT)
    return int(seconds) * 10**9 + int(nanoseconds)


def _percentile(values: list[float], percent: int) -> float | None:
    return round(float(np.percentile(values, percent)), 3) if values else None


def main(args: Sequence[str] | None = None) -> int:
    """Run one measurement and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("convert").add_argument("--repeats", type=int, default=200)
    commands.add_parser("publish").add_argument("--count", type=int, default=150)
    probing = commands.add_parser("probe")
    probing.add_argument("--idle", type=float, default=2.0)
    probing.add_argument("--all", action="store_true", help="subscribe to the objects' outputs too")
    commands.add_parser("monitor")
    given = parser.parse_args(args)
    if given.command == "monitor":
        return monitor()
    measure: dict[str, Callable[[], object]] = {
        "convert": lambda: convert(given.repeats),
        "publish": lambda: publish(given.count),
        "probe": lambda: probe(given.idle, everything=given.all),
    }
    sys.stdout.write(json.dumps(measure[given.command]()) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
