# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""From the two inputs to frames: messages are taken from DDS, checked and paired, by whichever thread is there first.

The executor's thread hands over what comes. On a busy machine it may be late, so the worker's thread looks for newer
frames itself before it begins one; a lock that is never held while inferring keeps the two apart.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from m4sam_core.errors import InputError
from m4sam_core.rgbd.depth_values import fit_depth, is_registered, same_shape
from m4sam_core.rgbd.pairing import Pair
from m4sam_ros.names import DEPTH, RGB
from m4sam_ros.node.intake.images import Arrived, ImageInput
from m4sam_ros.node.intake.sync import make_synchronizer
from m4sam_ros.node.metrics import Metrics
from m4sam_ros.settings import NodeConfig

Warn = Callable[[str, str], None]


@dataclass(frozen=True)
class Frame:
    """What the worker gets.

    Attributes:
        rgb_msg: the rgb message.
        depth_msg: the depth message, None without.
        stamp: of the rgb message, seconds.
        arrived: when the rgb message came, monotonic seconds.
    """

    rgb_msg: Any
    depth_msg: Any
    stamp: float
    arrived: float


class Intake:
    """The inputs rgb and depth, and what pairs them.

    Args:
        node: the rclpy node.
        cfg: settings; `reconfigure` changes them.
        metrics: counters.
        warn: tells a kind of problem and a text, counted and now and then logged.
        awake: whether frames are of interest.
        on_frames: called with the frames that have just become complete, oldest first, by any thread, in the lock.
        on_newest: called with the newest of them in the executor's thread, in the lock; returns what it displaced.

    Attributes:
        rgb, depth: the inputs.
        synchronizer: what pairs them now.

    Raises:
        ConfigError: see `make_synchronizer`.
    """

    def __init__(
        self,
        node: Any,
        cfg: NodeConfig,
        metrics: Metrics,
        warn: Warn,
        awake: Callable[[], bool],
        on_frames: Callable[[list[Frame]], None],
        on_newest: Callable[[Frame], Any],
    ) -> None:
        self._log = node.get_logger()
        self._metrics = metrics
        self._warn = warn
        self._awake = awake
        self._on_frames = on_frames
        self._on_newest = on_newest
        self._pairing = threading.Lock()
        self._overtook: dict[str, int] = {}
        self._sync = cfg.sync
        self.synchronizer = make_synchronizer(cfg.sync)
        self.rgb = ImageInput(node, RGB, cfg.image_transport, self._on_image, cfg, self._on_incompatible)
        self.depth = ImageInput(node, DEPTH, cfg.depth_transport, self._on_image, cfg, self._on_incompatible)

    def reconfigure(self, cfg: NodeConfig) -> None:
        """Pair as asked from now on.

        Raises:
            ConfigError: see `make_synchronizer`; nothing has changed then.
        """
        if cfg.sync != self._sync:
            successor = make_synchronizer(cfg.sync)
            with self._pairing:
                self._retire_synchronizer()
                self._sync, self.synchronizer = cfg.sync, successor

    def follow_publishers(self) -> None:
        """Adapt the inputs to publishers that came or went."""
        for image in (self.rgb, self.depth):
            changed = image.subscription.follow()
            if changed is not None:
                self._log.info(f"{image.topic}: its publishers changed; now subscribed {changed.name.lower()}")

    def close(self) -> None:
        """Unsubscribe, and forget what waits for its other half."""
        self.rgb.subscription.destroy()
        self.depth.subscription.destroy()
        with self._pairing:
            self._retire_synchronizer()

    def poll(self) -> None:
        """Take and pair what has come while the executor's thread is in a callback of its own."""
        with self._pairing:
            self._hand_over(self._pair(self._waiting()))

    def newest(self, frame: Frame, withdraw: Callable[[], list[Frame]]) -> Frame:
        """In the worker's thread: this frame, or the newest of those that came since it was handed over.

        Args:
            frame: what the worker is about to begin.
            withdraw: takes back what waits for the worker, in the lock.
        """
        with self._pairing:
            batch = self._waiting()
            self._overtook |= {arrived.base: arrived.order for arrived in batch}
            frames = [frame, *withdraw(), *self._pair(batch)]
        self._metrics.drop("busy", len(frames) - 1)
        return frames[-1]

    def sensed_depth(self, frame: Frame, warn: Warn) -> np.ndarray | None:
        """Depth as the sensor sent it, (h, w) uint16 or float32; None without, or where it is unreadable."""
        if frame.depth_msg is None:
            return None
        try:
            return self.depth.decode(frame.depth_msg)
        except InputError as error:
            warn("bad_depth", str(error))
            return None

    def fitted_depth(self, sensed: np.ndarray | None, frame: Frame, rgb_size: tuple[int, int], warn: Warn) -> Any:
        """Depth at the size of rgb where it is registered; None, or of another shape, which is refused, where not."""
        if sensed is None:
            return None
        theirs, ours = frame.depth_msg.header.frame_id, frame.rgb_msg.header.frame_id
        return _fitted(sensed, self.depth.topic, theirs, rgb_size, ours, warn)

    def _retire_synchronizer(self) -> None:
        """Its counters end with it; the drops go on counting in the metrics."""
        self.synchronizer.clear()
        self._metrics.absorb(self.synchronizer.drops)

    def _on_image(self, first: Arrived) -> None:
        """Pair it and everything else that has come meanwhile, so that a late thread still hands over the newest."""
        with self._pairing:
            # The worker may have taken what came after it.
            batch = [] if first.order < self._overtook.pop(first.base, first.order) else [first]
            if not batch and first.base == RGB:
                self._metrics.count("rgb")
                self._metrics.drop("busy")
            self._hand_over(self._pair([*batch, *self._waiting()]))

    def _waiting(self) -> list[Arrived]:
        return [*self.rgb.take_waiting(), *self.depth.take_waiting()]

    def _hand_over(self, frames: list[Frame]) -> None:
        if frames:
            displaced = self._on_newest(frames[-1])
            self._metrics.drop("busy", len(frames) - 1 + (displaced is not None))

    def _pair(self, batch: list[Arrived]) -> list[Frame]:
        """The frames that these messages complete, oldest first."""
        pairs: list[Pair[Arrived, Arrived]] = []
        for arrived in sorted(batch, key=lambda arrived: arrived.order):
            pairs += self._take_rgb(arrived) if arrived.base == RGB else self._take_depth(arrived)
        frames = [
            Frame(pair.rgb.msg, pair.depth.msg if pair.depth is not None else None, pair.rgb_stamp, pair.rgb.at)
            for pair in pairs
        ]
        self._on_frames(frames)
        return frames

    def _take_rgb(self, arrived: Arrived) -> list[Pair[Arrived, Arrived]]:
        self._metrics.count("rgb")
        if not self._awake():
            self._metrics.drop("disabled")
            return []
        try:
            self.rgb.check(arrived.msg)
        except InputError as error:
            self._metrics.drop("bad_rgb")
            self._warn("bad_rgb", str(error))
            return []
        return self.synchronizer.add_rgb(_seconds(arrived.msg), arrived)

    def _take_depth(self, arrived: Arrived) -> list[Pair[Arrived, Arrived]]:
        self._metrics.count("depth")
        if not self._awake():
            return []
        try:
            self.depth.check(arrived.msg)
        except InputError as error:
            self._warn("bad_depth", str(error))
            return []
        return self.synchronizer.add_depth(_seconds(arrived.msg), arrived)

    def _on_incompatible(self, topic: str, policy: str) -> None:
        self._warn("qos_incompatible", f"{topic}: a publisher's {policy} does not satisfy the node's QoS")
        self.follow_publishers()


def _fitted(depth: np.ndarray, topic: str, theirs: str, rgb_size: tuple[int, int], ours: str, warn: Warn) -> Any:
    """Depth in frame `theirs` at the size of rgb in frame `ours`; see `Intake.fitted_depth`."""
    if depth.shape == rgb_size and theirs and theirs != ours:
        text = f"{topic}: depth is in frame {theirs!r}, rgb in {ours!r}; it is taken for registered"
        warn("depth_frame", f"{text}: turn on the driver's alignment of depth to colour, or positions are off")
    if depth.shape == rgb_size or not same_shape(depth.shape, rgb_size):
        return depth
    sizes = f"{depth.shape[1]}x{depth.shape[0]}, rgb {rgb_size[1]}x{rgb_size[0]}"
    if not is_registered(depth, theirs, rgb_size, ours):
        text = f"{topic}: depth of {theirs!r} is {sizes} of {ours!r}, not registered to each other"
        warn("depth_unregistered", f"{text}; turn on the driver's alignment of depth to colour")
        return None
    warn("depth_resized", f"{topic}: depth is {sizes}; it is resized, and has to be registered")
    return fit_depth(depth, *rgb_size)


def _seconds(msg: Any) -> float:
    stamp = msg.header.stamp
    return float(stamp.sec) + stamp.nanosec * 1e-9
